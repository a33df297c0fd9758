"""The arithmetic of tracking scores, independent of any benchmark. Inputs are not modified.

Letters: N frames of one sequence, T thresholds. Boxes are (N, 4). `rules/` defines how absent and first frames count.
"""

from __future__ import annotations

import numpy as np

from lib.utils.boxes import is_valid


def repair_rows(boxes_xywh: np.ndarray) -> np.ndarray:
    """Replaces every invalid row (not finite, or without width or height) by the last valid row before it, (N, 4).

    Rows before the first valid row become row 0.
    """
    rows = np.arange(len(boxes_xywh))
    return np.asarray(boxes_xywh)[np.maximum.accumulate(np.where(is_valid(boxes_xywh), rows, 0))]


def repair_empty_rows(boxes_xywh: np.ndarray, rows: int, annotations_xywh: np.ndarray) -> np.ndarray:
    """Replaces rows with width or height 0 by the row before them, as pytracking does: (N, 4) → (N, 4).

    Row 0 stays, and rows from `rows` on, which were added to a short result. So does a row whose annotation has a NaN.
    """
    boxes = np.array(boxes_xywh, np.float64)
    unknown = np.isnan(annotations_xywh).any(axis=1)
    for row in np.flatnonzero((boxes[:rows, 2:] == 0).any(axis=1)):
        if row and not unknown[row]:
            boxes[row] = boxes[row - 1]
    return boxes


def centre_errors(results_xywh: np.ndarray, annotations_xywh: np.ndarray) -> np.ndarray:
    """Returns the distance of the centres in pixels, (N,)."""
    return np.sqrt(np.square(centres(results_xywh) - centres(annotations_xywh)).sum(axis=1))


def normalised_errors(results_xywh: np.ndarray, annotations_xywh: np.ndarray) -> np.ndarray:
    """Returns the distance of the centres, (N,), with x and y divided by the annotated width and height.

    If the annotation has no size, the distance is infinite or NaN, which is above every threshold. Centres are divided
    before the subtraction, as in LasHeR's MATLAB toolkit, because the last bit decides ties at a threshold.
    """
    sizes = np.asarray(annotations_xywh, np.float64)[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        offsets = centres(results_xywh) / sizes - centres(annotations_xywh) / sizes
    return np.sqrt(np.square(offsets).sum(axis=1))


def centres(boxes_xywh: np.ndarray) -> np.ndarray:
    """Returns the centres of boxes, (N, 2), as pixel-inclusive toolkits define them; the 1 cancels in distances."""
    boxes = np.asarray(boxes_xywh, np.float64)
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2


def success_curve(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of frames in [0, 1] with an overlap strictly above each threshold: (N,), (T,) → (T,)."""
    rising = np.sort(np.asarray(overlap, np.float64))  # NaN comes last
    numbers = len(rising) - np.count_nonzero(np.isnan(rising))
    return (numbers - np.searchsorted(rising, thresholds, side="right")) / len(rising)


def precision_curve(errors: np.ndarray, thresholds: np.ndarray, below: bool = False) -> np.ndarray:
    """Returns the share of frames in [0, 1] with an error of at most each threshold: (N,), (T,) → (T,).

    Args:
        below: the error must be strictly below the threshold.
    """
    rising = np.sort(np.asarray(errors, np.float64))
    return np.searchsorted(rising, thresholds, side="left" if below else "right") / len(rising)


def confidence_thresholds(scores: np.ndarray, resolution: int) -> np.ndarray:
    """Returns at most `resolution` confidence thresholds, falling from +inf (no frame) to -inf (all frames), (T,).

    The thresholds between are scores at evenly spaced ranks, as in the VOT toolkit: it ignores the
    n // (resolution - 2) best and worst of n scores, and uses all if there are at most resolution - 2. NaN is ignored.

    Args:
        scores: confidences of any shape (n,).
    """
    scores = np.asarray(scores, np.float64)
    falling = np.sort(scores[~np.isnan(scores)])[::-1]
    inner = resolution - 2
    if len(falling) > inner:
        skip = len(falling) // inner
        ranks = np.round(np.linspace(skip, len(falling) - skip, num=inner)).astype(int)
        falling = falling[np.minimum(ranks, len(falling) - 1)]
    return np.concatenate([[np.inf], falling, [-np.inf]])


def precision_recall(
    overlap: np.ndarray, scores: np.ndarray, visible: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Computes long-term tracking precision and recall of one sequence at each confidence threshold (Lukezic et al.).

    A frame is reported if its score is at least the threshold; a frame with the score NaN is never reported. Precision
    is the mean overlap of the reported frames, or 1 if no frame is reported. Recall is their summed overlap
    divided by the number of frames with a visible target, at most 1. (As in the VOT toolkit, a row without a box in a
    frame without a target has an overlap of 1, which counts in both. There, recall can exceed 1.)

    Args:
        overlap: (N,) in [0, 1]; 0 where the target is absent, so that a report there lowers precision.
        scores: (N,) confidence.
        visible: (N,) bool, at least one True.
        thresholds: (T,) confidence.

    Returns:
        precision (T,) and recall (T,) in [0, 1].
    """
    scored = ~np.isnan(scores)
    order = np.argsort(scores[scored])
    rising = scores[scored][order]
    reported = len(rising) - np.searchsorted(rising, thresholds, side="left")
    summed = np.concatenate([[0.0], np.cumsum(overlap[scored][order][::-1])])[reported]
    precision = np.where(reported > 0, summed / np.maximum(reported, 1), 1.0)
    return precision, np.minimum(summed / np.count_nonzero(visible), 1.0)


def f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Returns the harmonic mean of precision and recall, elementwise for any equal shape; 0 if both are 0."""
    total = np.asarray(precision) + np.asarray(recall)
    return np.divide(2 * np.asarray(precision) * recall, total, out=np.zeros(np.shape(total)), where=total > 0)
