"""Report → figures as PNG and PDF. The only importer of matplotlib; uses no global figure and no LaTeX."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.evaluation.ladder import LADDER, Row
from lib.evaluation.report import Report
from lib.utils.files import atomic_path

logger = logging.getLogger(__name__)


class Plot(NamedTuple):
    """How the curve behind one metric is drawn."""

    file: str
    title: str
    x_label: str
    y_label: str


PRECISION = Plot("precision", "Precision", "Centre error threshold (pixels)", "Precision (%)")
SUCCESS = Plot("success", "Success", "Overlap threshold", "Success rate (%)")
PLOTS = {
    "PR": PRECISION,
    "MPR": PRECISION._replace(title="Maximum precision"),
    "NPR": Plot("normalised_precision", "Normalised precision", "Normalised centre error", "Precision (%)"),
    "SR": SUCCESS,
    "MSR": SUCCESS._replace(title="Maximum success"),
    "F": Plot("precision_recall", "Precision and recall", "Recall (%)", "Precision (%)"),
}

MAX_TRACKERS = 20
# Ten dashes and eleven colours, dark and light in turn: of two trackers that share a dash one is darker, also in grey.
DASHES = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.3)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
    (0, (10, 3)),
    (0, (2, 2)),
    (0, (8, 1.5, 3, 1.5)),
    (0, (1, 3)),
    (0, (10, 2, 1, 1, 1, 1, 1, 2)),
)
COLOURS = (
    "#b2182b",
    "#2b9ed4",
    "#1b5e20",
    "#f08a24",
    "#4a148c",
    "#7cb342",
    "#0d3c78",
    "#e377a8",
    "#5d4037",
    "#17a2a2",
    "#111111",
)


def draw_plots(report: Report, folder: Path) -> list[Path]:
    """Draws one figure for each metric that has a curve, e.g. success.png and success.pdf; returns the paths."""
    paths = []
    for metric in report.metrics:
        if metric in PLOTS:
            figure = draw_metric(report, metric)
            paths += save_figure(figure, Path(folder) / PLOTS[metric].file)
    return paths


def draw_metric(report: Report, metric: str) -> Figure:
    """The curves of all trackers, at most the best MAX_TRACKERS, with their scores in the legend, best first."""
    plot, ranked = PLOTS[metric], report.ranked(metric)
    shown = ranked[:MAX_TRACKERS]
    if len(shown) < len(ranked):
        logger.warning("%s: drawing the best %d of %d trackers", plot.title, len(shown), len(ranked))
    styles = {name: place for place, name in enumerate(report.ranked(report.metrics[-1]))}  # the same in every figure
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for rank, name in enumerate(shown):
        tracker, above = report.trackers[name], 30 - rank  # the best one lies on top
        axes.plot(
            *tracker.curves[metric][:2],
            color=COLOURS[styles[name] % len(COLOURS)],
            linestyle=DASHES[styles[name] % len(DASHES)],
            linewidth=2.2 if rank == 0 else 1.5,
            label=f"{tracker.scores[metric]:5.1f}  {name}",
            zorder=above,
        )
        if metric == "F":  # the point whose Pr and Re stand in the table
            point = tracker.scores["Re"], tracker.scores["Pr"]
            axes.plot(*point, "o", color=COLOURS[styles[name] % len(COLOURS)], markersize=5, zorder=above)
    frame_axes(axes, plot, report.title)
    marked = report.trackers[ranked[0]].curves[metric].score_at
    if marked is not None:
        axes.axvline(marked, color="0.6", linewidth=0.8, zorder=1)
    legend = figure.legend(
        title=f"{metric} (%)" + ("" if len(shown) == len(ranked) else f", best {len(shown)} of {len(ranked)}"),
        loc="outside right upper",
        fontsize=8.5,
        handlelength=3.6,
        frameon=False,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a tracker may be called a$b$
    return figure


def plot_ladder(rows: list[Row], stem: Path) -> list[Path]:
    """Rows from top to bottom: mean and standard error over the seeds, and each seed as a dot."""
    figure = Figure(figsize=(8.2, 0.9 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        mean, error = row.mean()
        control = row.name not in LADDER
        colour = "0.55" if control else COLOURS[2]
        axes.plot(row.scores["mean"], [place] * len(row.seeds), "o", color=colour, markersize=3, alpha=0.6)
        axes.errorbar(mean, place, xerr=error, fmt="s", color=colour, markersize=6, capsize=3)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(
        "AUC on held-out pairs (%), mean ± standard error over the seeds\ngreen: the ladder, grey: controls"
    )
    axes.grid(axis="x", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, stem)


def frame_axes(axes: Axes, plot: Plot, title: str) -> None:
    """Titles, limits and a quiet grid."""
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
    """Writes <stem>.png and <stem>.pdf, atomically; text in the PDF stays text."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every glyph that goes into a PDF
    paths = []
    with rc_context({"pdf.fonttype": 42}):
        for suffix, options in ((".png", {"dpi": 200}), (".pdf", {"metadata": {"CreationDate": None}})):
            path = stem.with_name(stem.name + suffix)
            with atomic_path(path) as temporary:
                figure.savefig(temporary, **options)
            paths.append(path)
    return paths
