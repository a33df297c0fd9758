"""Paths of checkpoints below `save_dir`. The layout is that of OSTrack."""

from __future__ import annotations

from pathlib import Path

NET_NAME = "TransCMD"


def checkpoint_folder(save_dir: str | Path, script: str, config: str) -> Path:
    """Returns the folder of the checkpoints of a training run."""
    return Path(save_dir) / "checkpoints" / "train" / script / config


def epoch_path(folder: Path, epoch: int) -> Path:
    """Returns the path of the checkpoint of a finished epoch."""
    return folder / f"{NET_NAME}_ep{epoch:04d}.pth.tar"
