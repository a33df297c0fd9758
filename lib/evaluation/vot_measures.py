"""The measures of the VOT toolkit, with equal results: overlaps of pixel masks, long-term frames, multistart EAO, A, R.

A result row is NaN if the tracker gave no box: the toolkit's codes for "initialised" and "unknown" are read as NaN.
Letters: N frames, S sequences, B weightings of them, L points of the EAO curve. tests/vot/test_vot.py compares
all measures with the toolkit.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from lib.results.vot_files import Anchor

FAILURE_OVERLAP = 0.1  # a frame with at most this overlap counts towards a failure
GRACE = 10  # number of such consecutive frames that is a failure
LOW, HIGH = 115, 755  # EAO interval of VOT-RGBD2022, in frames


# --- overlap ----------------------------------------------------------------------------------------------------------


def has_box(boxes_xywh: np.ndarray) -> np.ndarray:
    """Returns whether rows are rectangles in the toolkit, also empty ones, and not codes or NaN: (N, 4) → (N,) bool."""
    return np.isfinite(boxes_xywh).all(axis=1)


def box_overlaps(
    results_xywh: np.ndarray, annotations_xywh: np.ndarray, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Returns the toolkit's overlap of rectangles, (N,) in [0, 1]: they are drawn as masks, and pixels are counted.

    Position and size are rounded separately, halves to even, from 32-bit floats. Pixels outside the image do not count.
    There are two special cases: if the smallest rectangle around both boxes is at most one pixel wide or high, also if
    both boxes are missing, the overlap is 1; a missing box extends this rectangle to the origin.

    Args:
        results_xywh, annotations_xywh: (N, 4) pixels; a row with NaN is no box.
        size: width and height of the images in pixels; None: boxes are not clipped.

    Raises:
        ValueError: the numbers of results and annotations differ.
    """
    if len(results_xywh) != len(annotations_xywh):
        raise ValueError(f"{len(results_xywh)} results for {len(annotations_xywh)} annotations")
    first, second = _corners(results_xywh), _corners(annotations_xywh)
    low, high = np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])
    degenerate = (low >= high).any(axis=1)
    if size is not None:
        low, high = np.maximum(low, 0), np.minimum(high, np.array(size) - 1)
    outside = (low >= high).any(axis=1)
    drawn = [
        np.concatenate([np.maximum(corners[:, :2], low), np.minimum(corners[:, 2:], high)], axis=1)
        for corners in (first, second)
    ]
    shared = np.concatenate([np.maximum(*(d[:, :2] for d in drawn)), np.minimum(*(d[:, 2:] for d in drawn))], axis=1)
    both = has_box(results_xywh) & has_box(annotations_xywh)
    intersection = np.where(both, _area(shared), 0)
    areas = [np.where(has_box(b), _area(d), 0) for b, d in zip((results_xywh, annotations_xywh), drawn, strict=True)]
    overlap = intersection / np.maximum(areas[0] + areas[1] - intersection, 1)
    return np.where(degenerate, 1.0, np.where(outside, 0.0, overlap))


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    """Returns the first and last pixel of every box as (N, 4) float64 integers; zeros if there is no box."""
    boxes = np.where(has_box(boxes_xywh)[:, None], boxes_xywh, 0).astype(np.float32).round().astype(np.float64)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)
    return np.where(has_box(boxes_xywh)[:, None], corners, 0)


def _area(corners: np.ndarray) -> np.ndarray:
    return np.maximum(corners[:, 2:] - corners[:, :2] + 1, 0).prod(axis=1)


def long_term_frames(
    results_xywh: np.ndarray, annotations_xywh: np.ndarray, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N,) overlap and (N,) bool whether the target is visible, for `metrics.precision_recall`.

    All frames count, also the first, where the toolkit writes a code, so that its overlap is 0. If the target is
    absent, a box has an overlap of 0; a code has an overlap of 1 and counts if it has a confidence.

    Raises:
        ValueError: the numbers of results and annotations differ.
    """
    return box_overlaps(results_xywh, annotations_xywh, size), has_box(annotations_xywh)


# --- multistart -------------------------------------------------------------------------------------------------------


class Sums(NamedTuple):
    """The contribution of one sequence to numerator and denominator of EAO, accuracy and robustness."""

    eao_numerator: np.ndarray  # (L,) by length of a run in frames, see `eao`; overlaps
    eao_denominator: np.ndarray  # (L,)
    accuracy: tuple[float, float]  # summed overlap before failures, frames before failures
    robustness: tuple[float, float]  # frames of the sequence times the share of tracked frames, frames of the sequence


def run_overlaps(
    results_xywh: np.ndarray,
    annotations_xywh: np.ndarray,
    anchor: Anchor,
    size: tuple[int, int] | None = None,
    threshold: float = FAILURE_OVERLAP,
    grace: int = GRACE,
) -> tuple[np.ndarray, int]:
    """Returns the (n,) overlaps of one run, in the order of tracking, and the number of frames before it fails.

    It fails at the first of `grace` consecutive frames with an overlap of at most `threshold`. A frame without a target
    or with an empty box interrupts such a series. The first frame, whose result is a code, counts with an overlap of 0.

    Args:
        results_xywh: (n, 4) in the order of tracking, pixels.
        annotations_xywh: (N, 4) of the complete sequence.
        size: width and height of the images in pixels; None: boxes are not clipped.

    Raises:
        ValueError: the run has a different number of frames.
    """
    truth = np.asarray(annotations_xywh)[anchor.frames(len(annotations_xywh))]
    if len(results_xywh) != len(truth):
        raise ValueError(f"{len(results_xywh)} rows for the {len(truth)} frames of the run from frame {anchor.frame}")
    overlaps = box_overlaps(results_xywh, truth, size)
    shown = has_box(truth) & (np.nan_to_num(truth[:, 2:]) > 0).all(axis=1)
    bad = np.concatenate([[0], np.cumsum((overlaps <= threshold) & shown)])
    failures = np.flatnonzero(bad[grace:] - bad[:-grace] == grace)
    return overlaps, int(failures[0]) if len(failures) else len(overlaps)


def sum_runs(runs: SequenceOf[tuple[np.ndarray, int]], length: int, high: int = HIGH) -> Sums:
    """Sums up the runs of one sequence.

    Args:
        runs: result of `run_overlaps` for each run.
        length: number of frames of the complete sequence.
        high: L, the length of the curve in frames.
    """
    numerator, denominator = np.zeros(high), np.zeros(high)
    for overlaps, progress in runs:
        kept = np.where(np.arange(len(overlaps)) < progress, overlaps, 0.0)
        summed, inside = np.cumsum(kept[1:]), min(len(kept), high)
        counted = inside
        numerator[1:inside] += summed[: inside - 1] / np.arange(1, inside)
        if progress < len(kept):  # a failed run is extended with zeros; the toolkit then divides by one frame less
            numerator[inside:] += kept[1:].sum() / np.arange(inside - 1, high - 1)
            counted = high
        denominator[1:counted] += 1
    tracked = float(sum(progress for _, progress in runs))
    overlap = float(sum(overlaps[:progress].sum() for overlaps, progress in runs))
    share = tracked / sum(len(overlaps) for overlaps, _ in runs)
    return Sums(numerator, denominator, (overlap, tracked), (share * length, float(length)))


def eao(
    numerators: np.ndarray, denominators: np.ndarray, weights: np.ndarray, low: int = LOW, high: int = HIGH
) -> np.ndarray:
    """Returns the expected average overlap, (B,) in [0, 1]: the mean of the curve from `low` to `high`, exclusive.

    Args:
        numerators, denominators: (S, L), of S sequences.
        weights: (B, S), at least 0; with ones, the result equals the toolkit's.
    """
    return weighted_ratio(numerators, denominators, weights)[:, low:high].mean(axis=1)


def weighted_ratio(numerators: np.ndarray, denominators: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the ratio of two weighted sums, (B, ...), from (S, ...) arrays and (B, S) weights; 0 if the divisor is 0.

    For `Sums.accuracy` and `Sums.robustness`, (S,) each, the result is A and R.
    """
    above, below = weights @ np.asarray(numerators), weights @ np.asarray(denominators)
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
