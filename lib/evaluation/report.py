"""Report: the scores of one benchmark for one or several trackers. Report ↔ report.json; Markdown and CSV tables."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from lib.utils.files import write_text


class Curve(NamedTuple):
    """Points of a line to draw."""

    x: list[float]  # thresholds; recall in per cent for a precision-recall curve
    y: list[float]  # per cent
    score_at: float | None = None  # the threshold whose value is the score, if it is one's


@dataclass(frozen=True)
class TrackerScores:
    """What one tracker reached. Scores are per cent."""

    scores: dict[str, float]  # metric → score over all sequences
    per_sequence: dict[str, dict[str, float]]  # sequence → metric → score
    curves: dict[str, Curve]  # metric → the curve that the score was read from, mean over sequences
    fps: float | None = None  # frames per second; None where no times were left


@dataclass(frozen=True)
class Report:
    """Scores of one benchmark. All trackers were scored on the same sequences."""

    benchmark: str
    source: str  # what the data are, if not the benchmark's own
    metrics: tuple[str, ...]  # columns of the tables, the one that ranks trackers last
    sequences: int  # scored
    all_sequences: int  # in the whole benchmark
    verified: bool  # whether the scorer reproduces published figures of this benchmark
    notes: tuple[str, ...]  # how frames were counted, in words
    missing: tuple[str, ...]  # what was left out because its result is missing or does not fit, in words
    trackers: dict[str, TrackerScores]

    @property
    def title(self) -> str:
        """Benchmark and, unless it was scored whole, how much of it."""
        if self.source:
            return f"{self.benchmark}'s rules, {self.source}"
        part = "" if self.sequences == self.all_sequences else f", {self.sequences} of {self.all_sequences} sequences"
        return f"{self.benchmark}{part}{'' if self.verified else ' (not verified)'}"

    def ranked(self, metric: str) -> list[str]:
        """Names of the trackers, best first; equal scores by name."""
        return sorted(self.trackers, key=lambda name: (-self.trackers[name].scores[metric], name))

    def rows(self) -> list[list[str]]:
        """The table as text, header first, best tracker first."""
        table = [["Tracker", *self.metrics, "FPS"]]
        for name in self.ranked(self.metrics[-1]):
            tracker = self.trackers[name]
            fps = "-" if tracker.fps is None else f"{tracker.fps:.1f}"
            table.append([name, *(f"{tracker.scores[metric]:.2f}" for metric in self.metrics), fps])
        return table

    def to_markdown(self) -> str:
        """Title, table, and how it was made."""
        header, *body = [[cell.replace("|", "\\|") for cell in row] for row in self.rows()]
        widths = [max(len(row[column]) for row in (header, *body)) for column in range(len(header))]
        ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [
            f"| {row[0].ljust(widths[0])} | {' | '.join(map(str.rjust, row[1:], widths[1:]))} |"
            for row in (header, ruler, *body)
        ]
        lines = [f"# {self.title}", "", *lines, "", "Scores in per cent.", "", *(f"- {note}" for note in self.notes)]
        if self.missing:
            lines += ["", f"Left out ({len(self.missing)}):", "", *(f"- {text}" for text in self.missing)]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """The table alone."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.rows())
        return text.getvalue()

    def to_json(self, path: Path) -> None:
        """Writes the whole report, atomically."""
        trackers = {
            name: {**asdict(tracker), "curves": {metric: curve._asdict() for metric, curve in tracker.curves.items()}}
            for name, tracker in self.trackers.items()
        }
        write_text(path, json.dumps({**vars(self), "trackers": trackers}, indent=1, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: Path) -> Report:
        """Reads what `to_json` wrote. Raises ValueError, naming the file, for anything else."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            trackers = {
                name: TrackerScores(
                    **{**entry, "curves": {metric: Curve(**c) for metric, c in entry["curves"].items()}}
                )
                for name, entry in record["trackers"].items()
            }
            texts = {key: tuple(record[key]) for key in ("metrics", "notes", "missing")}
            return cls(**{**record, **texts, "trackers": trackers})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a report ({type(error).__name__}: {error})") from None

    def save(self, folder: Path) -> list[Path]:
        """Writes report.json, report.md and report.csv into `folder`; returns their paths."""
        paths = [Path(folder) / f"report.{suffix}" for suffix in ("json", "md", "csv")]
        self.to_json(paths[0])
        write_text(paths[1], self.to_markdown())
        write_text(paths[2], self.to_csv())
        return paths
