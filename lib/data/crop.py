"""The square crop around a box, and the mapping of boxes between image and crop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from lib.structures import Frame
from lib.utils.boxes import cxcywh_to_xywh, xywh_to_cxcywh


class CropSpec(NamedTuple):
    """Geometry of one of the two crops, DATA.TEMPLATE or DATA.SEARCH. Sizes are in pixels."""

    size: int  # side of the resized crop, pixels
    factor: float  # side of the square in the image, as a multiple of sqrt(w * h) of the box
    center_jitter: float = 0.0  # training only, see `jitter_box`
    scale_jitter: float = 0.0


class Crop(NamedTuple):
    """A resized square of an image, S pixels wide. Point p of the image is at (p - origin) * scale in the crop."""

    image: np.ndarray  # (S, S, 3) uint8
    origin: np.ndarray  # (2,) float64: x, y of the crop's top-left corner, image pixels
    scale: float  # crop pixels per image pixel


# (box xywh in image pixels, spec) → the crops of both modalities and their geometry, as `crop_pair` of a frame gives.
Cropper = Callable[[np.ndarray, CropSpec], tuple[Frame, Crop]]


class Square(NamedTuple):
    """A square region of an image: top-left corner and side in whole image pixels."""

    x: int
    y: int
    side: int


def square_around(box_xywh: np.ndarray, factor: float) -> Square:
    """Returns the square of side ceil(factor * sqrt(w * h)) centred on a box, rounded as in OSTrack (half to even).

    Raises:
        ValueError: the box is not finite or has no area.
    """
    x, y, w, h = (float(value) for value in box_xywh)
    if not (math.isfinite(x + y) and 0 < w < math.inf and 0 < h < math.inf):
        raise ValueError(f"cannot crop around box x={x:g} y={y:g} w={w:g} h={h:g}: expected finite values, w and h > 0")
    side = max(1, math.ceil(math.sqrt(w * h) * factor))
    return Square(round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5), side)


def crop_square(image: np.ndarray, box_xywh: np.ndarray, factor: float, size: int) -> Crop:
    """Cuts the square around a box out of an image, with zeros outside the image, and resizes it bilinearly.

    Equal to OSTrack's crop with one exception: where the square extends beyond the right or lower edge, OSTrack also
    blackens the last column or row of the image.

    Args:
        image: (H, W, 3) uint8; not modified.
        factor: side of the square as a multiple of sqrt(w * h) of the box.
        size: S, side of the result in pixels.

    Raises:
        ValueError: the box is not finite or has no area.
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
    """Crops both modalities of a frame with the same square. Returns the crops and the geometry.

    Args:
        box_xywh: (4,) in image pixels.

    Raises:
        ValueError: the box is not finite or has no area.
    """
    crop = crop_square(frame.rgb, box_xywh, spec.factor, spec.size)
    return Frame(crop.image, crop_square(frame.aux, box_xywh, spec.factor, spec.size).image), crop


def box_to_crop(box_xywh: np.ndarray, crop: Crop) -> np.ndarray:
    """Maps (..., 4) xywh in image pixels to (..., 4) cxcywh float64 as fractions of the crop."""
    boxes = xywh_to_cxcywh(box_xywh)
    boxes[..., :2] -= crop.origin
    return boxes * (crop.scale / crop.image.shape[0])


def box_from_crop(box_cxcywh: np.ndarray, crop: Crop) -> np.ndarray:
    """Maps (..., 4) cxcywh as fractions of the crop to (..., 4) xywh float64 in image pixels; inverts `box_to_crop`."""
    boxes = np.array(box_cxcywh, np.float64) * (crop.image.shape[0] / crop.scale)
    boxes[..., :2] += crop.origin
    return cxcywh_to_xywh(boxes)
