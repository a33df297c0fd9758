"""Trackers by name, and the five-line way to one:

from lib.tracker import Frame, load_tracker
tracker = load_tracker("tiny", "weights.pth.tar", modality="rgbt")
tracker.initialize(Frame(rgb, thermal), box_xywh)  # (H, W, 3) uint8 images in RGB order; x, y, w, h in pixels
for rgb, thermal in frames:
    box_xywh, score = tracker.track(Frame(rgb, thermal))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from lib.config.loader import load_config
from lib.data.processing import CropSpec
from lib.models.build import build_model
from lib.models.weights import checkpoint_folder, epoch_path, load_exact, read_net
from lib.structures import Frame as Frame
from lib.tracker.base import MilTracker, StaticTracker, Tracker
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.misc import pick_device

BASELINES: dict[str, Callable[[], Tracker]] = {"static": StaticTracker, "mil": MilTracker}
TRACKERS = ("transcmd", *BASELINES)


def load_tracker(
    config: str = "tiny",
    checkpoint: str | Path | None = None,
    modality: str = "rgbt",
    device: str = "",
    overrides: Iterable[str] = (),
) -> TransCMDTracker:
    """A tracker with trained weights.

    Args:
        config: experiment, as `train.py --config`.
        checkpoint: default: what that experiment's training left in output/.
        modality: what the second image is: "rgbt" thermal, "rgbd" colour-mapped depth, "rgbe" events, "rgb" RGB again.
        device: "cpu", "cuda:0", ...; default: a GPU if there is one.

    Raises:
        ValueError, FileNotFoundError: wrong config, checkpoint, modality or device; says which.
    """
    cfg = load_config("transcmd", config, overrides)
    path = Path(checkpoint) if checkpoint else default_checkpoint(cfg, config, "output")
    return build_tracker(cfg, path, modality, device)


def build_tracker(cfg, checkpoint: Path, modality: str, device: str = "") -> TransCMDTracker:
    """The tracker that a configuration and a checkpoint describe."""
    model = build_model(cfg)
    load_exact(model, read_net(checkpoint), str(checkpoint))
    test = cfg.TEST
    template, search = (
        CropSpec(test.TEMPLATE_SIZE, test.TEMPLATE_FACTOR),
        CropSpec(test.SEARCH_SIZE, test.SEARCH_FACTOR),
    )
    return TransCMDTracker(model, template, search, modality, pick_device(device))


def default_checkpoint(cfg, config: str, save_dir: str | Path) -> Path:
    """Where training leaves the checkpoint of TEST.EPOCH."""
    return epoch_path(checkpoint_folder(save_dir, "transcmd", Path(config).stem), cfg.TEST.EPOCH)
