"""Intervals of means."""

import math

import pytest

from lib.evaluation.statistics import mean_and_half_width


def test_intervals_are_those_of_students_t():
    mean, half = mean_and_half_width([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.303 / math.sqrt(3))
    assert mean_and_half_width([0.0, 2.0])[1] == pytest.approx(12.706)
    assert math.isnan(mean_and_half_width([5.0])[1])


@pytest.mark.parametrize(("count", "quantile"), [(31, 2.042), (32, 2.0395), (61, 2.0003), (1001, 1.9623)])
def test_quantiles_continue_beyond_the_table(count, quantile):
    values = [0.0, 1.0] * (count // 2) + [0.5] * (count % 2)
    mean = sum(values) / count
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
    assert mean_and_half_width(values)[1] == pytest.approx(quantile * deviation / math.sqrt(count), rel=3e-4)
