"""What a tracker is, and two that need no training."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lib.structures import Frame, Prediction
from lib.utils.boxes import is_valid


class Tracker(Protocol):
    """Gets the target's box in one frame and predicts it in the following ones."""

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """Raises ValueError for a box that is empty or outside of the image."""

    def track(self, frame: Frame) -> Prediction:
        """The target's place in the next frame."""


def check_init_box(box_xywh: np.ndarray, frame: Frame) -> np.ndarray:
    """The box as float64 (4,). Raises ValueError where it is no box or shares no pixel with the image."""
    box = np.array(box_xywh, np.float64).reshape(-1)
    height, width = check_frame(frame)
    if box.shape != (4,) or not is_valid(box):
        raise ValueError(f"init box {_text(box)}: expected finite x y w h with w and h > 0")
    x, y, w, h = box
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(f"init box {_text(box)} lies outside of the {width}x{height} image")
    return box


def check_frame(frame: Frame) -> tuple[int, int]:
    """Height and width. Raises ValueError unless both images are (H, W, 3) uint8 of one size."""
    for name, image in zip(("RGB", "auxiliary"), frame, strict=True):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"{name} image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if frame.rgb.shape != frame.aux.shape:
        raise ValueError(f"the two images differ in size: RGB {frame.rgb.shape}, auxiliary {frame.aux.shape}")
    return frame.rgb.shape[:2]


def _text(box: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
