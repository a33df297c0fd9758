"""Report → files: report.json, tables, figures and the page, all in one folder."""

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
from lib.report.tables import attributes, headline, latex, page, sequences, to_csv
from lib.utils.files import write_text

MOMENTS = 24  # thumbnails in report.html


def save_evaluations(evaluations: list[Evaluation], truth: Truth, folder: Path) -> list[Path]:
    """Writes the first protocol's files into a folder and the others' into folders in it; returns the paths.

    What an earlier run left in these folders is removed first.
    """
    for place in (folder, *(folder / protocol for protocol in PROTOCOLS)):
        clear_report(place)
    targets = [folder, *(folder / evaluation.report.protocol for evaluation in evaluations[1:])]
    return [
        path
        for evaluation, target in zip(evaluations, targets, strict=True)
        for path in save_evaluation(evaluation, truth, target)
    ]


def save_evaluation(evaluation: Evaluation, truth: Truth, folder: Path) -> list[Path]:
    """Writes tables, figures and the page of one protocol; returns their paths."""
    report, traces = evaluation.report, overlap_traces(evaluation.results)
    paths = save_tables(report, folder) + draw_plots(report, folder)
    write_html(report, traces, worst_moments(evaluation, traces, truth), folder / "report.html")
    return [*paths, folder / "report.html"]


def save_tables(report: Report, folder: Path) -> list[Path]:
    """Writes report.json, report.md, report.csv, report.tex, sequences.csv and, where there are any, attributes.csv;
    returns their paths.
    """
    folder = Path(folder)
    texts = {
        "report.md": page(report),
        "report.csv": to_csv(headline(report)),
        "report.tex": latex(headline(report)),
        "sequences.csv": to_csv(sequences(report)),
    }
    if report.attributes:
        texts["attributes.csv"] = to_csv(attributes(report))
    report.to_json(folder / "report.json")
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / "report.json", *(folder / name for name in texts)]


def worst_moments(evaluation: Evaluation, traces: dict[str, dict[str, np.ndarray]], truth: Truth) -> list[Moment]:
    """Pictures of the worst tracking failures, where images are available.

    Trackers are in the order of the ranking, which sets their colours.
    """
    if not (truth.sequences and traces):
        return []
    report, results = evaluation
    names = [annotation.name for annotation in results.annotations]
    boxes = {
        tracker: {name: output.boxes_xywh for name, output in zip(names, results.outputs[tracker], strict=True)}
        for tracker in report.ranked(report.metrics[-1])
    }
    return draw_moments(find_moments(traces, MOMENTS), truth.sequences, boxes)


def clear_report(folder: Path) -> None:
    """Removes what an earlier run left in the folder, so that no old table or figure stays with the new ones."""
    if not (folder / "report.json").is_file():
        return
    plots = [*(plot.file for plot in PLOTS.values()), ATTRIBUTE_PLOT, ROBUSTNESS_PLOT]
    names = [f"report.{suffix}" for suffix in ("json", "md", "csv", "tex", "html")]
    names += ["sequences.csv", "attributes.csv", *(f"{plot}{suffix}" for plot in plots for suffix in (".png", ".pdf"))]
    for name in names:
        (folder / name).unlink(missing_ok=True)
