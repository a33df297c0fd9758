"""The five-line way to a tracker:

from lib.tracker import Frame, load_tracker
tracker = load_tracker("tiny", "weights.pth.tar", modality="rgbt")
tracker.initialize(Frame(rgb, thermal), box_xywh)  # (H, W, 3) uint8 images in RGB order; x, y, w, h in pixels
for rgb, thermal in frames:
    box_xywh, score = tracker.track(Frame(rgb, thermal))
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.structures import Frame as Frame

if TYPE_CHECKING:
    from lib.tracker.transcmd import TransCMDTracker


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
    from lib.config.loader import load_config  # here, so that parts of this package can be used without torch
    from lib.tracker.build import build_tracker, default_checkpoint

    cfg = load_config("transcmd", config, overrides)
    path = Path(checkpoint) if checkpoint else default_checkpoint(cfg, config, "output")
    return build_tracker(cfg, path, modality, device)
