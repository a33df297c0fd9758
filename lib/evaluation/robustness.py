"""Report → how scores fall as modalities go missing: a curve for each tracker and way of dropping, see `drop.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lib.evaluation.drop import Drop
from lib.evaluation.report import Report

if TYPE_CHECKING:
    from lib.evaluation.tables import Table


class RobustnessCurve(NamedTuple):
    """One tracker's scores over drop rates."""

    tracker: str  # its name without what test.py appends for the drop
    condition: str  # what the runs share besides the tracker, in words: modality, pattern, fill, seed
    rates: list[float]  # rising; 0 first, if the tracker with all its pictures is in the report too
    scores: list[float]  # per cent, in the metric that ranks trackers


def robustness_curves(report: Report) -> list[RobustnessCurve]:
    """The curves of all trackers whose input was dropped at some rate, in the order of names and conditions.

    A modality that was missing all the time, the first frame included, is another experiment and no point of them.
    """
    points: dict[tuple[str, str], dict[float, str]] = {}
    for name, tracker in sorted(report.trackers.items(), key=lambda item: item[0]):
        drop = Drop.parse(tracker.drop) if tracker.drop else None
        if drop is None or drop.rate is None:
            continue
        base = base_name(name, drop)
        if drop.rate in points.get((base, drop.condition), {}):  # two trackers would be one point
            base = name
        points.setdefault((base, drop.condition), {})[drop.rate] = name
    metric, curves = report.metrics[-1], []
    for (base, condition), runs in sorted(points.items()):
        if base in report.trackers and not report.trackers[base].drop:
            runs[0.0] = base
        rates = sorted(runs)
        scores = [report.trackers[runs[rate]].scores[metric] for rate in rates]
        curves.append(RobustnessCurve(base, condition, rates, scores))
    return curves


def base_name(name: str, drop: Drop) -> str:
    """The tracker's name without the ending that says what was dropped."""
    return name.removesuffix(f"_drop_{drop.label}")


def robustness_table(report: Report) -> Table:
    """Rates as columns, curves as rows, and what is lost at the largest rate; "-" where a rate was not run."""
    curves = robustness_curves(report)
    rates = sorted({rate for curve in curves for rate in curve.rates})
    table = [["Tracker", "Missing", *(f"{100 * rate:g}%" for rate in rates), "Loss"]]
    for curve in curves:
        scores = dict(zip(curve.rates, curve.scores, strict=True))
        cells = [f"{scores[rate]:.2f}" if rate in scores else "-" for rate in rates]
        loss = f"{curve.scores[0] - curve.scores[-1]:.2f}" if curve.rates[0] == 0 else "-"
        table.append([curve.tracker, curve.condition, *cells, loss])
    return table
