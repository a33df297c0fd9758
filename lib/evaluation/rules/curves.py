"""Metrics that are computed from a curve over thresholds, as in most one-pass benchmarks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lib.evaluation import metrics

OVERLAP, CENTRE_ERROR, NORMALISED_ERROR = "overlap", "centre_error", "normalised_error"


class Metric(NamedTuple):
    """A score that is computed from the curve of one per-frame quantity over T thresholds."""

    quantity: str  # OVERLAP counts frames strictly above a threshold, the errors count frames at or below it
    thresholds: tuple[float, ...]
    score_at: float | None  # the threshold at which the value is the score; None: mean over thresholds
    below: bool = False  # errors count strictly below a threshold
    area: bool = False  # the mean is the area under the curve (trapezoids), not the mean of its points


# 0:0.05:1 bit-identical to MATLAB, which computes it from both ends; overlaps of integer boxes can equal a threshold.
OVERLAP_THRESHOLDS = tuple(t * 0.05 if t <= 10 else 1 - (20 - t) * 0.05 for t in range(21))
# 0:0.02:1 from both ends, as above.
GTOT_OVERLAPS = tuple(t * 0.02 if t <= 25 else 1 - (50 - t) * 0.02 for t in range(51))
PIXELS = tuple(float(t) for t in range(51))

PRECISION = Metric(CENTRE_ERROR, PIXELS, score_at=20.0)
NORMALISED = Metric(NORMALISED_ERROR, tuple(t / 100 for t in range(51)), score_at=0.2)  # relative to the target's size
SUCCESS = Metric(OVERLAP, OVERLAP_THRESHOLDS, score_at=None)
OP50 = SUCCESS._replace(score_at=OVERLAP_THRESHOLDS[10])
OP75 = SUCCESS._replace(score_at=OVERLAP_THRESHOLDS[15])
ONE_PASS = {"PR": PRECISION, "NPR": NORMALISED, "OP50": OP50, "OP75": OP75, "SR": SUCCESS}
# The toolkits of VisEvent and COESOT, as published, print the mean of the precision curve; papers have either figure.
EVENT = {"PR": PRECISION, "PR mean": PRECISION._replace(score_at=None)} | {
    k: m for k, m in ONE_PASS.items() if k != "PR"
}
SUCCESS_ALONE = {"OP50": OP50, "OP75": OP75, "SR": SUCCESS}
BEST_OF_BOTH = {"MPR": PRECISION, "MSR": SUCCESS}
GTOT_METRICS = {
    "MPR": Metric(CENTRE_ERROR, PIXELS, score_at=5.0, below=True),
    "MSR": Metric(OVERLAP, GTOT_OVERLAPS, score_at=None, area=True),
}


def curve_of(metric: Metric, values: np.ndarray) -> np.ndarray:
    """Returns the share of frames that count at each threshold, (T,) in [0, 1], for (N,) values; 0 without frames."""
    if not len(values):
        return np.zeros(len(metric.thresholds))
    if metric.quantity == OVERLAP:
        return metrics.success_curve(values, metric.thresholds)
    return metrics.precision_curve(values, metric.thresholds, metric.below)


def read_score(metric: Metric, curve: np.ndarray) -> np.ndarray:
    """Returns the score of a curve, (..., T) → (...), in the unit of the curve."""
    if metric.score_at is not None:
        return curve[..., metric.thresholds.index(metric.score_at)]
    if not metric.area:
        return curve.mean(axis=-1)
    widths = np.diff(metric.thresholds)
    return (curve[..., 1:] + curve[..., :-1]) / 2 @ widths
