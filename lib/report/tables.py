"""Makes tables of a report as Markdown, CSV and LaTeX. A table is a list of rows of text, the header first."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from lib.evaluation.report import Report
from lib.report.palette import FEW_SEQUENCES
from lib.report.robustness import robustness_curves
from lib.utils.files import read_text, write_text

WORST = 10  # number of sequences in the Markdown page; sequences.csv contains all

Table = list[list[str]]


def headline(report: Report) -> Table:
    """Returns the scores in per cent and frames per second, best tracker first."""
    table = [["Tracker", *report.metrics, "FPS"]]
    for name in report.ranked(report.metrics[-1]):
        tracker = report.trackers[name]
        fps = "-" if tracker.fps is None else f"{tracker.fps:.1f}"
        table.append([name, *(f"{tracker.scores[metric]:.2f}" for metric in report.metrics), fps])
    return table


def intervals(report: Report) -> Table:
    """Returns the 95 % intervals of the scores in per cent, best tracker first."""
    table = [["Tracker", *report.metrics]]
    for name in report.ranked(report.metrics[-1]):
        ends = report.trackers[name].intervals
        table.append([name, *("{:.1f} to {:.1f}".format(*ends[metric]) for metric in report.metrics)])
    return table


def protocols(report: Report) -> Table:
    """Returns the scores under all protocols in per cent; "-" if a protocol does not have the metric or the tracker.

    If not all sequences are scored, the columns say how many.
    """
    columns = {report.protocol: {name: tracker.scores for name, tracker in report.trackers.items()}, **report.beside}
    metrics = list(report.metrics)
    for scores in report.beside.values():
        metrics += [metric for metric in next(iter(scores.values())) if metric not in metrics]
    pairs = [(metric, protocol) for metric in metrics for protocol in columns]
    pairs = [(m, p) for m, p in pairs if any(m in scores for scores in columns[p].values())]
    # All protocols are scored over the same sequences.
    part = "" if report.sequences == report.all_sequences else f" (n = {report.sequences})"
    table = [["Tracker", *(f"{metric} {protocol}{part}" for metric, protocol in pairs)]]
    for name in report.ranked(report.metrics[-1]):
        values = [columns[protocol].get(name, {}).get(metric) for metric, protocol in pairs]
        table.append([name, *("-" if value is None else f"{value:.2f}" for value in values)])
    return table


def attributes(report: Report) -> Table:
    """Returns the ranking metric by attribute in per cent, with 95 % intervals; trackers are columns, best first.

    After the scores there are two columns for each tracker, the ends of its interval; "-": there is none.
    """
    ranked, metric = report.ranked(report.metrics[-1]), report.metrics[-1]
    ends = [f"{name} {end}" for name in ranked for end in ("low", "high")]
    table = [["Attribute", "Sequences", *ranked, *ends]]
    for name, count in report.attributes.items():
        scores = [f"{report.trackers[tracker].attributes[name][metric]:.2f}" for tracker in ranked]
        bounds = [bound for tracker in ranked for bound in _attribute_interval(report, tracker, name)]
        table.append([name, str(count), *scores, *("-" if bound is None else f"{bound:.1f}" for bound in bounds)])
    return table


def _attribute_interval(report: Report, tracker: str, attribute: str) -> tuple[float | None, float | None]:
    return report.trackers[tracker].attribute_intervals.get(attribute, {}).get(report.metrics[-1], (None, None))


def attributes_in_words(report: Report) -> str:
    """Returns the ranking metric by attribute as Markdown: score, half of the interval, and what is too few."""
    ranked, metric = report.ranked(report.metrics[-1]), report.metrics[-1]
    table = [["Attribute", "Sequences", *ranked]]
    for name, count in report.attributes.items():
        cells = []
        for tracker in ranked:
            low, high = _attribute_interval(report, tracker, name)
            half = "" if low is None else f" ± {(high - low) / 2:.1f}"
            cells.append(f"{report.trackers[tracker].attributes[name][metric]:.2f}{half}")
        table.append([name, f"{count}{few_mark(count)}", *cells])
    few = any(few_mark(count) for count in report.attributes.values())
    return markdown(table) + (f"\n\\* fewer than {FEW_SEQUENCES} sequences\n" if few else "")


def few_mark(count: int) -> str:
    """Returns the mark of an attribute with so few sequences that its scores say little."""
    return r"\*" if count < FEW_SEQUENCES else ""


def sequences(report: Report, count: int | None = None) -> Table:
    """Returns the ranking metric by sequence in per cent, lowest mean first.

    Args:
        count: number of sequences; None: all.
    """
    ranked, metric = report.ranked(report.metrics[-1]), report.metrics[-1]
    table = [["Sequence", "Mean", *ranked]]
    for name, mean in report.worst_first()[:count]:
        scores = [report.trackers[tracker].per_sequence[name][metric] for tracker in ranked]
        table.append([name, f"{mean:.2f}", *(f"{score:.2f}" for score in scores)])
    return table


def robustness_table(report: Report) -> Table:
    """Returns the robustness curves in per cent: rates as columns, and the loss at the largest rate; "-": no run."""
    curves = robustness_curves(report)
    rates = sorted({rate for curve in curves for rate in curve.rates})
    table = [["Tracker", "Missing", *(f"{100 * rate:g}%" for rate in rates), "Loss"]]
    for curve in curves:
        scores = dict(zip(curve.rates, curve.scores, strict=True))
        cells = [f"{scores[rate]:.2f}" if rate in scores else "-" for rate in rates]
        loss = f"{curve.scores[0] - curve.scores[-1]:.2f}" if curve.rates[0] == 0 else "-"
        table.append([curve.tracker, curve.condition, *cells, loss])
    return table


def markdown(table: Table) -> str:
    """Returns a table as Markdown, the first column left-aligned, the others right-aligned."""
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in table]
    widths = [max(3, *(len(row[column]) for row in (header, *body))) for column in range(len(header))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in (header, ruler, *body)
    ]
    return "".join(f"| {line} |\n" for line in lines)


def to_csv(table: Table) -> str:
    """Returns a table as comma-separated values, with quotes if needed."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def headline_latex(report: Report) -> str:
    """Returns the headline table as LaTeX, each score with half of its 95 % interval if it has one."""
    halves = []
    for name in report.ranked(report.metrics[-1]):
        ends = [report.trackers[name].intervals.get(metric) for metric in report.metrics]
        halves.append(["", *("" if not pair else f"{(pair[1] - pair[0]) / 2:.1f}" for pair in ends), ""])
    return latex(headline(report), halves)


def latex(table: Table, halves: Table | None = None) -> str:
    """Returns a table as LaTeX (booktabs): the largest value of a numeric column in bold, the second underlined.

    With two rows nothing is underlined. Cells that are equal as written share a place.

    Args:
        halves: for each row below the header and each column, what follows ±; "": nothing.
    """
    header, *body = table
    marks = [_marks([row[column] for row in body]) for column in range(len(header))]
    lines = [" & ".join(map(_escape, header)) + r" \\", r"\midrule"]
    for index, row in enumerate(body):
        cells = [marks[column].get(cell, "{}").replace("{}", _escape(cell), 1) for column, cell in enumerate(row)]
        after = halves[index] if halves else [""] * len(cells)
        cells = [
            cell + (rf" {{\scriptsize $\pm$ {half}}}" if half else "") for cell, half in zip(cells, after, strict=True)
        ]
        lines.append(" & ".join(cells) + r" \\")
    columns = "l" + "r" * (len(header) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}", ""])


def _marks(cells: list[str]) -> dict[str, str]:
    """Returns cell → LaTeX around it, for the best and the second best of a numeric column; {} stands for the cell."""
    try:
        falling = sorted({cell for cell in cells if cell != "-"}, key=float, reverse=True)
    except ValueError:
        return {}  # names
    wanted = [r"\textbf{{}}", r"\underline{{}}"] if len(cells) > 2 else [r"\textbf{{}}"]
    return dict(zip(falling, wanted, strict=False))


def _escape(text: str) -> str:
    special = {character: f"\\{character}" for character in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in text)


def page(report: Report) -> str:
    """Returns the complete report as Markdown: title, tables, comparisons, and how frames were counted."""
    metric = report.metrics[-1]
    parts = [f"# {report.title}\n", markdown(headline(report))]
    parts.append(f"Scores in per cent, protocol {report.protocol}.\n" + _counted(report))
    parts += ["".join(f"- Warning: {text}\n" for text in report.warnings)] if report.warnings else []
    if report.beside:
        parts += ["## Protocols side by side\n", markdown(protocols(report))]
    if any(tracker.intervals for tracker in report.trackers.values()):
        parts += ["## 95 % intervals (bootstrap over sequences)\n", markdown(intervals(report))]
    if report.comparisons:
        neighbours = list(zip(*[report.ranked(metric)[start:] for start in (0, 1)], strict=False))
        shown = [c for c in report.comparisons if (c.better, c.worse) in neighbours]
        parts += [f"## Neighbours in {metric}, paired over sequences\n", "".join(f"- {c}\n" for c in shown)]
    if report.attributes:
        parts += [f"## {metric} by attribute\n", attributes_in_words(report)]
    if len(missing := robustness_table(report)) > 1:
        parts += [f"## {metric} where pictures are missing, by their share\n", markdown(missing)]
    parts += [f"## {metric} of the worst sequences\n", markdown(sequences(report, WORST))]
    parts += ["## How frames were counted\n", "".join(f"- {note}\n" for note in report.notes)]
    if report.missing:
        parts += [f"Left out ({len(report.missing)}):\n", "".join(f"- {text}\n" for text in report.missing)]
    return "\n".join(parts)


def _counted(report: Report) -> str:
    if report.sequences == report.all_sequences:
        return ""
    return f"{report.sequences} of {report.all_sequences} sequences: not comparable with scores of all of them.\n"


def insert_text(path: Path, mark: str, text: str) -> None:
    """Replaces the lines between `<!-- mark -->` and `<!-- end of mark -->` of a Markdown file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file has no such marks.
    """
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    before, found, rest = read_text(path).partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path}: expected the lines {begin.strip()} and {end.strip()}; write them where the table is")
    write_text(path, f"{before}{begin}\n{text}\n{end}{after}")
