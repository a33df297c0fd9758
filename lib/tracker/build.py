"""The table TRACKERS. All trackers are built here.

A new tracker is a class with `initialize` and `track` (lib/tracker/base.py) and a row in TRACKERS; docs/extending.md
shows one. torch is imported only if a tracker needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from lib.config.loader import ConfigError, config_name, find_config, load_config
from lib.tracker.arguments import OWN, absolute_settings, is_own, nearest, read_arguments
from lib.tracker.base import Tracker
from lib.tracker.baselines import MilTracker, NanoTracker, StaticTracker, nanotrack_files
from lib.tracker.confidence import WATCH_RULES, read_temperature
from lib.utils.cli import set_words
from lib.utils.paths import PRETRAINED, checkpoint_folder, epoch_path, find_weights
from lib.utils.trees import to_plain

RULES = 3  # of TransCMDTracker; increase with any change of its predictions, so that results are tracked again
DEFAULT_CONFIG = "tiny"  # defines the folders of the data sets if the user names no experiment


class Request(NamedTuple):
    """The tracker that a user selects on the command line.

    Args:
        tracker: a key of TRACKERS.
        config: the experiment that describes it; "" for trackers without experiment.
        settings: values of --set, for the tracker (TRACKER.KEY=VALUE) and for the experiment.
        checkpoint: weights of the experiment; "": the checkpoint of TEST.EPOCH in `save_dir`.
        save_dir: folder of the training outputs.
        device: "cpu", "cuda:0", ...; "": the device passed to `Built.make`.
        precision, compiled: of a network in PyTorch, see `TransCMDTracker`; other trackers ignore them.
    """

    tracker: str
    config: str = ""
    settings: tuple[str, ...] = ()
    checkpoint: str | Path = ""
    save_dir: str | Path = "output"
    device: str = ""
    precision: str = "fp32"
    compiled: bool = False


class Built(NamedTuple):
    """A function that makes a tracker, also in worker processes. Can be pickled.

    Args:
        make: function (modality, device) that returns a tracker. Device "": chosen by the tracker.
        fingerprint: a text that identifies the tracker's predictions: its name, arguments and file contents.
    """

    make: Callable[[str, str], Tracker]
    fingerprint: str


def files_of(arguments: Mapping[str, Any]) -> list[Path]:
    """Returns the arguments of a tracker that are paths."""
    return [value for value in arguments.values() if isinstance(value, Path)]


@dataclass(frozen=True)
class TrackerEntry:
    """A row of TRACKERS.

    Args:
        make: called as make(modality, device, **arguments), with argument names in lower case. It must be a class or a
            function of a module, because worker processes import it by name.
        arguments: names and default values of the tracker's arguments, `--set TRACKER.<NAME>=VALUE`. A value must have
            the type of its default. A default Path is relative to the project.
        files: function (arguments) that returns the files that the tracker reads; default: all paths in the arguments.
            The files must exist; the fingerprint includes their contents.
    """

    make: Callable[..., Tracker]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: Callable[[Mapping[str, Any]], list[Path]] = files_of
    needs_experiment: ClassVar[bool] = False

    def build(self, request: Request) -> Built:
        """Returns the tracker that `request` selects.

        Raises:
            ConfigError: an argument is unknown or has the wrong type.
            FileNotFoundError: a file of the tracker is missing.
        """
        own = read_arguments(request.tracker, self.arguments, request.settings)
        files = self.files(own)
        for path in files:
            if not path.is_file():
                names = " or ".join(f"{OWN}{name}" for name, value in own.items() if isinstance(value, Path))
                raise FileNotFoundError(f"{path}: no such file; {request.tracker} needs it, set {names}")
        covered = {path for file in files for path in (file, file.parent)}
        values = sorted((name, str(value)) for name, value in own.items() if value not in covered)
        fingerprint = f"{request.tracker} {values} {[file_hash(path) for path in files]}"
        by_keyword = {name.lower(): value for name, value in own.items()}
        return Built(partial(_make, self.make, by_keyword, request.device), fingerprint)

    def words(self, request: Request) -> list[str]:
        """Returns the command-line arguments of `request` with absolute paths. Raises ConfigError as `build`."""
        return set_words(absolute_settings(request.tracker, self.arguments, request.settings))


class TransCMDEntry:
    """The row of TransCMD, which is described by an experiment and a checkpoint."""

    # REDETECT: calibrated scores; after a loss, the search grows until the target is found again, see `Watch`
    arguments: ClassVar[Mapping[str, Any]] = {"REDETECT": False}
    needs_experiment: ClassVar[bool] = True

    def build(self, request: Request) -> Built:
        """See `TrackerEntry.build`. Raises ConfigError for the experiment, FileNotFoundError for the checkpoint."""
        from lib.models.build import LATER_SETTINGS, network_settings  # imports torch

        own = read_arguments(request.tracker, self.arguments, request.settings)
        cfg = load_experiment(request.config, request.settings)
        checkpoint = find_checkpoint(cfg, request.config, request.save_dir, request.checkpoint)
        settings = {**network_settings(to_plain(cfg)), "TEST.SIZE_RATE": cfg.TEST.SIZE_RATE, "rules": RULES}
        for key in ("DATA.INPUT.DEPTH", "DATA.INPUT.EVENTS"):  # results from before they were settings stay valid
            if settings[key] == LATER_SETTINGS[key]:
                del settings[key]
        if settings.get("DATA.INPUT.DEPTH") == "metric":
            settings["DATA.INPUT.DEPTH_RANGE"] = cfg.DATA.INPUT.DEPTH_RANGE
        how = {"precision": request.precision} if request.precision != "fp32" else {}
        how |= {"compiled": True} if request.compiled else {}
        sha256, temperature = file_hash(checkpoint), None
        if own["REDETECT"]:
            temperature = read_temperature(checkpoint, sha256)
            how["redetect"] = WATCH_RULES, temperature
        fingerprint = f"{sha256} {sorted((settings | how).items())}"
        make = partial(make_transcmd, cfg, checkpoint, request.device)
        make = partial(make, precision=request.precision, compiled=request.compiled, temperature=temperature)
        return Built(make, fingerprint)

    def words(self, request: Request) -> list[str]:
        """See `TrackerEntry.words`. Raises ConfigError for the experiment, FileNotFoundError for the checkpoint."""
        config, cfg = request.config, load_experiment(request.config, request.settings)
        checkpoint = find_checkpoint(cfg, config, request.save_dir, request.checkpoint)
        if config.endswith((".yaml", ".yml")):
            config = str(find_config("transcmd", config).absolute())
        return [config, "--checkpoint", str(checkpoint.absolute()), *set_words(request.settings)]


def without_device(tracker: Callable[..., Tracker], modality: str, device: str, **arguments: Any) -> Tracker:
    """Makes a tracker that uses neither the modality nor the device."""
    return tracker(**arguments)


TRACKERS: dict[str, TrackerEntry | TransCMDEntry] = {
    "transcmd": TransCMDEntry(),
    "static": TrackerEntry(partial(without_device, StaticTracker)),
    "mil": TrackerEntry(partial(without_device, MilTracker)),
    "nanotrack": TrackerEntry(
        partial(without_device, NanoTracker), {"WEIGHTS": Path("pretrained_models")}, nanotrack_files
    ),
}


def build_tracker(request: Request) -> Built:
    """Returns the tracker that `request` selects. Reads its files for the fingerprint; `Built.make` loads them.

    Raises:
        ConfigError: the tracker, the experiment or an argument is unknown, or a required experiment is missing.
        FileNotFoundError: the checkpoint or a file of the tracker is missing; the message names it.
    """
    if request.tracker not in TRACKERS:
        hint = nearest(request.tracker, TRACKERS)
        raise ConfigError(f"unknown tracker '{request.tracker}'; {hint}known: {', '.join(TRACKERS)}")
    if TRACKERS[request.tracker].needs_experiment and not request.config:
        raise ConfigError(f"{request.tracker}: name the experiment that describes it, e.g. {request.tracker} tiny")
    return TRACKERS[request.tracker].build(request)


def command_words(request: Request) -> list[str]:
    """Returns `request` as arguments of a command that starts in a different folder: all paths are absolute.

    Raises:
        ConfigError, FileNotFoundError: as `build_tracker`.
    """
    build_tracker(request)
    device = ["--device", request.device] if request.device else []
    return [request.tracker, *TRACKERS[request.tracker].words(request), *device]


def make_transcmd(
    cfg,
    checkpoint: Path,
    chosen_device: str,
    modality: str,
    device: str,
    precision: str = "fp32",
    compiled: bool = False,
    temperature: float | None = None,
) -> Tracker:
    """Returns the tracker of a configuration and a checkpoint.

    Args:
        chosen_device: the device that the user selected; "": use `device`.
        modality: a key of MODALITIES.
        precision, compiled: see `TransCMDTracker`.
        temperature: of the calibrated scores of a tracker that searches for a lost target; None: it does not.

    Raises:
        ValueError: the checkpoint has a different network than `cfg`, the modality, the device or the precision is
            unknown, or the network cannot be compiled.
    """
    from lib.data.crop import CropSpec
    from lib.data.datasets import build_front_end
    from lib.models.build import load_trained_model
    from lib.tracker.transcmd import TransCMDTracker
    from lib.utils.misc import pick_device

    model, test = load_trained_model(cfg, checkpoint), cfg.TEST
    template = CropSpec(test.TEMPLATE_SIZE, test.TEMPLATE_FACTOR)
    search = CropSpec(test.SEARCH_SIZE, test.SEARCH_FACTOR)
    place = pick_device(chosen_device or device)
    tracker = TransCMDTracker(model, template, search, modality, place, test.SIZE_RATE, precision, compiled)
    tracker.front_end = build_front_end(cfg)
    if temperature is not None:
        tracker.watch_target(temperature)
    return tracker


def find_checkpoint(cfg, config: str, save_dir: str | Path, checkpoint: str | Path = "") -> Path:
    """Returns the given checkpoint, also from pretrained_models/, or that of TEST.EPOCH in `save_dir`.

    If the experiment was not trained, those of TEST.WEIGHTS in pretrained_models/, if there are any.

    Raises:
        FileNotFoundError: the checkpoint is missing.
    """
    folder = checkpoint_folder(save_dir, "transcmd", config_name(config))
    path = find_weights(checkpoint) if checkpoint else epoch_path(folder, cfg.TEST.EPOCH or cfg.TRAIN.EPOCH)
    shipped = PRETRAINED / f"{cfg.TEST.WEIGHTS or config_name(config)}.safetensors"
    if not checkpoint and not path.is_file() and shipped.is_file():
        return shipped
    if not path.is_file():
        other = f", and no {shipped} (TEST.WEIGHTS)" if cfg.TEST.WEIGHTS and not checkpoint else ""
        raise FileNotFoundError(
            f"{path}: no such checkpoint{other}; train it with tracking/train.py --config {config}, "
            "or name one with --checkpoint"
        )
    return path


def load_experiment(config: str, settings: Iterable[str]):
    """Returns the configuration of an experiment.

    Args:
        config: name of the experiment; "": DEFAULT_CONFIG, which defines the folders of the data sets.
        settings: values of --set; tracker arguments are ignored.

    Raises:
        ConfigError: the experiment or a setting is invalid.
    """
    return load_config("transcmd", config or DEFAULT_CONFIG, [s for s in settings if not is_own(s)])


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make(
    make: Callable[..., Tracker], arguments: dict[str, Any], chosen_device: str, modality: str, device: str
) -> Tracker:
    return make(modality, chosen_device or device, **arguments)
