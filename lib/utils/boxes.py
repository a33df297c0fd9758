"""Box conversions and overlap, numpy only, for arrays of any leading shape (..., 4)."""

import numpy as np


def xywh_to_cxcywh(boxes_xywh: np.ndarray) -> np.ndarray:
    """Top-left corner and size → centre and size, in the same unit."""
    boxes = np.array(boxes_xywh, dtype=np.float64)
    boxes[..., :2] += boxes[..., 2:] / 2
    return boxes


def cxcywh_to_xywh(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """Centre and size → top-left corner and size, in the same unit."""
    boxes = np.array(boxes_cxcywh, dtype=np.float64)
    boxes[..., :2] -= boxes[..., 2:] / 2
    return boxes


def xyxy_to_xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Top-left and bottom-right corner → top-left corner and size, in the same unit, without a one-pixel shift."""
    boxes = np.array(boxes_xyxy, dtype=np.float64)
    boxes[..., 2:] -= boxes[..., :2]
    return boxes


def iou_xywh(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of paired boxes, in [0, 1]; 0 where either box is empty or not a number."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - intersection
    valid = is_valid(a) & is_valid(b) & (union > 0)
    iou = np.divide(intersection, union, out=np.zeros(np.shape(union)), where=valid)
    return np.minimum(iou, 1.0)  # equal boxes can round to a hair above, which would pass "IoU > 1"


def is_valid(boxes_xywh: np.ndarray) -> np.ndarray:
    """True where a box is finite and has a positive width and height."""
    boxes = np.asarray(boxes_xywh, np.float64)
    return np.isfinite(boxes).all(axis=-1) & (boxes[..., 2] > 0) & (boxes[..., 3] > 0)


def clip_xywh(box_xywh: np.ndarray, height: int, width: int, margin: float = 0.0) -> np.ndarray:
    """Cuts one box to the image, keeping at least `margin` pixels of it inside on every side, as OSTrack does."""
    x, y, w, h = (float(value) for value in box_xywh)
    x1, y1 = min(max(x, 0.0), width - margin), min(max(y, 0.0), height - margin)
    x2, y2 = min(max(x + w, margin), float(width)), min(max(y + h, margin), float(height))
    return np.array([x1, y1, max(margin, x2 - x1), max(margin, y2 - y1)])
