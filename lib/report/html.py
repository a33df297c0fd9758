"""Writes report.html: a single file that needs neither a server nor a network.

The page is `report_template.html` with the data as JSON, and three scripts: `report_scores.js` computes scores of a
choice of sequences, `report_view.js` keeps what a reader has chosen, `report_page.js` draws. Data are never interpreted
as markup: `<`, `>` and `&` are written as JSON escapes, and the scripts set only text.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.data.drop import AnyDrop
from lib.evaluation.report import Comparison, Curve, Report
from lib.evaluation.rules.base import PROTOCOLS
from lib.report.moments import Moment
from lib.report.palette import COLOURS, DARK_COLOURS, DASHES, FEW_SEQUENCES, MARKERS, PLOTS, Plot
from lib.report.robustness import base_name, robustness_curves
from lib.report.subsets import Parts, encode
from lib.report.tables import protocols
from lib.utils.files import write_text

TEMPLATE = Path(__file__).with_name("report_template.html")
SCRIPTS = tuple(TEMPLATE.with_name(f"report_{name}.js") for name in ("scores", "view", "page"))
ABSENT = 255  # value in a trace without overlap: the target is absent, or the result is too short
ENDS = 6  # digits of the ends of intervals: the page rounds them, and half of their difference
LINE_WIDTH = 1.6  # pixels; the unit of dash lengths

Traces = dict[str, dict[str, np.ndarray]]


def write_html(report: Report, traces: Traces, moments: list[Moment], path: Path, parts: Parts | None = None) -> None:
    """Writes the page, atomically; the same input gives the same bytes.

    Args:
        traces: tracker → sequence → (N,) overlap in [0, 1] of every frame, NaN if the target is absent. If it is empty,
            the page has no plot of overlap over time.
        moments: thumbnails, see `moments.py`; may be empty.
        parts: what the scores were computed from; None: the page cannot score a choice of sequences.

    Raises:
        OSError: the file cannot be written.
        ValueError: a score is not finite.
    """
    record = json.dumps(page_data(report, traces, moments, parts), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        record = record.replace(character, f"\\u{ord(character):04x}")
    script = "\n".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    texts = {"title": html.escape(report.title), "data": record, "script": script}
    template = TEMPLATE.read_text(encoding="utf-8")
    # A single pass, so that a title that contains a placeholder is not changed.
    write_text(path, re.sub(r"\{\{(title|data|script)\}\}", lambda match: texts[match[1]], template))


class _Order(NamedTuple):
    """Names in order; the script of the page refers to trackers and sequences by their index."""

    trackers: list[str]  # best first
    sequences: list[str]  # worst first


def page_data(report: Report, traces: Traces, moments: list[Moment], parts: Parts | None = None) -> dict:
    """Returns the data for the script of the page: trackers by rank, sequences with the worst first.

    Args and units as in `write_html`; scores are in per cent.
    """
    order = _Order(report.ranked(report.metrics[-1]), [name for name, _ in report.worst_first()])
    places = {name: place for place, name in enumerate(report.trackers[order.trackers[0]].per_sequence)}
    return {
        "title": report.title,
        "badges": _badges(report),
        "protocol": f"Protocol {report.protocol}: {PROTOCOLS.get(report.protocol, 'not described')}.",
        "metrics": list(report.metrics),
        "trackers": [
            _style(index) | _tracker(report, name, order) | {"traces": _encode(traces.get(name, {}), order)}
            for index, name in enumerate(order.trackers)
        ],
        "protocols": protocols(report) if report.beside else [],
        "plots": _plots(report, order),
        "comparisons": [_comparison(comparison, order) for comparison in report.comparisons],
        "robustness": _robustness(report, order),
        "attributes": [{"name": name, "count": count} for name, count in report.attributes.items()],
        "sequences": [{"name": name, "frames": _frames(traces, name)} for name in order.sequences],
        "few": FEW_SEQUENCES,
        "subsets": encode(parts, order.trackers, [places[name] for name in order.sequences]) if parts else None,
        "moments": [_moment(moment, order) for moment in moments],
        "notes": [*(f"Warning: {text}" for text in report.warnings), *report.notes],
        "missing": list(report.missing),
    }


def _badges(report: Report) -> list[str]:
    """Returns notes that matter when these scores are compared with others."""
    badges = [report.source] if report.source else []
    if report.warnings:
        badges.append(f"{len(report.warnings)} warnings, see below")
    if report.sequences < report.all_sequences and not report.source:
        badges.append(f"incomplete: {report.sequences} of {report.all_sequences} sequences")
    if report.missing:
        badges.append(f"{len(report.missing)} left out, see below")
    if not report.verified:
        badges.append("not verified against published figures")
    return badges


def _style(index: int) -> dict:
    dash = DASHES[index % len(DASHES)]
    lengths = [] if dash == "-" else [round(LINE_WIDTH * length, 2) for length in dash[1]]
    place = index % len(COLOURS)
    marker = MARKERS[index % len(MARKERS)]
    return {"colour": COLOURS[place], "dark": DARK_COLOURS[place], "dash": lengths, "marker": marker}


def _tracker(report: Report, name: str, order: _Order) -> dict:
    """Returns name, label, speed and lists of scores, one per metric."""
    tracker, metrics = report.trackers[name], report.metrics
    return {
        "name": name,
        "label": _label(name, tracker.drop),
        "fps": _number(tracker.fps, 1),
        "scores": _numbers(tracker.scores[metric] for metric in metrics),
        "intervals": [_numbers(tracker.intervals.get(metric, ()), ENDS) for metric in metrics],
        "sequences": [_numbers(tracker.per_sequence[s][metric] for s in order.sequences) for metric in metrics],
        "attributes": [_numbers(tracker.attributes[a][metric] for a in report.attributes) for metric in metrics],
        "attributeIntervals": [
            [_numbers(tracker.attribute_intervals.get(a, {}).get(metric, ()), ENDS) for a in report.attributes]
            for metric in metrics
        ],
    }


def _label(name: str, drop: AnyDrop | None) -> str:
    """Returns a short form of the tracker's name with its drop."""
    return f"{base_name(name, drop)} − {drop.brief}" if drop else name


def _robustness(report: Report, order: _Order) -> list[dict]:
    """Returns curves over the share of frames with a missing image, per cent; `runs` are trackers, one per point."""
    return [
        _style(index)
        | {"name": f"{curve.tracker}: {curve.condition}"}
        | {"x": _numbers(100 * rate for rate in curve.rates), "runs": [order.trackers.index(run) for run in curve.runs]}
        for index, curve in enumerate(robustness_curves(report))
    ]


def _plots(report: Report, order: _Order) -> list[dict]:
    """Returns one plot for all metrics with the same curves, e.g. OP50, OP75 and SR."""
    groups: list[tuple[list[str], list[Curve]]] = []
    for metric in report.metrics:
        curves = [report.trackers[name].curves.get(metric) for name in order.trackers]
        if not all(curve and curve.x for curve in curves):
            continue
        points = [curve[:2] for curve in curves]
        shared = next((metrics for metrics, others in groups if [other[:2] for other in others] == points), None)
        if shared:
            shared.append(metric)
        else:
            groups.append(([metric], curves))
    return [_plot(report, metrics, curves, order) for metrics, curves in groups]


def _plot(report: Report, metrics: list[str], curves: list[Curve], order: _Order) -> dict:
    main = next((metric for metric in reversed(metrics) if metric in PLOTS), metrics[-1])
    plot = PLOTS.get(main, Plot(main, main, "Threshold", f"{main} (%)"))
    best = report.trackers[order.trackers[0]]
    marks = {metric: best.curves[metric].score_at for metric in metrics}
    found = [report.trackers[name].scores for name in order.trackers]
    return {
        "title": f"{plot.title} ({', '.join(metrics)})",
        "metric": report.metrics.index(main),
        "xLabel": plot.x_label,
        "yLabel": plot.y_label,
        "marks": [{"metric": metric, "at": at} for metric, at in marks.items() if at is not None],
        "shared": all(curve.x == curves[0].x for curve in curves),  # False: each tracker has different x values
        "curves": [{"x": _numbers(curve.x, 4), "y": _numbers(curve.y, 3)} for curve in curves],
        # For precision and recall, the point with the values in the table.
        "points": [_numbers([scores["Re"], scores["Pr"]]) for scores in found] if main == "F" else [],
    }


def _comparison(comparison: Comparison, order: _Order) -> dict:
    return {
        "better": order.trackers.index(comparison.better),
        "worse": order.trackers.index(comparison.worse),
        "text": str(comparison),
        "interval": _numbers([comparison.low, comparison.high]),
    }


def _frames(traces: Traces, sequence: str) -> int:
    return max((len(tracked[sequence]) for tracked in traces.values() if sequence in tracked), default=0)


def _encode(traces: dict[str, np.ndarray], order: _Order) -> list[str]:
    """Returns the trace of each sequence, one byte per frame, as base64; "" without a trace."""
    return [base64.b64encode(quantise(traces[name])).decode() if name in traces else "" for name in order.sequences]


def quantise(overlap: np.ndarray) -> bytes:
    """Converts (N,) overlap in [0, 1] or NaN to one byte per frame: integer per cent, or ABSENT."""
    absent = np.isnan(overlap)
    percent = np.rint(100 * np.clip(np.where(absent, 0, overlap), 0, 1))
    return np.where(absent, ABSENT, percent).astype(np.uint8).tobytes()


def _moment(moment: Moment, order: _Order) -> dict:
    return {
        "sequence": order.sequences.index(moment.sequence),
        "tracker": order.trackers.index(moment.tracker),
        "frame": moment.frame,
        "overlap": _number(moment.overlap),
        "jpeg": base64.b64encode(moment.jpeg).decode(),
    }


def _number(value: float | None, digits: int = 2) -> float | None:
    """Returns the number rounded once to the displayed digits, so that page and tables agree; None if not finite."""
    return round(float(value), digits) if value is not None and math.isfinite(value) else None


def _numbers(values, digits: int = 2) -> list[float | None]:
    return [_number(value, digits) for value in values]
