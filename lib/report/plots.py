"""Draws figures of a report as PNG and PDF. The only module that imports matplotlib; needs no LaTeX."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.evaluation.report import Report, TrackerScores
from lib.report.palette import COLOURS, DASHES, FEW_SEQUENCES, MAX_TRACKERS, PLOTS, Plot, short_name
from lib.report.robustness import robustness_curves
from lib.utils.files import atomic_path

ATTRIBUTE_PLOT, ROBUSTNESS_PLOT = "attributes", "robustness"  # file names
SMALLEST_TEXT = 4  # points
LEGEND_COLUMNS, LEGEND_TITLE, LEGEND_LINE = 2, 0.35, 0.175  # number of columns; heights in inches
logger = logging.getLogger(__name__)


def draw_plots(report: Report, folder: Path) -> list[Path]:
    """Draws one figure per metric with a curve, e.g. success.png and success.pdf; returns the paths.

    Raises:
        OSError: a file cannot be written.
    """
    paths = []
    for metric in report.metrics:
        if metric in PLOTS and all(metric in tracker.curves for tracker in report.trackers.values()):
            figure = draw_metric(report, metric)
            paths += save_figure(figure, Path(folder) / PLOTS[metric].file)
    if len(report.attributes) > 2:
        paths += save_figure(draw_radar(report), Path(folder) / ATTRIBUTE_PLOT)
    return paths + plot_robustness(report, Path(folder) / ROBUSTNESS_PLOT)


def draw_metric(report: Report, metric: str) -> Figure:
    """Draws the curves of the best MAX_TRACKERS trackers, with scores in per cent in the legend, best first."""
    plot, ranked = PLOTS[metric], report.ranked(metric)
    shown = ranked[:MAX_TRACKERS]
    if len(shown) < len(ranked):
        logger.warning("%s: drawing the best %d of %d trackers", plot.title, len(shown), len(ranked))
    styles = {name: rank for rank, name in enumerate(report.ranked(report.metrics[-1]))}  # the same in every figure
    figure = new_figure(4.6, len(shown))
    axes = figure.add_subplot()
    for rank, name in enumerate(shown):
        tracker, above = report.trackers[name], 30 - rank  # the best curve is on top
        axes.plot(
            *tracker.curves[metric][:2],
            color=COLOURS[styles[name] % len(COLOURS)],
            linestyle=DASHES[styles[name] % len(DASHES)],
            linewidth=2.2 if rank == 0 else 1.5,
            label=f"{_score_text(tracker, metric)}  {short_name(name)}",
            zorder=above,
        )
        if metric == "F":  # the point with Pr and Re in the table
            point = tracker.scores["Re"], tracker.scores["Pr"]
            axes.plot(*point, "o", color=COLOURS[styles[name] % len(COLOURS)], markersize=5, zorder=above)
    frame_axes(axes, plot, report.title)
    threshold = report.trackers[ranked[0]].curves[metric].score_at
    if threshold is not None:
        axes.axvline(threshold, color="0.6", linewidth=0.8, zorder=1)
    kept = "" if len(shown) == len(ranked) else f", best {len(shown)} of {len(ranked)}"
    add_legend(figure, _legend_title(report, metric, kept))
    return figure


def _score_text(tracker: TrackerScores, metric: str) -> str:
    """Returns the score, with half of its 95 % interval if there is one, per cent."""
    score = f"{tracker.scores[metric]:5.1f}"
    if metric not in tracker.intervals:
        return score
    low, high = tracker.intervals[metric]
    return f"{score} ± {(high - low) / 2:.1f}"


def _legend_title(report: Report, metric: str, kept: str) -> str:
    uncertainty = ", ± 95 %" if any(metric in tracker.intervals for tracker in report.trackers.values()) else ""
    return f"{metric} (%){uncertainty}{kept}"


def draw_radar(report: Report) -> Figure:
    """Draws the ranking metric, per cent, by attribute, one ray each, with the number of sequences."""
    metric = report.metrics[-1]
    shown = report.ranked(metric)[:MAX_TRACKERS]
    names = list(report.attributes)
    rays = [2 * math.pi * index / len(names) for index in range(len(names))]
    figure = new_figure(6.4, len(shown))
    figure.get_layout_engine().set(w_pad=0.3)  # inches; the layout ignores labels around a circle
    axes = figure.add_subplot(projection="polar")
    for place, name in enumerate(shown):
        tracker = report.trackers[name]
        values = [tracker.attributes[attribute][metric] for attribute in names]
        axes.plot(
            [*rays, rays[0]],
            [*values, values[0]],
            color=COLOURS[place % len(COLOURS)],
            linestyle=DASHES[place % len(DASHES)],
            linewidth=2.0 if place == 0 else 1.3,
            label=f"{_score_text(tracker, metric)}  {short_name(name)}",
            zorder=30 - place,
        )
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    few = {name: "*" if report.attributes[name] < FEW_SEQUENCES else "" for name in names}
    axes.set_xticks(rays, [f"{name}{few[name]}\n({report.attributes[name]})" for name in names], fontsize=8.5)
    axes.set_ylim(0)
    axes.tick_params(axis="y", labelsize=7.5, labelcolor="0.4")
    axes.grid(color="0.85", linewidth=0.6)
    axes.spines["polar"].set_color("0.8")
    figure.suptitle(f"{metric} (%) by attribute on {report.title}", fontsize=11, x=0.01, ha="left", parse_math=False)
    note = f"; * fewer than {FEW_SEQUENCES} sequences" if any(few.values()) else ""
    add_legend(figure, _legend_title(report, metric, f", all sequences{note}"))
    return figure


def plot_robustness(report: Report, stem: Path) -> list[Path]:
    """Draws the ranking metric over the share of frames with a missing image, both in per cent; returns the paths.

    Each tracker has a colour, each kind of drop a dash. Draws nothing if no image was dropped.

    Args:
        stem: path without suffix.

    Raises:
        OSError: a file cannot be written.
    """
    curves = robustness_curves(report)[:MAX_TRACKERS]
    if not curves:
        return []
    trackers = list(dict.fromkeys(curve.tracker for curve in curves))
    conditions = list(dict.fromkeys(curve.condition for curve in curves))
    figure = new_figure(4.6, 2 * len(curves))
    axes = figure.add_subplot()
    for curve in curves:
        axes.plot(
            [100 * rate for rate in curve.rates],
            curve.scores,
            color=COLOURS[trackers.index(curve.tracker) % len(COLOURS)],
            linestyle=DASHES[conditions.index(curve.condition) % len(DASHES)],
            marker="o",
            markersize=4,
            label=f"{short_name(curve.tracker)}\n{curve.condition}",
        )
    metric = report.metrics[-1]
    frame_axes(axes, Plot("", "Robustness", "Frames with missing pictures (%)", f"{metric} (%)"), report.title)
    add_legend(figure, "Tracker, what is missing")
    return save_figure(figure, stem)


def new_figure(height: float, lines: int) -> Figure:
    """Returns a figure with `height` inches for the axes and room below for a legend of so many lines of text."""
    figure = Figure(figsize=(8.2, height + LEGEND_TITLE + LEGEND_LINE * math.ceil(lines / LEGEND_COLUMNS)))
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Figure, title: str) -> None:
    """Adds a legend below the axes, whose size thus does not depend on names. Names are not read as formulas.

    Names that are too wide for the figure are written smaller.
    """
    legend = figure.legend(
        title=title,
        loc="outside lower left",
        ncols=LEGEND_COLUMNS,
        fontsize=8.5,
        handlelength=3.6,
        frameon=False,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a tracker can be named a$b$
    for size in range(8, SMALLEST_TEXT - 1, -1):
        figure.draw_without_rendering()
        if legend.get_window_extent().x1 <= figure.bbox.x1 - 4:  # pixels
            break
        for text in legend.get_texts():
            text.set_fontsize(size)


class LadderRow(NamedTuple):
    """One configuration of an ablation, for `plot_ladder`. Values are in per cent."""

    title: str
    values: list[float]  # one per seed, per cent
    mean: float
    half: float  # half the width of the 95 % interval (Student's t); NaN for a single seed
    is_control: bool


def plot_ladder(rows: list[LadderRow], stem: Path) -> list[Path]:
    """Draws mean and 95 % interval over the seeds of each row, and each seed as a dot; returns the paths.

    Args:
        rows: from top to bottom.
        stem: path without suffix.

    Raises:
        OSError: a file cannot be written.
    """
    figure = Figure(figsize=(8.2, 0.9 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        colour = "0.55" if row.is_control else COLOURS[2]
        axes.plot(row.values, [place] * len(row.values), "o", color=colour, markersize=3, alpha=0.6)
        axes.errorbar(row.mean, place, xerr=row.half, fmt="s", color=colour, markersize=6, capsize=3)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(
        "AUC on held-out pairs (%), mean and 95 % interval over the seeds (t)\ngreen: the ladder, grey: controls"
    )
    axes.grid(axis="x", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, stem)


def frame_axes(axes: Axes, plot: Plot, title: str) -> None:
    """Sets title, labels, limits and grid of the axes. The y axis is in per cent."""
    axes.set_title(f"{plot.title} on {title}", fontsize=11, loc="left", parse_math=False)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    longest = max(line.get_xdata().max() for line in axes.lines)
    axes.set_xlim(0, 100 if plot.x_label.endswith("(%)") else longest)
    axes.set_ylim(0, 100)
    axes.grid(color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Writes <stem>.png and <stem>.pdf, atomically; text in the PDF is stored as text. Returns the paths.

    Raises:
        OSError: a file cannot be written.
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every glyph that goes into a PDF
    paths = []
    with rc_context({"pdf.fonttype": 42}):
        for suffix, options in ((".png", {"dpi": 200}), (".pdf", {"metadata": {"CreationDate": None}})):
            path = stem.with_name(stem.name + suffix)
            with atomic_path(path) as temporary:
                figure.savefig(temporary, **options)
            paths.append(path)
    return paths
