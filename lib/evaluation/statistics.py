"""Uncertainty of scores: the bootstrap over sequences, for one tracker and for the difference of two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from lib.evaluation.report import Comparison

RESAMPLES = 2000
SEED = 0
TAIL = 2.5  # per cent outside a 95 % interval on each side


# 97.5 % points of Student's t with 1, 2, … degrees of freedom.
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL = 1.95996


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean of n values and half the width of its 95 % interval by Student's t, in the unit of the values.

    The half width of a single value is NaN. With three values it is 4.3 standard errors.
    """
    count = len(values)
    if count < 2:
        return float(np.mean(values)), math.nan
    freedom = count - 1
    if freedom <= len(STUDENT):
        quantile = STUDENT[freedom - 1]
    else:  # the first terms of its expansion
        z = NORMAL
        quantile = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return float(np.mean(values)), float(quantile * np.std(values, ddof=1) / math.sqrt(count))


def resampled_weights(sequences: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Returns how often each sequence is drawn, (resamples, sequences) float64; each row sums to `sequences`.

    The weights are the same for all trackers, so that differences are paired.
    """
    even = np.full(sequences, 1 / sequences)
    return np.random.default_rng(seed).multinomial(sequences, even, size=resamples).astype(np.float64)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """Returns the bounds of the middle 95 % of resampled scores, (B,), in their unit. NaN is ignored."""
    samples = samples[~np.isnan(samples)]
    low, high = np.percentile(samples, [TAIL, 100 - TAIL]) if len(samples) else (0.0, 0.0)
    return float(low), float(high)


def compare(scores: dict[str, float], samples: dict[str, np.ndarray]) -> tuple[Comparison, ...]:
    """Compares every tracker with each tracker that is ranked below it.

    Args:
        scores: tracker → score in per cent, best first.
        samples: tracker → scores of the same resamples, (B,).
    """
    return tuple(_compare(a, b, scores, samples) for a, b in itertools.combinations(scores, 2))


def _compare(better: str, worse: str, scores: dict[str, float], samples: dict[str, np.ndarray]) -> Comparison:
    differences = np.nan_to_num(samples[better] - samples[worse])  # NaN where a resample has no score for either
    difference = scores[better] - scores[worse]
    # How often resampling moves the difference away from its mean by at least the difference found.
    beyond = np.count_nonzero(np.abs(differences - differences.mean()) >= abs(difference))
    p = (beyond + 1) / (len(differences) + 1)
    return Comparison(better, worse, difference, *interval(differences), p)
