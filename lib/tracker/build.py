"""Trackers by name, from a configuration and a checkpoint."""

from __future__ import annotations

from pathlib import Path

from lib.config.loader import config_name
from lib.data.crop import CropSpec
from lib.models.build import load_trained_model
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.misc import pick_device
from lib.utils.paths import checkpoint_folder, epoch_path


def build_tracker(cfg, checkpoint: Path, modality: str, device: str = "") -> TransCMDTracker:
    """The tracker that a configuration and a checkpoint describe.

    Raises:
        ValueError: the checkpoint was trained as another network, also where its tensors have the same shapes.
    """
    model = load_trained_model(cfg, checkpoint)
    test = cfg.TEST
    template = CropSpec(test.TEMPLATE_SIZE, test.TEMPLATE_FACTOR)
    search = CropSpec(test.SEARCH_SIZE, test.SEARCH_FACTOR)
    return TransCMDTracker(model, template, search, modality, pick_device(device))


def default_checkpoint(cfg, config: str, save_dir: str | Path) -> Path:
    """Where training leaves the checkpoint of TEST.EPOCH."""
    folder = checkpoint_folder(save_dir, "transcmd", config_name(config))
    return epoch_path(folder, cfg.TEST.EPOCH or cfg.TRAIN.EPOCH)
