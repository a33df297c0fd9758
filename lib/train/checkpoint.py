"""Checkpoint files with OSTrack's folder and file names. They are written atomically."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lib.models.weights.read import check_finite, current_name, modality_names, read_checkpoint
from lib.structures import MODALITIES
from lib.utils.files import atomic_path, write_text
from lib.utils.paths import NET_NAME, checkpoint_folder, epoch_path

logger = logging.getLogger(__name__)

VALIDATION, REPLAY = "validation.json", "replay.pt"  # in the folder of the checkpoints


class CheckpointFolder:
    """<save_dir>/checkpoints/train/<script>/<config>/TransCMD_ep0300.pth.tar and the other checkpoints of a run.

    Every epoch is saved. If its number is not a multiple of `keep_every`, its file is removed when two later epochs are
    saved. TransCMD_interrupted contains the state of an unfinished epoch; it is removed when the epoch is finished.
    TransCMD_best is a copy of the epoch with the best validation, which TransCMD_best.json states.
    """

    def __init__(self, save_dir: str | Path, script: str, config: str, keep_every: int = 1):
        self.path = checkpoint_folder(save_dir, script, config)
        self.keep_every = keep_every
        self.interrupted = self.path / f"{NET_NAME}_interrupted.pth.tar"
        self.best, self.best_record = (self.path / f"{NET_NAME}_best{suffix}" for suffix in (".pth.tar", ".json"))
        self.validation = self.path / VALIDATION

    def epochs(self) -> list[int]:
        """Returns the numbers of the finished epochs that have a file, ascending."""
        matches = (re.fullmatch(rf"{NET_NAME}_ep(\d+)\.pth\.tar", p.name) for p in self.path.glob(f"{NET_NAME}_ep*"))
        return sorted(int(match.group(1)) for match in matches if match)

    def latest(self) -> Path | None:
        """Returns the path of the newest checkpoint, or None."""
        if self.interrupted.is_file():
            return self.interrupted
        epochs = self.epochs()
        return epoch_path(self.path, epochs[-1]) if epochs else None

    def candidates(self) -> list[Path]:
        """Returns the paths of all checkpoints from which a run can go on, the newest first."""
        files = [epoch_path(self.path, epoch) for epoch in reversed(self.epochs())]
        return [self.interrupted, *files] if self.interrupted.is_file() else files

    def save(self, state: dict[str, Any], epoch: int) -> Path:
        """Writes the state after `epoch` epochs, then removes older files; returns the path.

        Raises:
            OSError: the file cannot be written.
        """
        path = self._write(state, epoch_path(self.path, epoch))
        for older in [number for number in self.epochs() if number < epoch][:-1]:
            if older % self.keep_every:
                epoch_path(self.path, older).unlink()
        self.interrupted.unlink(missing_ok=True)
        return path

    def save_interrupted(self, state: dict[str, Any]) -> Path:
        """Writes the state of an unfinished epoch; returns the path. Raises OSError if it cannot be written."""
        return self._write(state, self.interrupted)

    def clear(self) -> None:
        """Removes all checkpoints of the run, and its validation."""
        for epoch in self.epochs():
            epoch_path(self.path, epoch).unlink()
        for path in (self.validation, self.best, self.best_record, self.interrupted, self.path / REPLAY):
            path.unlink(missing_ok=True)

    def is_validated(self, epoch: int) -> bool:
        """Returns whether validation.json is of this epoch."""
        return read_record(self.validation).get("epoch") == epoch

    def keep_best(self, epoch: int, metric: str, value: float, higher_is_better: bool) -> bool:
        """Copies the checkpoint of an epoch to TransCMD_best if its validation is the best; returns whether it is.

        Args:
            metric: name of the value, for the record.
            value: the measured value; NaN is never the best.

        Raises:
            OSError: a file cannot be written.
        """
        before = read_record(self.best_record)
        known = before.get("metric") == metric and before.get("epoch", epoch) < epoch
        sign = 1 if higher_is_better else -1
        if value != value or (known and sign * value <= sign * before["value"]):
            return False
        with atomic_path(self.best) as temporary:
            shutil.copyfile(epoch_path(self.path, epoch), temporary)
        write_text(self.best_record, json.dumps({"epoch": epoch, "metric": metric, "value": value}))
        return True

    def _write(self, state: dict[str, Any], path: Path) -> Path:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # raised by torch when it closes the file on a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise
        return path


def read_record(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file, or {} if it is missing or is no dictionary."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_newest(paths: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """Returns the first of some checkpoints that can be read, and its content. Damaged ones are logged.

    Raises:
        ValueError: none can be read; the message is about the first.
    """
    first: ValueError | None = None
    for number, path in enumerate(paths, start=1):
        try:
            content = read_checkpoint(path)
            check_finite(content.get("net", {}), path)
            return path, content
        except ValueError as error:
            first = first or error
            following = f"falling back to {paths[number]}" if number < len(paths) else "there is no earlier one"
            logger.warning("%s; %s", error, following)
    raise first


def read_training_state(path: Path) -> dict[str, Any]:
    """Reads a checkpoint from which a run can be resumed. Parameters and entries get their current names.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not a checkpoint, contains only a network, or was written with different MODALITIES.
    """
    return check_training_state(read_checkpoint(path), path)


def check_training_state(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint with current names. Raises ValueError as `read_training_state`."""
    if "helpers" in state:  # the name of "task" in older checkpoints
        state["task"] = state.pop("helpers")
    expected = {
        "net",
        "task",
        "optimizer",
        "scheduler",
        "scaler",
        "epoch",
        "step",
        "config",
        "world_size",
        "steps_per_epoch",
    }
    if absent := expected - set(state):
        raise ValueError(f"{path}: cannot be resumed, {', '.join(sorted(absent))} missing; use it with --finetune")
    check_finite(state["net"], path)
    names = modality_names(state, path)
    if names != list(MODALITIES):
        raise ValueError(
            f"{path}: written for the modalities {', '.join(names)}, expected {', '.join(MODALITIES)}; use --finetune"
        )
    if "modalities" not in state:
        for part in ("net", "task"):
            state[part] = {current_name(name): tensor for name, tensor in state[part].items()}
        for part, key in (("TRAIN", "FREEZE"), ("MODEL", "PRETRAIN_MISSING")):
            settings = state["config"].get(part, {})
            if key in settings:
                settings[key] = [current_name(prefix) for prefix in settings[key]]
    return state
