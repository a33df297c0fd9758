"""Makes tables of a report as Markdown, CSV and LaTeX. A table is a list of rows of text, the header first."""

from __future__ import annotations

import csv
import io

from lib.evaluation.report import Report
from lib.report.robustness import robustness_curves

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

    A protocol that is not scored over all sequences says over how many.
    """
    columns = {report.protocol: {name: tracker.scores for name, tracker in report.trackers.items()}, **report.beside}
    metrics = list(report.metrics)
    for scores in report.beside.values():
        metrics += [metric for metric in next(iter(scores.values())) if metric not in metrics]
    pairs = [(metric, protocol) for metric in metrics for protocol in columns]
    pairs = [(m, p) for m, p in pairs if any(m in scores for scores in columns[p].values())]
    counts = {report.protocol: report.sequences, **report.beside_sequences}
    parts = {p: "" if counts.get(p, n) == n else f" (n = {counts[p]})" for n in [report.all_sequences] for p in columns}
    table = [["Tracker", *(f"{metric} {protocol}{parts[protocol]}" for metric, protocol in pairs)]]
    for name in report.ranked(report.metrics[-1]):
        values = [columns[protocol].get(name, {}).get(metric) for metric, protocol in pairs]
        table.append([name, *("-" if value is None else f"{value:.2f}" for value in values)])
    return table


def attributes(report: Report) -> Table:
    """Returns the ranking metric by attribute in per cent; trackers are columns, best first."""
    ranked, metric = report.ranked(report.metrics[-1]), report.metrics[-1]
    table = [["Attribute", "Sequences", *ranked]]
    for name, count in report.attributes.items():
        scores = [report.trackers[tracker].attributes[name][metric] for tracker in ranked]
        table.append([name, str(count), *(f"{score:.2f}" for score in scores)])
    return table


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


def latex(table: Table) -> str:
    """Returns a table as LaTeX (booktabs), with the largest value of each numeric column in bold."""
    header, *body = table
    best = [_largest([row[column] for row in body]) for column in range(len(header))]
    lines = [" & ".join(map(_escape, header)) + r" \\", r"\midrule"]
    for row in body:
        cells = [
            rf"\textbf{{{cell}}}" if best[column] is not None and cell == best[column] else _escape(cell)
            for column, cell in enumerate(row)
        ]
        lines.append(" & ".join(cells) + r" \\")
    columns = "l" + "r" * (len(header) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}", ""])


def _largest(cells: list[str]) -> str | None:
    try:
        return max((cell for cell in cells if cell != "-"), key=float, default=None)
    except ValueError:
        return None  # names


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
        parts += [f"## {metric} by attribute\n", markdown(attributes(report))]
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
