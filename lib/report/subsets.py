"""The data from which report.html recomputes scores for a choice of sequences, as JSON.

The page repeats what `Scored.combine` does, so each kind of `combine` has an encoder here and a counterpart in
`report_scores.js`. Sequences are in the order of the page. Arrays of numbers are base64 of little-endian integers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib.evaluation.rules.base import Output, Scored
from lib.evaluation.rules.long_term import PrecisionRecall
from lib.evaluation.rules.multi_start import RunSums
from lib.evaluation.rules.one_pass import CurveMeans
from lib.evaluation.statistics import RESAMPLES, SEED

FINEST = 2**32 - 1  # precision and recall are stored in steps of 1 / FINEST
STEPS = 2**16 - 1  # sums of overlaps are stored in steps of 1 / STEPS of the sequence's largest sum


class Parts(NamedTuple):
    """What the scores of one report were computed from, for S sequences in the order of the annotations."""

    scored: dict[str, Scored]  # tracker → scores of each sequence, and how they combine
    outputs: dict[str, list[Output]]  # tracker → S outputs, for the times
    flags: dict[str, np.ndarray]  # attribute → (S,) bool, whether a sequence has it


def encode(parts: Parts, trackers: list[str], places: list[int]) -> dict | None:
    """Returns the data for the page; None if a tracker's scores combine in a way that the page does not know.

    Args:
        trackers: names in the order of the page.
        places: for each sequence in the order of the page, its index in the order of the annotations. The resamples of
            a choice are drawn in that order.
    """
    combines = [parts.scored[tracker].combine for tracker in trackers]
    kind = type(combines[0])
    if kind not in _ENCODERS or any(type(combine) is not kind for combine in combines):
        return None
    order = np.array(places)
    name, shared, encode_tracker = _ENCODERS[kind]
    return {
        "kind": name,
        **shared(combines[0]),
        "bootstrap": _bootstrap(),
        "places": places,
        "flags": [np.flatnonzero(flags[order]).tolist() for flags in parts.flags.values()],
        "times": [_times(parts.outputs[tracker], order) for tracker in trackers],
        "trackers": [encode_tracker(combine, order) for combine in combines],
    }


def _bootstrap() -> dict:
    """Returns the start of the generator from which `resampled_weights` draws; the page repeats it (numpy's PCG64)."""
    state = np.random.default_rng(SEED).bit_generator.state["state"]
    return {"resamples": RESAMPLES, "state": hex(state["state"]), "increment": hex(state["inc"])}


def _times(outputs: list[Output], order: np.ndarray) -> list[list[float]]:
    """Returns [frames, seconds] of each sequence, without the first frame, as `evaluate.frames_per_second` counts."""
    times = [None if outputs[s].times is None else outputs[s].times for s in order]
    measured = [np.zeros(0) if t is None else t[~np.isnan(t)][1:] for t in times]
    return [[len(seconds), float(seconds.sum())] for seconds in measured]


def _integers(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.rint(values).astype(kind).tobytes()).decode()


# --- means of curves --------------------------------------------------------------------------------------------------


def _curves(combine: CurveMeans) -> list[str]:
    """Returns one metric for each different curve, e.g. OP50 for OP50, OP75 and SR."""
    arrays = {id(points): metric for metric, points in reversed(combine.points.items())}
    return list(reversed(arrays.values()))


def _shared_means(combine: CurveMeans) -> dict:
    curves = _curves(combine)
    place = {id(combine.points[name]): index for index, name in enumerate(curves)}
    metrics = [
        {
            "curve": place[id(combine.points[name])],
            "at": None if metric.score_at is None else metric.thresholds.index(metric.score_at),
            "area": metric.area,
        }
        for name, metric in combine.metrics.items()
    ]
    return {"metrics": metrics, "thresholds": [list(combine.metrics[name].thresholds) for name in curves]}


def _encode_means(combine: CurveMeans, order: np.ndarray) -> dict:
    """Encodes numbers of frames, which are exact, and the weight of each sequence where it is not 1."""
    frames = combine.frames[order]
    counts = [combine.points[name][order] * frames[:, None] / 100 for name in _curves(combine)]
    wide = frames.max(initial=0) >= 2**16
    shares = [combine.shares[name][order] for name in combine.metrics]
    return {
        "frames": frames.tolist(),
        "wide": bool(wide),
        "counts": [_integers(each, "<u4" if wide else "<u2") for each in counts],
        "shares": [None if (share == 1).all() else share.astype(int).tolist() for share in shares],
    }


# --- precision and recall ---------------------------------------------------------------------------------------------


def _encode_recall(combine: PrecisionRecall, order: np.ndarray) -> dict:
    parts = {"precision": combine.precision, "recall": combine.recall}
    return {name: _integers(values[order] / 100 * FINEST, "<u4") for name, values in parts.items()}


# --- runs from anchors ------------------------------------------------------------------------------------------------


def _encode_runs(combine: RunSums, order: np.ndarray) -> dict:
    numerators = combine.eao_numerators[order]
    largest = numerators.max(axis=1)
    scaled = numerators / np.where(largest > 0, largest, 1)[:, None]
    return {
        "largest": largest.tolist(),
        "numerators": _integers(scaled * STEPS, "<u2"),
        "denominators": [_steps(row) for row in combine.eao_denominators[order]],
        "accuracy": combine.accuracy[order].tolist(),
        "robustness": combine.robustness[order].tolist(),
    }


def _steps(values: np.ndarray) -> list[list[int]]:
    """Returns [index, value] wherever the value changes, starting with index 0."""
    changes = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    return [[int(index), int(values[index])] for index in changes]


_ENCODERS: dict[type, tuple[str, Callable, Callable]] = {
    CurveMeans: ("means", _shared_means, _encode_means),
    PrecisionRecall: ("recall", lambda combine: {}, _encode_recall),
    RunSums: ("runs", lambda combine: {"low": combine.low, "high": combine.high}, _encode_runs),
}
