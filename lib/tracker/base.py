"""The interface of a tracker, and checks of its input."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lib.structures import Frame, Prediction
from lib.utils.boxes import is_valid

MIN_SIDE = 0.5  # pixels; a narrower box shows nothing
CONVERT = "lib.tracker.make_frame converts other images"


class Tracker(Protocol):
    """Receives the target's box in one frame and predicts it in the following frames.

    Frames have two (H, W, 3) uint8 images; boxes are x, y, w, h in image pixels.
    """

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """Starts tracking the target in `box_xywh`, (4,) in image pixels.

        Raises:
            ValueError: the box is empty or outside the image.
        """

    def track(self, frame: Frame) -> Prediction:
        """Predicts the target's box, (4,) xywh in image pixels, in the next frame. Call `initialize` first."""


def check_init_box(box_xywh: np.ndarray, frame: Frame) -> np.ndarray:
    """Returns the box as (4,) float64.

    Raises:
        ValueError: the box is not finite, is narrower than MIN_SIDE or is outside the image; or as `check_frame`.
    """
    box = np.array(box_xywh, np.float64).reshape(-1)
    height, width = check_frame(frame)
    if box.shape != (4,) or not is_valid(box):
        raise ValueError(f"init box {_text(box)}: expected finite x y w h with w and h > 0")
    if min(box[2:]) < MIN_SIDE:
        raise ValueError(f"init box {_text(box)}: expected w and h of at least {MIN_SIDE} pixels")
    x, y, w, h = box
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(f"init box {_text(box)} is outside the {width}x{height} image")
    return box


def check_frame(frame: Frame) -> tuple[int, int]:
    """Returns height and width in pixels. Raises ValueError unless both images are (H, W, 3) uint8 of equal size."""
    for name, image in zip(("RGB", "auxiliary"), frame, strict=True):
        if not isinstance(image, np.ndarray):
            raise ValueError(f"{name} image: expected (H, W, 3) uint8, got {type(image).__name__}; {CONVERT}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"{name} image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}; {CONVERT}")
    if frame.rgb.shape != frame.aux.shape:
        raise ValueError(f"the two images differ in size: RGB {frame.rgb.shape}, auxiliary {frame.aux.shape}")
    return frame.rgb.shape[:2]


def _text(box: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
