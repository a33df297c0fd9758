"""The square crop around a box, and the box mapping there and back."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from lib.structures import Frame
from lib.utils.boxes import cxcywh_to_xywh, xywh_to_cxcywh


class CropSpec(NamedTuple):
    """How to cut one of the two crops: DATA.TEMPLATE or DATA.SEARCH."""

    size: int  # pixels
    factor: float  # side relative to the square root of the box's area
    center_jitter: float = 0.0  # training only, see `jitter_box`
    scale_jitter: float = 0.0


class Crop(NamedTuple):
    """A resized square of an image. A point p of the image lies at (p - origin) * scale in the crop."""

    image: np.ndarray  # (S, S, 3) uint8
    origin: np.ndarray  # (2,) float64: x, y of the crop's top-left corner in image pixels
    scale: float  # crop pixels per image pixel


class Square(NamedTuple):
    """Where to crop: top-left corner and side in whole image pixels."""

    x: int
    y: int
    side: int


def square_around(box_xywh: np.ndarray, factor: float) -> Square:
    """The square of side ceil(factor * sqrt(w * h)) around a box, rounded as OSTrack rounds (to even at .5).

    Raises:
        ValueError: the box is not finite or has no area.
    """
    x, y, w, h = (float(value) for value in box_xywh)
    if not (math.isfinite(x + y) and 0 < w < math.inf and 0 < h < math.inf):
        raise ValueError(f"cannot crop around box x={x:g} y={y:g} w={w:g} h={h:g}: expected finite values, w and h > 0")
    side = max(1, math.ceil(math.sqrt(w * h) * factor))
    return Square(round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5), side)


def crop_square(image: np.ndarray, box_xywh: np.ndarray, factor: float, size: int) -> Crop:
    """Cuts the square around a box out of an image, zero outside of it, and resizes it bilinearly.

    As OSTrack's, but for its blackening of the image's own last column and row where the square reaches beyond them.

    Args:
        image: (H, W, 3) uint8.
        factor: side of the square relative to the square root of the box's area.
        size: S, side of the result in pixels.
    """
    square = square_around(box_xywh, factor)
    height, width = image.shape[:2]
    x1, y1 = min(max(square.x, 0), width), min(max(square.y, 0), height)
    x2, y2 = min(max(square.x + square.side, 0), width), min(max(square.y + square.side, 0), height)
    scale = size / square.side
    patch = np.zeros((square.side, square.side, 3), image.dtype)
    patch[y1 - square.y : y2 - square.y, x1 - square.x : x2 - square.x] = image[y1:y2, x1:x2]
    return Crop(cv2.resize(patch, (size, size)), np.array([square.x, square.y], np.float64), scale)


def crop_pair(frame: Frame, box_xywh: np.ndarray, spec: CropSpec) -> tuple[Frame, Crop]:
    """The same square of both modalities, and its geometry."""
    crop = crop_square(frame.rgb, box_xywh, spec.factor, spec.size)
    return Frame(crop.image, crop_square(frame.aux, box_xywh, spec.factor, spec.size).image), crop


def box_to_crop(box_xywh: np.ndarray, crop: Crop) -> np.ndarray:
    """(..., 4) xywh in image pixels → (..., 4) cxcywh as fractions of the crop."""
    boxes = xywh_to_cxcywh(box_xywh)
    boxes[..., :2] -= crop.origin
    return boxes * (crop.scale / crop.image.shape[0])


def box_from_crop(box_cxcywh: np.ndarray, crop: Crop) -> np.ndarray:
    """(..., 4) cxcywh as fractions of the crop → (..., 4) xywh in image pixels: the inverse of `box_to_crop`."""
    boxes = np.array(box_cxcywh, np.float64) * (crop.image.shape[0] / crop.scale)
    boxes[..., :2] += crop.origin
    return cxcywh_to_xywh(boxes)
