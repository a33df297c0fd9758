"""Paths of the project and of the files that commands write below `save_dir`, in OSTrack's layout."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PRETRAINED = PROJECT / "pretrained_models"
NET_NAME = "TransCMD"


def checkpoint_folder(save_dir: str | Path, script: str, config: str) -> Path:
    """Returns the folder of the checkpoints of a training run."""
    return Path(save_dir) / "checkpoints" / "train" / script / config


def epoch_path(folder: Path, epoch: int) -> Path:
    """Returns the path of the checkpoint of a finished epoch."""
    return folder / f"{NET_NAME}_ep{epoch:04d}.pth.tar"


def results_folder(save_dir: str | Path, tracker: str, name: str, dataset: str) -> Path:
    """Returns the folder of the raw results of one run of a tracker on a data set."""
    return Path(save_dir) / "test" / "tracking_results" / tracker / name / dataset


def is_plain_name(name: str) -> bool:
    """Returns whether a text can name a file or folder inside another folder: no path, not hidden, not empty."""
    return bool(name.strip()) and name not in (".", "..") and not set(name) & set("/\\\0")


def find_weights(name: str | Path) -> Path:
    """Returns `name` if this file exists, else its path in pretrained_models/ if it is there, else `name`.

    "nano" stands for "nano.safetensors".
    """
    if Path(name).is_file():
        return Path(name)
    candidates = (PRETRAINED / name, PRETRAINED / f"{name}.safetensors")
    return next((path for path in candidates if path.is_file()), Path(name))
