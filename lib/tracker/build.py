"""Trackers by name, from a configuration and a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.config.loader import config_name, flatten, to_plain
from lib.data.crop import CropSpec
from lib.models.build import build_model
from lib.models.weights import checkpoint_folder, epoch_path, load_exact, net_of, read_checkpoint
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.misc import pick_device


def build_tracker(cfg, checkpoint: Path, modality: str, device: str = "") -> TransCMDTracker:
    """The tracker that a configuration and a checkpoint describe.

    Raises:
        ValueError: the checkpoint was trained as another network, also where its tensors have the same shapes.
    """
    model, content = build_model(cfg), read_checkpoint(checkpoint)
    load_exact(model, net_of(content, checkpoint), str(checkpoint))
    check_settings(content, cfg, checkpoint)
    test = cfg.TEST
    template = CropSpec(test.TEMPLATE_SIZE, test.TEMPLATE_FACTOR)
    search = CropSpec(test.SEARCH_SIZE, test.SEARCH_FACTOR)
    return TransCMDTracker(model, template, search, modality, pick_device(device))


def check_settings(content: dict[str, Any], cfg, checkpoint: Path) -> None:
    """Raises ValueError where a checkpoint's content says that it was trained as another network than cfg's."""
    trained, wanted = network_settings(content.get("config", {})), network_settings(to_plain(cfg))
    for key, value in trained.items():
        if wanted.get(key, value) != value:
            raise ValueError(f"{checkpoint}: trained with {key} {value}, the config says {wanted[key]}")


def network_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Of a whole configuration what a network's answer depends on, {'MODEL.BACKBONE.STRIDE': 16, ...}."""
    keys = (
        "DATA.MEAN",
        "DATA.STD",
        "DATA.TEMPLATE.SIZE",
        "DATA.TEMPLATE.FACTOR",
        "DATA.SEARCH.SIZE",
        "DATA.SEARCH.FACTOR",
    )
    return {
        key: value
        for key, value in flatten(config)
        if key in keys or (key.startswith("MODEL.") and not key.startswith("MODEL.PRETRAIN"))
    }


def default_checkpoint(cfg, config: str, save_dir: str | Path) -> Path:
    """Where training leaves the checkpoint of TEST.EPOCH."""
    folder = checkpoint_folder(save_dir, "transcmd", config_name(config))
    return epoch_path(folder, cfg.TEST.EPOCH or cfg.TRAIN.EPOCH)
