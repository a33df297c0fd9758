"""Writes all files of a report to one folder: report.json, tables, figures and the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.evaluation.evaluate import Evaluation, overlap_traces
from lib.evaluation.report import Report
from lib.evaluation.rules.base import PROTOCOLS
from lib.evaluation.truth import Truth
from lib.report.html import write_html
from lib.report.moments import Moment, draw_moments, find_moments
from lib.report.palette import PLOTS
from lib.report.plots import ATTRIBUTE_PLOT, ROBUSTNESS_PLOT, draw_plots
from lib.report.subsets import Parts
from lib.report.tables import attributes, headline, headline_latex, page, sequences, to_csv
from lib.utils.files import write_text

MOMENTS = 24  # thumbnails in report.html


def save_evaluations(evaluations: list[Evaluation], truth: Truth, folder: Path) -> list[Path]:
    """Writes the files of the first protocol to a folder and those of the others to subfolders; returns the paths.

    Files of an earlier run in these folders are removed first.

    Raises:
        OSError: a file cannot be written.
    """
    for target in (folder, *(folder / protocol for protocol in PROTOCOLS)):
        clear_report(target)
    targets = [folder, *(folder / evaluation.report.protocol for evaluation in evaluations[1:])]
    return [
        path
        for evaluation, target in zip(evaluations, targets, strict=True)
        for path in save_evaluation(evaluation, truth, target)
    ]


def save_evaluation(evaluation: Evaluation, truth: Truth, folder: Path) -> list[Path]:
    """Writes tables, figures and the page of one protocol; returns the paths. Raises OSError if it cannot."""
    report, traces = evaluation.report, overlap_traces(evaluation.results)
    paths = save_tables(report, folder) + draw_plots(report, folder)
    parts = Parts(evaluation.scored, evaluation.results.outputs, evaluation.flags)
    write_html(report, traces, worst_moments(evaluation, traces, truth), folder / "report.html", parts)
    return [*paths, folder / "report.html"]


def save_tables(report: Report, folder: Path) -> list[Path]:
    """Writes report.json, report.md, report.csv, report.tex, sequences.csv and, if any, attributes.csv.

    Returns:
        The paths.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    texts = {
        "report.md": page(report),
        "report.csv": to_csv(headline(report)),
        "report.tex": headline_latex(report),
        "sequences.csv": to_csv(sequences(report)),
    }
    if report.attributes:
        texts["attributes.csv"] = to_csv(attributes(report))
    report.to_json(folder / "report.json")
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / "report.json", *(folder / name for name in texts)]


def worst_moments(evaluation: Evaluation, traces: dict[str, dict[str, np.ndarray]], truth: Truth) -> list[Moment]:
    """Draws pictures of the worst tracking failures; returns no picture if images are not available.

    Args:
        traces: tracker → sequence → (N,) overlap in [0, 1], NaN if the target is absent.

    Raises:
        ValueError: a picture cannot be encoded.
    """
    if not (truth.sequences and traces):
        return []
    report, results = evaluation.report, evaluation.results
    names = [annotation.name for annotation in results.annotations]
    boxes = {
        tracker: {name: output.boxes_xywh for name, output in zip(names, results.outputs[tracker], strict=True)}
        for tracker in report.ranked(report.metrics[-1])
    }
    return draw_moments(find_moments(traces, MOMENTS), truth.sequences, boxes)


def clear_report(folder: Path) -> None:
    """Removes the files of an earlier report in the folder, so that no old table or figure remains."""
    if not (folder / "report.json").is_file():
        return
    plots = [*(plot.file for plot in PLOTS.values()), ATTRIBUTE_PLOT, ROBUSTNESS_PLOT]
    names = [f"report.{suffix}" for suffix in ("json", "md", "csv", "tex", "html")]
    names += ["sequences.csv", "attributes.csv", *(f"{plot}{suffix}" for plot in plots for suffix in (".png", ".pdf"))]
    for name in names:
        (folder / name).unlink(missing_ok=True)
