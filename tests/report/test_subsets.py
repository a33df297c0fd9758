"""The data from which the page scores a choice of sequences, without a browser."""

import base64

import numpy as np
import pytest

from lib.evaluation.benchmarks import BENCHMARKS
from lib.evaluation.rules.base import Output, Scored
from lib.evaluation.rules.long_term import PrecisionRecall
from lib.evaluation.rules.multi_start import RunSums
from lib.evaluation.rules.one_pass import CurveMeans
from lib.evaluation.statistics import resampled_weights
from lib.report.html import SCRIPTS
from lib.report.subsets import FINEST, STEPS, Parts, encode

PLACES = [2, 0, 1]  # of the sequences of the page, in the order of the annotations
METRICS = {name: BENCHMARKS["GTOT"].metrics[name] for name in ("MPR", "MSR")}


def make_means(frames) -> CurveMeans:
    frames = np.array(frames)
    counts = {n: np.linspace(frames, 0, len(m.thresholds)).round().T for n, m in METRICS.items()}
    points = {name: 100 * values / frames[:, None] for name, values in counts.items()}
    values = {name: each.mean(axis=1) for name, each in points.items()}
    return CurveMeans(METRICS, frames, points, values, {"MPR": np.ones(3), "MSR": np.array([1.0, 0.0, 1.0])})


def encode_combine(combine, flags=(True, False, True), outputs=None) -> dict | None:
    outputs = outputs or [Output(np.empty((0, 4)))] * 3
    return encode(Parts({"t": Scored(combine, {}, {}, [])}, {"t": outputs}, {"X": np.array(flags)}), ["t"], PLACES)


def integers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).astype(float)


@pytest.mark.parametrize(("frames", "kind"), [((10, 20, 7), "<u2"), ((10, 70000, 7), "<u4")])
def test_curves_are_stored_exactly_as_numbers_of_frames(frames, kind):
    combine = make_means(frames)
    data = encode_combine(combine)
    (entry,) = data["trackers"]
    assert entry["frames"] == [frames[place] for place in PLACES] and entry["wide"] == (kind == "<u4")
    assert entry["shares"] == [None, [1, 1, 0]] and data["flags"] == [[0, 1]] and data["places"] == PLACES
    for name, text, x in zip(METRICS, entry["counts"], data["thresholds"], strict=True):
        counts = integers(text, kind).reshape(3, len(x))
        np.testing.assert_array_equal(100 * counts / np.array(entry["frames"])[:, None], combine.points[name][PLACES])
    assert data["metrics"][1] == {"curve": 1, "at": None, "area": True}
    assert data["thresholds"][0][data["metrics"][0]["at"]] == 5.0


def test_metrics_of_one_curve_store_it_once():
    combine, metrics = make_means([5, 6, 7]), BENCHMARKS["LasHeR"].metrics
    points = np.zeros((3, 21))
    own = {name: points for name in ("OP50", "OP75", "SR")}
    shared = combine._replace(metrics={n: metrics[n] for n in own}, points=own, shares=dict.fromkeys(own, np.ones(3)))
    data = encode_combine(shared)
    assert [metric["curve"] for metric in data["metrics"]] == [0, 0, 0] and len(data["trackers"][0]["counts"]) == 1


def test_precision_and_recall_keep_nine_digits():
    rng = np.random.default_rng(0)
    combine = PrecisionRecall(*rng.uniform(0, 100, (2, 3, 5)))
    (entry,) = encode_combine(combine)["trackers"]
    found = 100 * integers(entry["recall"], "<u4").reshape(3, 5) / FINEST
    np.testing.assert_allclose(found, combine.recall[PLACES], atol=2e-8)


def test_runs_keep_their_sums():
    rng = np.random.default_rng(0)
    numerators = rng.uniform(0, 3, (3, 6))
    numerators[1] = 0
    denominators = np.array([[0, 3, 3, 2, 1, 1], [1] * 6, [0, 0, 2, 2, 2, 0]], float)
    combine = RunSums(numerators, denominators, rng.uniform(0, 9, (3, 2)), rng.uniform(0, 9, (3, 2)), 1, 5)
    data = encode_combine(combine)
    (entry,) = data["trackers"]
    found = integers(entry["numerators"], "<u2").reshape(3, 6) / STEPS * np.array(entry["largest"])[:, None]
    np.testing.assert_allclose(found, numerators[PLACES], atol=3 / STEPS)
    assert entry["denominators"][1] == [[0, 0], [1, 3], [3, 2], [4, 1]] and (data["low"], data["high"]) == (1, 5)
    assert entry["accuracy"] == combine.accuracy[PLACES].tolist()


def test_times_leave_out_the_first_frame_and_what_was_not_measured():
    times = [np.array([9.0, 0.5, 0.5]), None, np.array([np.nan, 9.0, 0.25])]
    outputs = [Output(np.empty((3, 4)), times=seconds) for seconds in times]
    assert encode_combine(make_means([3, 3, 3]), outputs=outputs)["times"] == [[[1, 0.25], [2, 1.0], [0, 0.0]]]


def test_a_rule_with_another_combination_cannot_be_recomputed():
    assert encode_combine(lambda weights: {"X": weights.mean(axis=1)}) is None


def test_the_page_draws_from_the_generator_of_the_intervals():
    """The first resample, drawn by hand as numpy does it: by inversion, from the numbers that the state gives."""
    start = encode_combine(make_means([1, 2, 3]))["bootstrap"]
    state, increment = int(start["state"], 16), int(start["increment"], 16)
    state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + increment) % 2**128
    mixed, turn = (state >> 64) ^ (state % 2**64), state >> 122
    uniform = (((mixed >> turn) | (mixed << (64 - turn))) % 2**64 >> 11) / 2**53
    mass = np.cumsum([(2 / 3) ** 3, 3 * (1 / 3) * (2 / 3) ** 2, 3 * (1 / 3) ** 2 * (2 / 3), (1 / 3) ** 3])
    assert np.searchsorted(mass, uniform) == resampled_weights(3)[0, 0]
    assert "0x2360ed051fc65da44385df649fccf645n" in SCRIPTS[0].read_text(encoding="utf-8")
    assert start["resamples"] == len(resampled_weights(3)) == 2000
