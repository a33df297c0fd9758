"""Report → how scores fall as modalities go missing: a curve for each tracker and way of dropping, see `drop.py`."""

from __future__ import annotations

from typing import NamedTuple

from lib.data.drop import Drop
from lib.evaluation.report import Report


class RobustnessCurve(NamedTuple):
    """One tracker's scores over drop rates."""

    tracker: str  # its name without what test.py appends for the drop
    condition: str  # what the runs share besides the tracker, in words: modality, pattern, fill, seed
    rates: list[float]  # rising; 0 first, if the tracker with all its pictures is in the report too
    scores: list[float]  # per cent, in the metric that ranks trackers


def robustness_curves(report: Report) -> list[RobustnessCurve]:
    """The curves of all trackers whose input was dropped at some rate, in the order of names and conditions.

    A modality that was missing in all frames, also the first one, is another experiment and no point of a curve.
    """
    points: dict[tuple[str, str], dict[float, str]] = {}
    for name, tracker in sorted(report.trackers.items(), key=lambda item: item[0]):
        drop = tracker.drop
        if drop is None or drop.rate is None:
            continue
        base = base_name(name, drop)
        if drop.rate in points.get((base, drop.condition), {}):  # two trackers would be one point
            base = name
        points.setdefault((base, drop.condition), {})[drop.rate] = name
    metric, curves = report.metrics[-1], []
    for (base, condition), runs in sorted(points.items()):
        if base in report.trackers and report.trackers[base].drop is None:
            runs[0.0] = base
        rates = sorted(runs)
        scores = [report.trackers[runs[rate]].scores[metric] for rate in rates]
        curves.append(RobustnessCurve(base, condition, rates, scores))
    return curves


def base_name(name: str, drop: Drop) -> str:
    """The tracker's name without the ending that says what was dropped."""
    return name.removesuffix(f"_drop_{drop.label}")
