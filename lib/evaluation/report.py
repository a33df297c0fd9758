"""The Report: scores of one or several trackers on one benchmark. Writes and reads report.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from lib.data.drop import AnyDrop, parse_drop
from lib.utils.files import write_text


class Curve(NamedTuple):
    """Points of a curve, x as thresholds or per cent, y in per cent."""

    x: list[float]  # thresholds; recall in per cent for a precision-recall curve
    y: list[float]  # per cent
    score_at: float | None = None  # threshold at which the value is the score; None: the score is a mean


class Comparison(NamedTuple):
    """Comparison of two trackers on the same sequences, in the ranking metric, per cent."""

    better: str
    worse: str
    difference: float  # score of `better` minus score of `worse`
    low: float  # 95 % interval of the difference: paired bootstrap over sequences
    high: float
    p: float  # two-sided: share of resamples with a difference as large, if the true difference were 0

    def __str__(self) -> str:
        verdict = "is better than" if self.low > 0 else "is not shown to differ from"
        half, p = (self.high - self.low) / 2, "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return f"{self.better} {verdict} {self.worse}: {self.difference:+.2f} ± {half:.2f} ({p})"


@dataclass(frozen=True)
class TrackerScores:
    """The scores of one tracker, per cent."""

    scores: dict[str, float]  # metric → score over all sequences
    per_sequence: dict[str, dict[str, float]]  # sequence → metric → score
    curves: dict[str, Curve]  # metric → curve from which the score was computed, mean over sequences
    fps: float | None = None  # frames per second; None without times
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # metric → 95 %, bootstrap over sequences
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)  # attribute → metric → score
    attribute_intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)  # attribute → metric
    drop: AnyDrop | None = None  # images that were withheld; in report.json as text, "" for None


@dataclass(frozen=True)
class Report:
    """Scores of one benchmark, per cent. All trackers were scored on the same sequences."""

    benchmark: str
    source: str  # kind of the data, if not the benchmark's own
    metrics: tuple[str, ...]  # columns of the tables; the last one ranks the trackers
    sequences: int  # number of scored sequences
    all_sequences: int  # number of sequences of the benchmark
    verified: bool  # whether the scorer reproduces published figures of this benchmark
    notes: tuple[str, ...]  # how frames were counted, as text
    missing: tuple[str, ...]  # sequences without a valid result, as text
    trackers: dict[str, TrackerScores]
    protocol: str = "official"
    warnings: tuple[str, ...] = ()  # results that are probably not what they should be, as text
    attributes: dict[str, int] = field(default_factory=dict)  # attribute → number of sequences that have it
    comparisons: tuple[Comparison, ...] = ()  # all pairs of trackers, in the order of the ranking
    beside: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # protocol → tracker → metric → score

    @property
    def title(self) -> str:
        """Name of the benchmark, number of sequences if incomplete, and the protocol if not official."""
        protocol = "" if self.protocol == "official" else f", protocol {self.protocol}"
        if self.source:
            return f"{self.benchmark}'s rules, {self.source}{protocol}"
        part = "" if self.sequences == self.all_sequences else f", {self.sequences} of {self.all_sequences} sequences"
        return f"{self.benchmark}{part}{protocol}{'' if self.verified else ' (not verified)'}"

    def ranked(self, metric: str) -> list[str]:
        """Returns the names of the trackers, best first; with equal scores, in alphabetical order."""
        return sorted(self.trackers, key=lambda name: (-self.trackers[name].scores[metric], name))

    def worst_first(self) -> list[tuple[str, float]]:
        """Returns (sequence, mean score of all trackers in the ranking metric, per cent), lowest score first."""
        metric = self.metrics[-1]
        names = next(iter(self.trackers.values())).per_sequence
        means = {
            name: sum(tracker.per_sequence[name][metric] for tracker in self.trackers.values()) / len(self.trackers)
            for name in names
        }
        return sorted(means.items(), key=lambda item: (item[1], item[0]))

    def with_beside(self, others: list[Report], notes: tuple[str, ...] = ()) -> Report:
        """Returns this report with the scores of other protocols in `beside`, and with more notes."""
        beside = {other.protocol: {name: t.scores for name, t in other.trackers.items()} for other in others}
        return replace(self, beside=beside, notes=(*self.notes, *notes))

    def with_comparisons(self, comparisons: tuple[Comparison, ...]) -> Report:
        """Returns this report with comparisons of its trackers."""
        return replace(self, comparisons=comparisons)

    def to_json(self, path: Path) -> None:
        """Writes the complete report, atomically.

        Raises:
            OSError: the file cannot be written.
            ValueError: a score is not finite.
        """
        trackers = {name: _tracker_record(tracker) for name, tracker in self.trackers.items()}
        comparisons = [comparison._asdict() for comparison in self.comparisons]
        record = {**vars(self), "trackers": trackers, "comparisons": comparisons}
        write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: Path) -> Report:
        """Reads a file of `to_json`.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the file is not a report; the message contains its path.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            trackers = {name: _read_tracker(entry) for name, entry in record["trackers"].items()}
            texts = {key: tuple(record[key]) for key in ("metrics", "notes", "missing", "warnings") if key in record}
            comparisons = tuple(Comparison(**entry) for entry in record["comparisons"])
            return cls(**{**record, **texts, "trackers": trackers, "comparisons": comparisons})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a report ({type(error).__name__}: {error})") from None


def _tracker_record(tracker: TrackerScores) -> dict:
    curves = {metric: curve._asdict() for metric, curve in tracker.curves.items()}
    return {**asdict(tracker), "curves": curves, "drop": str(tracker.drop or "")}


def _read_tracker(entry: dict) -> TrackerScores:
    curves = {metric: Curve(**curve) for metric, curve in entry["curves"].items()}
    intervals = {metric: tuple(ends) for metric, ends in entry["intervals"].items()}
    attributes = {
        name: {metric: tuple(ends) for metric, ends in metrics.items()}
        for name, metrics in entry.get("attribute_intervals", {}).items()
    }
    drop = parse_drop(entry["drop"]) if entry.get("drop") else None
    read = {"curves": curves, "intervals": intervals, "attribute_intervals": attributes, "drop": drop}
    return TrackerScores(**{**entry, **read})
