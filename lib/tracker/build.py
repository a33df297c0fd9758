"""The trackers by name: the only place where trackers are built.

A new tracker is a class with `initialize` and `track` (lib/tracker/base.py) and a row in TRACKERS; docs/extending.md
shows one. Nothing here imports torch before a tracker needs it.
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
from lib.utils.cli import set_words
from lib.utils.paths import checkpoint_folder, epoch_path
from lib.utils.trees import to_plain

DEFAULT_CONFIG = "tiny"  # tells where data sets lie when no experiment is named


class Request(NamedTuple):
    """What a command line says about a tracker.

    Args:
        tracker: a key of TRACKERS.
        config: the experiment that describes it; "": none, for trackers that need none.
        settings: values of --set: the tracker's own (TRACKER.KEY=VALUE) and the experiment's.
        checkpoint: weights of the experiment; "": what its training left in `save_dir`.
        device: "cpu", "cuda:0", ...; "": the one that `Built.make` is given.
    """

    tracker: str
    config: str = ""
    settings: tuple[str, ...] = ()
    checkpoint: str | Path = ""
    save_dir: str | Path = "output"
    device: str = ""


class Built(NamedTuple):
    """A tracker that worker processes can make. Picklable.

    Args:
        make: (modality, device) → tracker. Device "": the tracker chooses.
        fingerprint: a text that differs where the tracker's answers may: name, arguments, contents of its files.
    """

    make: Callable[[str, str], Tracker]
    fingerprint: str


def files_of(arguments: Mapping[str, Any]) -> list[Path]:
    """The paths among a tracker's arguments."""
    return [value for value in arguments.values() if isinstance(value, Path)]


@dataclass(frozen=True)
class TrackerEntry:
    """A row of TRACKERS.

    Args:
        make: called as make(modality, device, **arguments), with the names of the arguments in lower case. A class or a
            function of a module, as worker processes import it by its name.
        arguments: the tracker's own arguments, `--set TRACKER.<NAME>=VALUE`, with their defaults; a value must have the
            type of its default. A Path names a file; as a default it is relative to the project.
        files: arguments → the files that the tracker reads, where they are not the paths among the arguments. They must
            exist, and the fingerprint covers their contents.
    """

    make: Callable[..., Tracker]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: Callable[[Mapping[str, Any]], list[Path]] = files_of
    needs_experiment: ClassVar[bool] = False

    def build(self, request: Request) -> Built:
        own = read_arguments(request.tracker, self.arguments, request.settings)
        files = self.files(own)
        for path in files:
            if not path.is_file():
                names = " or ".join(f"{OWN}{name}" for name, value in own.items() if isinstance(value, Path))
                raise FileNotFoundError(f"{path}: no such file, {request.tracker} needs it; set {names}")
        values = sorted((name, value) for name, value in own.items() if not isinstance(value, Path))
        fingerprint = f"{request.tracker} {values} {[file_hash(path) for path in files]}"
        by_keyword = {name.lower(): value for name, value in own.items()}
        return Built(partial(_make, self.make, by_keyword, request.device), fingerprint)

    def words(self, request: Request) -> list[str]:
        return set_words(absolute_settings(request.tracker, self.arguments, request.settings))


class TransCMDEntry:
    """The row of our network: an experiment and a checkpoint describe it."""

    arguments: ClassVar[Mapping[str, Any]] = {}
    needs_experiment: ClassVar[bool] = True

    def build(self, request: Request) -> Built:
        from lib.models.build import network_settings  # imports torch

        read_arguments(request.tracker, self.arguments, request.settings)
        cfg = load_experiment(request.config, request.settings)
        checkpoint = find_checkpoint(cfg, request.config, request.save_dir, request.checkpoint)
        fingerprint = f"{file_hash(checkpoint)} {sorted(network_settings(to_plain(cfg)).items())}"
        return Built(partial(make_transcmd, cfg, checkpoint, request.device), fingerprint)

    def words(self, request: Request) -> list[str]:
        config, cfg = request.config, load_experiment(request.config, request.settings)
        checkpoint = find_checkpoint(cfg, config, request.save_dir, request.checkpoint)
        if config.endswith((".yaml", ".yml")):
            config = str(find_config("transcmd", config).absolute())
        return [config, "--checkpoint", str(checkpoint.absolute()), *set_words(request.settings)]


def without_device(tracker: Callable[..., Tracker], modality: str, device: str, **arguments: Any) -> Tracker:
    """Makes a tracker that asks for neither the modality nor the device."""
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
    """The tracker that a command line asks for. Its files are found and read once; `make` loads them.

    Raises:
        ConfigError: unknown tracker, experiment or argument, or no experiment where one is needed.
        FileNotFoundError: no checkpoint, or a file of the tracker is missing; named.
    """
    if request.tracker not in TRACKERS:
        hint = nearest(request.tracker, TRACKERS)
        raise ConfigError(f"tracker '{request.tracker}': unknown; {hint}known: {', '.join(TRACKERS)}")
    if TRACKERS[request.tracker].needs_experiment and not request.config:
        raise ConfigError(f"{request.tracker}: name the experiment that describes it, e.g. {request.tracker} tiny")
    return TRACKERS[request.tracker].build(request)


def command_words(request: Request) -> list[str]:
    """The request as words of a command that starts in another folder: all paths of files are absolute.

    Raises:
        ConfigError, FileNotFoundError: as `build_tracker`.
    """
    build_tracker(request)
    device = ["--device", request.device] if request.device else []
    return [request.tracker, *TRACKERS[request.tracker].words(request), *device]


def make_transcmd(cfg, checkpoint: Path, chosen_device: str, modality: str, device: str) -> Tracker:
    """The tracker that a configuration and a checkpoint describe.

    Raises:
        ValueError: the checkpoint was trained as another network, also where its tensors have the same shapes.
    """
    from lib.data.crop import CropSpec
    from lib.models.build import load_trained_model
    from lib.tracker.transcmd import TransCMDTracker
    from lib.utils.misc import pick_device

    model, test = load_trained_model(cfg, checkpoint), cfg.TEST
    template = CropSpec(test.TEMPLATE_SIZE, test.TEMPLATE_FACTOR)
    search = CropSpec(test.SEARCH_SIZE, test.SEARCH_FACTOR)
    return TransCMDTracker(model, template, search, modality, pick_device(chosen_device or device))


def find_checkpoint(cfg, config: str, save_dir: str | Path, checkpoint: str | Path = "") -> Path:
    """The given checkpoint, or the one of TEST.EPOCH that training the experiment left in `save_dir`.

    Raises:
        FileNotFoundError: it is not there.
    """
    folder = checkpoint_folder(save_dir, "transcmd", config_name(config))
    path = Path(checkpoint) if checkpoint else epoch_path(folder, cfg.TEST.EPOCH or cfg.TRAIN.EPOCH)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such checkpoint; train it with tracking/train.py --config {config}, "
            "or name one with --checkpoint"
        )
    return path


def load_experiment(config: str, settings: Iterable[str]):
    """The configuration of an experiment. "": the default one's, which tells where data sets lie.

    Args:
        settings: values of --set; the tracker's own are left out.
    """
    return load_config("transcmd", config or DEFAULT_CONFIG, [s for s in settings if not is_own(s)])


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make(
    make: Callable[..., Tracker], arguments: dict[str, Any], chosen_device: str, modality: str, device: str
) -> Tracker:
    return make(modality, chosen_device or device, **arguments)
