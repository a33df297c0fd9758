"""Checkpoint files with OSTrack's folder and file names. They are written atomically."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from lib.models.weights.read import current_name, modality_names, read_checkpoint
from lib.structures import MODALITIES
from lib.utils.files import atomic_path
from lib.utils.paths import NET_NAME, checkpoint_folder, epoch_path


class CheckpointFolder:
    """<save_dir>/checkpoints/train/<script>/<config>/TransCMD_ep0300.pth.tar and the other checkpoints of a run.

    Every epoch is saved. If its number is not a multiple of `keep_every`, its file is removed when the next epoch is
    saved. TransCMD_interrupted contains the state of an unfinished epoch; it is removed when the epoch is finished.
    """

    def __init__(self, save_dir: str | Path, script: str, config: str, keep_every: int = 1):
        self.path = checkpoint_folder(save_dir, script, config)
        self.keep_every = keep_every
        self.interrupted = self.path / f"{NET_NAME}_interrupted.pth.tar"

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

    def save(self, state: dict[str, Any], epoch: int) -> Path:
        """Writes the state after `epoch` epochs, then removes older files; returns the path.

        Raises:
            OSError: the file cannot be written.
        """
        path = self._write(state, epoch_path(self.path, epoch))
        for older in self.epochs():
            if older < epoch and older % self.keep_every:
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
        (self.path / "validation.json").unlink(missing_ok=True)
        self.interrupted.unlink(missing_ok=True)

    def _write(self, state: dict[str, Any], path: Path) -> Path:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # raised by torch when it closes the file on a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise
        return path


def read_training_state(path: Path) -> dict[str, Any]:
    """Reads a checkpoint from which a run can be resumed. Parameters and entries get their current names.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not a checkpoint, contains only a network, or was written with different MODALITIES.
    """
    state = read_checkpoint(path)
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
