"""The arithmetic of tracking scores: pure numpy, nothing is mutated, nothing knows a benchmark.

Letters: N frames of one sequence, T thresholds. How benchmarks count absent frames or first rows: `benchmarks.py`.
"""

from __future__ import annotations

import numpy as np

from lib.utils.boxes import is_valid


def repair_rows(boxes_xywh: np.ndarray) -> np.ndarray:
    """Gives every row that is no box (not finite, or without width or height) the nearest box before it.

    Row 0 stays as it is, and so do rows after it until the first box.
    """
    rows = np.arange(len(boxes_xywh))
    return np.asarray(boxes_xywh)[np.maximum.accumulate(np.where(is_valid(boxes_xywh), rows, 0))]


def centre_errors(results_xywh: np.ndarray, annotations_xywh: np.ndarray) -> np.ndarray:
    """Distance of the centres in pixels, (N,)."""
    return np.sqrt(np.square(centres(results_xywh) - centres(annotations_xywh)).sum(axis=1))


def normalised_errors(results_xywh: np.ndarray, annotations_xywh: np.ndarray) -> np.ndarray:
    """Distance of the centres, (N,), with x in units of the annotated width and y of the annotated height.

    Where the annotation has no size the distance is infinite or NaN, which no threshold admits. Centres are divided
    before they are subtracted, as LasHeR's MATLAB toolkit does: the last bit decides ties at a threshold.
    """
    sizes = np.asarray(annotations_xywh, np.float64)[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        offsets = centres(results_xywh) / sizes - centres(annotations_xywh) / sizes
    return np.sqrt(np.square(offsets).sum(axis=1))


def centres(boxes_xywh: np.ndarray) -> np.ndarray:
    """Centres of boxes, (N, 2), as toolkits that count whole pixels have them. Distances are the same without the 1."""
    boxes = np.asarray(boxes_xywh, np.float64)
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2


def success_curve(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of frames, in [0, 1], whose overlap lies strictly above each threshold: (N,), (T,) → (T,)."""
    rising = np.sort(np.asarray(overlap, np.float64))  # NaN comes last
    numbers = len(rising) - np.count_nonzero(np.isnan(rising))
    return (numbers - np.searchsorted(rising, thresholds, side="right")) / len(rising)


def precision_curve(errors: np.ndarray, thresholds: np.ndarray, below: bool = False) -> np.ndarray:
    """Share of frames, in [0, 1], whose error is at most each threshold, or below it: (N,), (T,) → (T,)."""
    rising = np.sort(np.asarray(errors, np.float64))
    return np.searchsorted(rising, thresholds, side="left" if below else "right") / len(rising)


def confidence_thresholds(scores: np.ndarray, resolution: int) -> np.ndarray:
    """At most `resolution` confidence thresholds, falling from +inf (report nothing) to -inf (report all).

    Those in between are scores at even ranks, as the VOT toolkit samples them: of n scores it skips the best
    and the worst n // (resolution - 2), and takes all when there are no more than resolution - 2. NaN is no score.
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
    """Long-term tracking precision and recall of one sequence at each confidence threshold (Lukezic et al.).

    A frame is reported if its score is at least the threshold; NaN never is. Precision is the mean overlap of the
    reported frames (1 if there are none: nothing said, nothing wrong), recall the sum of their overlaps over the number
    of frames with a visible target.

    Args:
        overlap: (N,) in [0, 1]; 0 where the target is absent, so that a report there costs precision.
        scores: (N,) confidence.
        visible: (N,) bool, at least one True.
        thresholds: (T,).

    Returns:
        precision (T,) and recall (T,) in [0, 1].
    """
    scored = ~np.isnan(scores)
    order = np.argsort(scores[scored])
    rising = scores[scored][order]
    reported = len(rising) - np.searchsorted(rising, thresholds, side="left")
    summed = np.concatenate([[0.0], np.cumsum(overlap[scored][order][::-1])])[reported]
    precision = np.where(reported > 0, summed / np.maximum(reported, 1), 1.0)
    return precision, summed / np.count_nonzero(visible)


def f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, element by element; 0 where both are 0."""
    total = np.asarray(precision) + np.asarray(recall)
    return np.divide(2 * np.asarray(precision) * recall, total, out=np.zeros(np.shape(total)), where=total > 0)
