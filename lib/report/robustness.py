"""Robustness curves of a report: scores over the rate of missing images, per tracker and kind of drop."""

from __future__ import annotations

from typing import NamedTuple

from lib.data.drop import AnyDrop
from lib.evaluation.report import Report


class RobustnessCurve(NamedTuple):
    """The scores of one tracker, in per cent, over K drop rates in [0, 1]."""

    tracker: str  # name without the label of the drop that test.py appends
    condition: str  # the drop without its rate, see `Drop.condition`
    rates: list[float]  # ascending, in [0, 1]; starts with 0 if the report has the run without drop
    scores: list[float]  # in the ranking metric, per cent
    runs: list[str]  # the tracker of the report that has each score


def robustness_curves(report: Report) -> list[RobustnessCurve]:
    """Returns the curves of all trackers with a drop rate, sorted by name and condition.

    Runs without a modality in all frames, including the first, are a different experiment and not part of a curve.
    """
    points: dict[tuple[str, str], dict[float, str]] = {}
    for name, tracker in sorted(report.trackers.items(), key=lambda item: item[0]):
        drop = tracker.drop
        if drop is None or drop.rate is None:
            continue
        base = base_name(name, drop)
        if drop.rate in points.get((base, drop.condition), {}):  # otherwise two trackers would have the same point
            base = name
        points.setdefault((base, drop.condition), {})[drop.rate] = name
    metric, curves = report.metrics[-1], []
    for (base, condition), runs in sorted(points.items()):
        if base in report.trackers and report.trackers[base].drop is None:
            runs[0.0] = base
        rates = sorted(runs)
        scores = [report.trackers[runs[rate]].scores[metric] for rate in rates]
        curves.append(RobustnessCurve(base, condition, rates, scores, [runs[rate] for rate in rates]))
    return curves


def base_name(name: str, drop: AnyDrop) -> str:
    """Returns the tracker's name without the label of the drop."""
    return name.removesuffix(f"_drop_{drop.label}")
