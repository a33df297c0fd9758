"""Report: the scores of one benchmark for one or several trackers. Report ↔ report.json; tables: `tables.py`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from lib.data.drop import Drop
from lib.utils.files import write_text


class Curve(NamedTuple):
    """Points of a line to draw."""

    x: list[float]  # thresholds; recall in per cent for a precision-recall curve
    y: list[float]  # per cent
    score_at: float | None = None  # the threshold at which the curve is the score; None: the score is a mean


class Comparison(NamedTuple):
    """One tracker against another on the same sequences, in the metric that ranks trackers; per cent."""

    better: str
    worse: str
    difference: float
    low: float  # of its 95 % interval: bootstrap over sequences, both trackers on the same ones
    high: float
    p: float  # two-sided: how often resampled sequences show a difference as large around no difference

    def __str__(self) -> str:
        verdict = "is better than" if self.low > 0 else "is not told apart from"
        half, p = (self.high - self.low) / 2, "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return f"{self.better} {verdict} {self.worse}: {self.difference:+.2f} ± {half:.2f} ({p})"


@dataclass(frozen=True)
class TrackerScores:
    """One tracker's scores, per cent."""

    scores: dict[str, float]  # metric → score over all sequences
    per_sequence: dict[str, dict[str, float]]  # sequence → metric → score
    curves: dict[str, Curve]  # metric → the curve that the score was read from, mean over sequences
    fps: float | None = None  # frames per second; None where there are no times
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # metric → 95 %, bootstrap over sequences
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)  # attribute → metric → score
    drop: Drop | None = None  # what of the input was taken away; report.json has its text, "" for nothing


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
    protocol: str = "official"
    attributes: dict[str, int] = field(default_factory=dict)  # attribute → number of sequences that have it
    comparisons: tuple[Comparison, ...] = ()  # all pairs, in the order of the ranking
    beside: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # protocol → tracker → metric → score

    @property
    def title(self) -> str:
        """Benchmark, how much of it unless it was scored whole, and the protocol unless it is the official one."""
        protocol = "" if self.protocol == "official" else f", protocol {self.protocol}"
        if self.source:
            return f"{self.benchmark}'s rules, {self.source}{protocol}"
        part = "" if self.sequences == self.all_sequences else f", {self.sequences} of {self.all_sequences} sequences"
        return f"{self.benchmark}{part}{protocol}{'' if self.verified else ' (not verified)'}"

    def ranked(self, metric: str) -> list[str]:
        """Names of the trackers, best first; equal scores by name."""
        return sorted(self.trackers, key=lambda name: (-self.trackers[name].scores[metric], name))

    def worst_first(self) -> list[tuple[str, float]]:
        """Sequences with the trackers' mean score in the ranking metric, lowest first."""
        metric = self.metrics[-1]
        names = next(iter(self.trackers.values())).per_sequence
        means = {
            name: sum(tracker.per_sequence[name][metric] for tracker in self.trackers.values()) / len(self.trackers)
            for name in names
        }
        return sorted(means.items(), key=lambda item: (item[1], item[0]))

    def with_beside(self, others: list[Report]) -> Report:
        """This report, with the scores of other protocols beside its own."""
        beside = {other.protocol: {name: t.scores for name, t in other.trackers.items()} for other in others}
        return replace(self, beside=beside)

    def with_comparisons(self, comparisons: tuple[Comparison, ...]) -> Report:
        """This report, with how its trackers compare."""
        return replace(self, comparisons=comparisons)

    def to_json(self, path: Path) -> None:
        """Writes the whole report, atomically."""
        trackers = {name: _tracker_record(tracker) for name, tracker in self.trackers.items()}
        comparisons = [comparison._asdict() for comparison in self.comparisons]
        record = {**vars(self), "trackers": trackers, "comparisons": comparisons}
        write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: Path) -> Report:
        """Reads what `to_json` wrote. Raises ValueError, which names the file, for anything else."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            trackers = {name: _read_tracker(entry) for name, entry in record["trackers"].items()}
            texts = {key: tuple(record[key]) for key in ("metrics", "notes", "missing")}
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
    drop = Drop.parse(entry["drop"]) if entry.get("drop") else None
    return TrackerScores(**{**entry, "curves": curves, "intervals": intervals, "drop": drop})
