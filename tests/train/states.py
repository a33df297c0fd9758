"""Training states, as `--resume` reads them."""

from __future__ import annotations

from pathlib import Path

from lib.train.checkpoint import read_training_state
from lib.train.start import check_match
from lib.train.trainer import Trainer


def matching_state(path: Path, trainer: Trainer) -> dict:
    """Reads a training state that fits this trainer. Raises ValueError as `check_match` and `read_training_state`."""
    return check_match(read_training_state(path), path, trainer)
