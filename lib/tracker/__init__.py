"""Builds a tracker in five lines of code:

from lib.tracker import Frame, load_tracker
tracker = load_tracker("tiny", "weights.pth.tar", modality="rgbt")
tracker.initialize(Frame(rgb, thermal), box_xywh)  # (H, W, 3) uint8 images in RGB order; x, y, w, h in pixels
for rgb, thermal in frames:
    box_xywh, score = tracker.track(Frame(rgb, thermal))

`make_frame` converts PIL images, float or 16-bit arrays, raw depth and missing images to a `Frame`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.structures import Frame as Frame
from lib.tracker.inputs import depth_levels as depth_levels
from lib.tracker.inputs import make_frame as make_frame

if TYPE_CHECKING:
    from lib.tracker.base import Tracker


def load_tracker(
    config: str = "tiny",
    checkpoint: str | Path | None = None,
    modality: str = "rgbt",
    device: str = "",
    overrides: Iterable[str] = (),
    precision: str = "fp32",
    compile: bool = False,
) -> Tracker:
    """Returns a tracker with trained weights.

    Args:
        config: experiment, as in `train.py --config`.
        checkpoint: path of a checkpoint. Default: the last one of the experiment in output/.
        modality: kind of the auxiliary images: "rgbt" thermal, "rgbd" depth, "rgbe" events,
            "rgb" the RGB images again.
        device: "cpu", "cuda:0", ...; default: a GPU if available.
        overrides: values of --set, "KEY=VALUE".
        precision: "fp32", or "bf16": the network computes in bfloat16 where that is safe.
        compile: compile the network for this device: inductor, and CUDA graphs on a GPU. This takes up to minutes, and
            pays for long videos.

    Raises:
        ValueError: the config, checkpoint, modality, device or precision is invalid; the message names it. Or the
            network cannot be compiled, e.g. because there is no compiler.
        FileNotFoundError: the checkpoint is missing.
    """
    from lib.tracker.build import Request, build_tracker  # here, so that `Frame` alone costs no further import

    request = Request("transcmd", config, tuple(overrides), checkpoint or "", precision=precision, compiled=compile)
    return build_tracker(request).make(modality, device)
