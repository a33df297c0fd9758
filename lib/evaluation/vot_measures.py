"""What the VOT toolkit measures, number for number: overlaps of pixel masks, long-term frames, multistart EAO, A and R.

A tracker's row is NaN where it gave no box: the toolkit's codes for "initialised here" and "not there" read as NaN.
Letters: N frames, S sequences, B weightings of them, L points of the EAO curve. tests/vot/test_vot.py compares
all of it with the toolkit itself.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from lib.results.vot_files import Anchor

FAILURE_OVERLAP = 0.1  # at or below it a frame counts towards a failure
GRACE = 10  # frames in a row below which a tracker has not failed yet
LOW, HIGH = 115, 755  # EAO interval of VOT-RGBD2022, in frames


# --- overlap ----------------------------------------------------------------------------------------------------------


def has_box(boxes_xywh: np.ndarray) -> np.ndarray:
    """(N, 4) → (N,) bool: rows that are a rectangle to the toolkit, also an empty one; others are codes or NaN."""
    return np.isfinite(boxes_xywh).all(axis=1)


def box_overlaps(
    results_xywh: np.ndarray, annotations_xywh: np.ndarray, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The toolkit's overlap of rectangles, (N,) in [0, 1]: they are drawn as masks, and pixels are counted.

    Position and size are rounded one by one, halves to the even number, from 32-bit floats. Pixels outside of the image
    do not count. Two frames are odd: where the smallest rectangle around both is at most a pixel wide or high the
    overlap is 1, so also where neither is a box; a missing box stretches that rectangle to the origin.

    Args:
        results_xywh, annotations_xywh: (N, 4) pixels; a row with NaN is no box.
        size: width and height of the images; None: boxes are not cut.

    Raises:
        ValueError: as many results as annotations are expected.
    """
    if len(results_xywh) != len(annotations_xywh):
        raise ValueError(f"{len(results_xywh)} results for {len(annotations_xywh)} annotations")
    first, second = _corners(results_xywh), _corners(annotations_xywh)
    low, high = np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])
    alike = (low >= high).any(axis=1)
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
    return np.where(alike, 1.0, np.where(outside, 0.0, overlap))


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    """First and last pixel of every box as (N, 4) float64 whole numbers; zeros where there is no box."""
    boxes = np.where(has_box(boxes_xywh)[:, None], boxes_xywh, 0).astype(np.float32).round().astype(np.float64)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)
    return np.where(has_box(boxes_xywh)[:, None], corners, 0)


def _area(corners: np.ndarray) -> np.ndarray:
    return np.maximum(corners[:, 2:] - corners[:, :2] + 1, 0).prod(axis=1)


def long_term_frames(
    results_xywh: np.ndarray, annotations_xywh: np.ndarray, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What Pr and Re are made of: (N,) overlap and (N,) whether the target shows, as `metrics.precision_recall` takes
    them.

    Every frame counts, the first too: the toolkit writes a code there, so that its overlap is 0. A box where the target
    does not show overlaps by 0; a code there overlaps by 1, and counts if it comes with a confidence.
    """
    return box_overlaps(results_xywh, annotations_xywh, size), has_box(annotations_xywh)


# --- multistart -------------------------------------------------------------------------------------------------------


class Sums(NamedTuple):
    """What one sequence adds to both sides of EAO, accuracy and robustness."""

    eao_numerator: np.ndarray  # (L,) by length of a run in frames, see `eao`
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
    """The (n,) overlaps of one run, in the order of tracking, and how many of its frames come before it fails.

    It fails at the first of `grace` frames in a row with an overlap of at most `threshold`; a frame without a target,
    or with an empty box, ends such a series. The first frame, whose result is a code, takes part with its overlap of 0.

    Args:
        results_xywh: (n, 4) in the order of tracking. annotations_xywh: (N, 4) of the whole sequence.

    Raises:
        ValueError: the run has another number of frames.
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
        runs: of each run what `run_overlaps` gives. length: frames of the whole sequence. high: L, the curve's length.
    """
    numerator, denominator = np.zeros(high), np.zeros(high)
    for overlaps, progress in runs:
        kept = np.where(np.arange(len(overlaps)) < progress, overlaps, 0.0)
        summed, inside = np.cumsum(kept[1:]), min(len(kept), high)
        counted = inside
        numerator[1:inside] += summed[: inside - 1] / np.arange(1, inside)
        if progress < len(kept):  # a failed run is continued by zeros; the toolkit divides by one frame less there
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
    """Expected average overlap, (B,) in [0, 1]: the curve's mean from `low` up to and without `high`, as the toolkit
    cuts it.

    Args:
        numerators, denominators: (S, L) of the sequences. weights: (B, S), at least 0; ones give the toolkit's figure.
    """
    return weighted_ratio(numerators, denominators, weights)[:, low:high].mean(axis=1)


def weighted_ratio(numerators: np.ndarray, denominators: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(S, ...) and (S, ...) with weights (B, S) → (B, ...): weighted sum over weighted sum, 0 where that is 0.

    Of `Sums.accuracy` and `Sums.robustness`, (S,) each, it gives A and R.
    """
    above, below = weights @ np.asarray(numerators), weights @ np.asarray(denominators)
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
