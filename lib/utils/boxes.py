"""Box conversions and overlap for numpy arrays with any leading shape, (..., 4). Inputs are not modified."""

import numpy as np


def xywh_to_cxcywh(boxes_xywh: np.ndarray) -> np.ndarray:
    """Converts top-left corner and size to centre and size, in the same unit. Returns float64."""
    boxes = np.array(boxes_xywh, dtype=np.float64)
    boxes[..., :2] += boxes[..., 2:] / 2
    return boxes


def cxcywh_to_xywh(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """Converts centre and size to top-left corner and size, in the same unit. Returns float64."""
    boxes = np.array(boxes_cxcywh, dtype=np.float64)
    boxes[..., :2] -= boxes[..., 2:] / 2
    return boxes


def xyxy_to_xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Converts two corners to top-left corner and size, in the same unit: w = x2 - x1, h = y2 - y1. Returns float64."""
    boxes = np.array(boxes_xyxy, dtype=np.float64)
    boxes[..., 2:] -= boxes[..., :2]
    return boxes


# Name of a format → function to xywh: (..., 4) numbers in pixels, float64.
TO_XYWH = {"xywh": np.float64, "xyxy": xyxy_to_xywh, "cxcywh": cxcywh_to_xywh}


def iou_xywh(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of paired boxes, in [0, 1]; 0 if either box is invalid (see `is_valid`)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - intersection
    valid = is_valid(a) & is_valid(b) & (union > 0)
    iou = np.divide(intersection, union, out=np.zeros(np.shape(union)), where=valid)
    return np.minimum(iou, 1.0)  # rounding can give slightly more than 1 for equal boxes, which would pass "IoU > 1"


def is_valid(boxes_xywh: np.ndarray) -> np.ndarray:
    """Returns True for each box that is finite and has positive width and height, shape (...)."""
    boxes = np.asarray(boxes_xywh, np.float64)
    return np.isfinite(boxes).all(axis=-1) & (boxes[..., 2] > 0) & (boxes[..., 3] > 0)


def clip_xywh(box_xywh: np.ndarray, height: int, width: int, margin: float = 0.0) -> np.ndarray:
    """Clips one box, (4,) in pixels, to an image, as OSTrack does.

    Args:
        margin: smallest width and height of the result in pixels. The result lies inside the image.
    """
    x, y, w, h = (float(value) for value in box_xywh)
    x1, y1 = min(max(x, 0.0), width - margin), min(max(y, 0.0), height - margin)
    x2, y2 = min(max(x + w, margin), float(width)), min(max(y + h, margin), float(height))
    return np.array([x1, y1, max(margin, x2 - x1), max(margin, y2 - y1)])
