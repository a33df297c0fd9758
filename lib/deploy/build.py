"""Builds exports, and trackers with exported networks, from an experiment."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lib.config.loader import config_name
from lib.data.crop import CropSpec
from lib.data.datasets import build_store, load_dataset
from lib.data.sequence import Sequence as Video
from lib.deploy.export import (
    Inputs,
    describe_export,
    export_kinds,
    noise_inputs,
    quantise_dynamic,
    quantise_static,
    read_about,
    save_onnx,
    store_in_bfloat16,
    write_onnx,
    write_openvino,
)
from lib.deploy.metadata import (
    MEMORY,
    SUFFIXES,
    Metadata,
    export_hash,
    export_path,
    proof_path,
    runtime_of,
    template_path,
)
from lib.deploy.parity import Parity
from lib.deploy.reference import SEARCH, TEMPLATE, OSTrackReference
from lib.deploy.runtime import Session, load_extra, load_session, load_tracker
from lib.models.build import build_model, load_trained_model
from lib.tracker.arguments import read_arguments
from lib.tracker.base import Tracker
from lib.tracker.build import RULES, TRACKERS, Built, file_hash, load_experiment
from lib.tracker.confidence import WATCH_RULES, read_temperature
from lib.tracker.cropped import CropTracker
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.files import write_text
from lib.utils.misc import pick_device
from lib.utils.paths import find_weights
from lib.utils.texts import shorten

REFERENCE = "ostrack-256"  # name in tables
# Of an export's metadata: what the experiment must have as well.
MUST_AGREE = ("config", "template", "search", "size_rate", "inputs", "elimination", "depth", "depth_range", "events")


class Network(NamedTuple):
    """The network of an experiment, and what an export says about it."""

    model: nn.Module  # on the CPU
    about: Metadata


def build_network(config: str, settings: Sequence[str], checkpoint: Path | None) -> Network:
    """Returns the network of an experiment.

    Args:
        settings: values of --set.
        checkpoint: its weights; None: initial weights, which are good for measuring time.

    Raises:
        ConfigError: the experiment is invalid.
        FileNotFoundError, ValueError: as `load_trained_model` and `read_temperature`.
    """
    cfg = load_experiment(config, settings)
    model = build_model(cfg) if checkpoint is None else load_trained_model(cfg, checkpoint)
    if checkpoint is None:
        return Network(model.eval(), build_about(config, settings))
    sha256 = file_hash(checkpoint)
    return Network(model.eval(), build_about(config, settings, sha256, read_temperature(checkpoint, sha256)))


def build_torch_tracker(network: Network, modality: str, device: str) -> TransCMDTracker:
    """Returns the tracker in PyTorch. Raises ValueError for an unknown modality or device."""
    about = network.about
    tracker = TransCMDTracker(network.model, *about.specs, modality, pick_device(device), about.size_rate)
    tracker.front_end = about.front_end
    return tracker


def build_reference(device: str) -> TransCMDTracker:
    """Returns a tracker with the network of OSTrack-256 and random weights."""
    torch.manual_seed(0)
    specs = CropSpec(TEMPLATE, 2.0), CropSpec(SEARCH, 4.0)
    return TransCMDTracker(OSTrackReference(), *specs, "rgb", pick_device(device))


class Contender(NamedTuple):
    """A tracker in a comparison of latencies: how it is made, also in another process."""

    make: Callable[..., CropTracker]  # function of a module
    arguments: tuple


def build_contenders(
    config: str, settings: Sequence[str], others: Sequence[str], device: str, threads: int, folder: Path
) -> dict[str, Contender]:
    """Returns the trackers that `tracking/profile_model.py` compares, by name, with initial weights.

    Args:
        config: experiment; the first contender.
        settings: values of --set, of `config`.
        others: other experiments, or names of runtimes: exports of `config`. OSTrack-256 is added at the end.
        device: of the networks in PyTorch.
        threads: of the exported networks.
        folder: for the exports.

    Raises:
        ConfigError: an experiment is unknown.
        ValueError: a package of a runtime is not installed.
    """
    found = {config: Contender(make_initial, (config, tuple(settings), device))}
    for name in others:
        if name not in SUFFIXES:
            load_experiment(name, ())
            found[name] = Contender(make_initial, (name, (), device))
            continue
        path = export_path(folder, config_name(config), "fp32", name)
        if not path.is_file():
            write_fp32(build_network(config, settings, None), path)
        found[f"{config} in {name}"] = Contender(load_tracker, (path, "rgbt", threads))
    return {**found, REFERENCE: Contender(build_reference, (device,))}


def make_initial(config: str, settings: Sequence[str], device: str) -> TransCMDTracker:
    """Returns the tracker of an experiment with initial weights."""
    return build_torch_tracker(build_network(config, settings, None), "rgbt", device)


def write_exports(
    network: Network, formats: Sequence[str], precisions: Sequence[str], folder: Path, calibration: Sequence[Inputs]
) -> list[Path]:
    """Writes a network for all runtimes and precisions. Returns the paths.

    Args:
        formats: "onnx", "openvino".
        precisions: of PRECISIONS; "int8" has several files, see FILES.
        folder: of the files.
        calibration: real crops, for int8.

    Raises:
        ValueError: a package is missing, there are too few calibration frames, or the network cannot be written.
        OSError: a file cannot be written.
    """
    written = []
    with tempfile.TemporaryDirectory() as temporary:
        source = export_path(temporary, network.about.config, "fp32", "onnx")
        write_onnx(network.model, network.about, source)
        for kind, runtime in export_kinds(formats, precisions):
            path = folder / export_path("", network.about.config, kind, runtime).name
            proof_path(path).unlink(missing_ok=True)  # of an earlier export, whose hash is another one
            write_kind(source, kind, path, calibration)
            written.append(path)
    return written


def write_kind(source: Path, kind: str, path: Path, calibration: Sequence[Inputs]) -> None:
    """Writes one file of FILES, and the graph of its template, from ONNX in float32. Raises as `write_exports`."""
    if (first := template_path(source)).is_file():
        write_kind(first, kind, template_path(path), calibration)
        calibration = _with_memory(first, calibration) if kind == "int8-static" else ()
    else:
        template_path(path).unlink(missing_ok=True)  # of an earlier export
    about = dataclasses.replace(read_about(source), precision=kind)
    if runtime_of(path) == "openvino":
        if kind == "int8-static":
            with tempfile.TemporaryDirectory() as temporary:
                quantised = Path(temporary) / "quantised.onnx"
                quantise_static(source, about, quantised, calibration)
                write_openvino(quantised, about, path)
        else:
            write_openvino(source, about, path)
    elif kind == "int8-static":
        quantise_static(source, about, path, calibration)
    elif kind == "int8-dynamic":
        quantise_dynamic(source, about, path)
    elif kind == "bf16":
        store_in_bfloat16(source, about, path)
    else:
        save_onnx(load_extra("onnx").load(str(source)), about, path)


def _with_memory(path: Path, calibration: Sequence[Inputs]) -> list[Inputs]:
    """Adds to each input what the graph of the template, in float32, gives the other one."""
    session = load_session(path)
    names = session.metadata.inputs
    return [{**given, MEMORY: session.run({name: given[name] for name in names})} for given in calibration]


@contextlib.contextmanager
def open_exports(network: Network, paths: Sequence[Path], noise: int, threads: int) -> Iterator[dict[str, Session]]:
    """Yields the sessions of exports by file name.

    If there is one in int8 with static ranges, another one is added that is calibrated on noise, to show the loss; it
    is not kept.

    Args:
        noise: number of its calibration frames.
        threads: of the processor.
    """
    static = [path for path in paths if path.name.endswith(".int8-static.onnx")]
    with tempfile.TemporaryDirectory() as folder:
        found = {path.name: load_session(path, threads) for path in paths}
        if static:
            source = export_path(folder, network.about.config, "fp32", "onnx")
            write_onnx(network.model, network.about, source)
            path = source.with_name(f"{network.about.config}.int8-static-noise.onnx")
            write_kind(source, "int8-static", path, noise_inputs(network.about, noise))
            found[path.name] = load_session(path, threads)
        yield found


def write_proof(path: Path, about: Metadata, rows: Sequence[Parity]) -> None:
    """Writes the JSON beside an export: its hash, what it says about itself, and its parity."""
    parity = [row._asdict() for row in rows if row.export == path.name]
    proof = {"sha256_export": export_hash(path), **dataclasses.asdict(about), "parity": parity}
    write_text(proof_path(path), json.dumps(proof, indent=1))


def load_benchmarks(config: str, roots: Sequence[str], names: Sequence[str]) -> dict[str, list[Video]]:
    """Returns the sequences of the data sets `names` in each folder, by "<folder>/<data set>"; others are left out.

    Raises:
        FileNotFoundError: a folder contains none of them.
    """
    found = {}
    for root in roots:
        cfg = load_experiment(config, [f"DATA.ROOT={root}", "DATA.SYNTHETIC=true"])
        here = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                here[f"{Path(root).name}/{name}"] = load_dataset(name, build_store(cfg, name))
        if not here:
            raise FileNotFoundError(
                f"{root}: none of {shorten(names)} is there; write synthetic data with "
                f"tracking/make_demo_data.py --output {root}, or name the folder of the data sets"
            )
        found |= here
    return found


def build_exported(
    path: Path, runtime: str, config: str, settings: Sequence[str], checkpoint: str | Path, threads: int
) -> Built:
    """Returns a tracker with an exported network, as `lib.tracker.build.build_tracker` returns others.

    Args:
        path: an export of tracking/export.py.
        runtime: "onnx" or "openvino".
        config, settings: the experiment, to see whether the export is one of it, and TRACKER.REDETECT.
        checkpoint: the export must come from it; "": from any checkpoint of the experiment.
        threads: of the processor; 0: all cores.

    Raises:
        FileNotFoundError, ValueError: as `load_session`, or the export is of another experiment.
        ConfigError: the experiment or an argument is invalid.
    """
    redetect = read_arguments("transcmd", TRACKERS["transcmd"].arguments, settings)["REDETECT"]
    if runtime_of(path) != runtime:
        raise ValueError(f"{path}: --runtime {runtime} reads files that end in {SUFFIXES[runtime]}")
    session = load_session(path, threads, file_hash(find_weights(checkpoint)) if checkpoint else "")
    about, wanted = session.metadata, build_about(config, settings)
    for name in MUST_AGREE:
        own, other = getattr(about, name), getattr(wanted, name)
        if own != other:
            raise ValueError(
                f"{path}: exported with {name} {own or 'none'}, the experiment has {other or 'none'}; "
                "export it again with tracking/export.py"
            )
    fingerprint = f"{export_hash(path)} {runtime_of(path)} rules {RULES}"
    fingerprint += f" redetect {WATCH_RULES}" if redetect else ""
    return Built(partial(_make_exported, path, threads, redetect), fingerprint)


def build_about(config: str, settings: Sequence[str], sha256: str = "", temperature: float = 1.0) -> Metadata:
    """Returns what an export of an experiment says about itself. Raises ConfigError if the experiment is invalid."""
    cfg = load_experiment(config, settings)
    template = CropSpec(cfg.TEST.TEMPLATE_SIZE, cfg.TEST.TEMPLATE_FACTOR)
    search = CropSpec(cfg.TEST.SEARCH_SIZE, cfg.TEST.SEARCH_FACTOR)
    split = cfg.MODEL.BACKBONE.ATTENTION == "asymmetric"
    name, rate, box = config_name(config), cfg.TEST.SIZE_RATE, cfg.MODEL.TARGET_EMBED
    removal, own = cfg.MODEL.BACKBONE.ELIMINATION, cfg.DATA.INPUT
    elimination = f"{removal.LAYERS} at {removal.KEEP}" if removal.LAYERS else ""
    about = describe_export(name, sha256, template, search, rate, box, split, elimination, temperature)
    depth_range = own.DEPTH_RANGE if own.DEPTH == "metric" else 0.0
    return dataclasses.replace(about, depth=own.DEPTH, depth_range=depth_range, events=own.EVENTS)


def _make_exported(path: Path, threads: int, redetect: bool, modality: str, device: str) -> Tracker:
    if device not in ("", "cpu"):
        raise ValueError(f"--device {device}: exported networks run on the CPU; leave out --device")
    return load_tracker(path, modality, threads, redetect=redetect)


def write_fp32(network: Network, path: Path) -> None:
    """Writes a network in float32 for the runtime that the suffix of `path` names. Raises as the writers."""
    source = path.with_suffix(SUFFIXES["onnx"])
    if runtime_of(path) == "onnx" or not source.is_file():
        write_onnx(network.model, network.about, source)
    if runtime_of(path) == "openvino":
        for one, target in ((template_path(source), template_path(path)), (source, path)):
            if one.is_file():
                write_openvino(one, read_about(one), target)
