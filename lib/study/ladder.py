"""Means, 95 % intervals and paired differences of several configurations over several seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.evaluation.statistics import mean_and_half_width
from lib.report.plots import LadderRow, plot_ladder

MODALITIES = ("rgbt", "rgbd", "rgbe")
# row → title, and the row to which it is compared. Rows are compared only with rows of as many training steps.
LADDER = {
    "scratch": ("from scratch", ""),
    "joint": ("+ joint attention", "scratch"),
    "joint_longer": ("joint attention, three times as long", ""),
    "cmae": ("+ CMAE", "joint_longer"),
    "scfd": ("+ SCFD", "cmae"),
    "mpsd": ("+ MPSD", "scfd"),
    "response": ("+ response (all)", "mpsd"),
}
CONTROLS = {
    "without_cmae": ("all without CMAE", "response"),
    "without_scfd": ("all without SCFD", "response"),
    "without_mpsd": ("all without MPSD", "response"),
    "cmae_random": ("CMAE, random masks", "cmae"),
    "cmae_redundancy": ("CMAE, redundant masks", "cmae"),
    "cosine": ("plain cosine for SCFD", "scfd"),
    "content_style": ("content and style for SCFD", "scfd"),
    "mpsd_uniform": ("MPSD without selection", "mpsd"),
    "fused": ("fused output for MPSD", "mpsd"),
}
ROWS = {**LADDER, **CONTROLS}
# The distilled student and the same one without a teacher, with as many pairs: with CMAE, and without it.
COMPLETE = (("response", "cmae"), ("without_cmae", "joint_longer"))


@dataclass
class Row:
    """One configuration. `scores` has one value per seed, in per cent.

    Its keys: each modality and "mean", the AUC on held-out pairs; "sr", the mean success rate over held-out sequences,
    if they were tracked.
    """

    name: str
    title: str
    reference: str  # the row to which it is compared, seed by seed; "": none
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)

    def add(self, seed: int, validation: dict[str, float], tracked: dict[str, float] | None = None) -> None:
        """Adds a run.

        Args:
            validation: values of validation.json in [0, 1], e.g. {'rgbt/auc': 0.61}.
            tracked: {"sr": success rate in per cent}, for all runs of the table or for none.
        """
        values = {modality: 100 * validation[f"{modality}/auc"] for modality in MODALITIES}
        mean = sum(values.values()) / len(values)
        for name, value in {**values, "mean": mean, **(tracked or {})}.items():
            self.scores.setdefault(name, []).append(value)
        self.seeds.append(seed)

    def mean(self, name: str = "mean") -> tuple[float, float]:
        """Returns the mean over the seeds and half the width of its 95 % interval, per cent."""
        return mean_and_half_width(self.scores[name])


def draw_ladder(rows: list[Row], stem: Path) -> list[Path]:
    """Draws the rows that have a run as <stem>.png and .pdf; returns the paths. Raises OSError as `plot_ladder`."""
    drawn = [LadderRow(row.title, row.scores["mean"], *row.mean(), row.name not in LADDER) for row in rows if row.seeds]
    return plot_ladder(drawn, stem) if drawn else []


def difference(row: Row, reference: Row, name: str = "mean") -> tuple[float, float]:
    """Returns the mean of row minus reference and half the width of its 95 % interval, paired by seed, per cent.

    Raises:
        ValueError: the rows have no seed in common.
    """
    common = [seed for seed in row.seeds if seed in reference.seeds]
    if not common:
        raise ValueError(f"{row.name} and {reference.name} have no seed in common")
    values = [
        row.scores[name][row.seeds.index(seed)] - reference.scores[name][reference.seeds.index(seed)] for seed in common
    ]
    return mean_and_half_width(values)


def to_markdown(rows: list[Row]) -> str:
    """Returns the table, one line per row with a run, per cent; below it, what the complete distillation is worth.

    Raises:
        ValueError: a row and its reference have no seed in common.
    """
    done = {row.name: row for row in rows if row.seeds}
    tracked = all("sr" in row.scores for row in done.values())
    header = ["row", "AUC", "RGB-T", "RGB-D", "RGB-E", *["SR"] * tracked, "against", "difference"]
    header += ["difference in SR"] * tracked + ["seeds"]
    words = {"row", "against"}
    names = ["mean", *["sr"] * tracked]
    lines = [_line(header), _line(["---" if name in words else "---:" for name in header])]
    for row in done.values():
        cells = [row.title, _value(*row.mean()), *(f"{row.mean(m)[0]:.1f}" for m in MODALITIES)]
        cells += [_value(*row.mean("sr"))] if tracked else []
        against = done.get(row.reference)
        cells += [against.title, *_differences(row, against, names)] if against else ["", *[""] * len(names)]
        lines.append(_line([*cells, str(len(row.seeds))]))
    for distilled, alone in ((done[a], done[b]) for a, b in COMPLETE if {a, b} <= done.keys()):
        text = "; SR ".join(_differences(distilled, alone, names))
        lines += ["", f"{distilled.title} against {alone.title}: {text}"]
    return "\n".join(lines) + "\n"


def _differences(row: Row, reference: Row, names: Sequence[str]) -> list[str]:
    return [_value(*difference(row, reference, name), sign=True) for name in names]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def to_json(rows: list[Row]) -> str:
    """Returns all values of the rows that have a run, for a plot."""
    return json.dumps([vars(row) for row in rows if row.seeds], indent=1)


def from_json(path: Path) -> list[Row]:
    """Reads a file of `to_json`.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is no such file.
    """
    try:
        rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
        for row in rows:
            values = [row.scores[name] for name in (*MODALITIES, "mean", *row.scores)]
            if row.name not in ROWS or {len(row.seeds)} != {len(scores) for scores in values}:
                raise ValueError(f"row {row.name}: unknown, or a seed has no value")
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a ladder.json of tracking/ablation.py: {error}") from error
    return rows


def merge(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Returns the rows with the seeds of those in `others` that have the same name, in the order of the seeds.

    Raises:
        ValueError: a row has a seed twice, or its scores have other names.
    """
    rows = list(rows)
    for other in others:
        rows = [_merge(row, other) if row.name == other.name else row for row in rows]
    return rows


def _merge(row: Row, other: Row) -> Row:
    """Returns a row with the seeds of both. Raises ValueError as `merge`."""
    if common := {*row.seeds} & {*other.seeds}:
        raise ValueError(f"{row.name}: seed {min(common)} is in two of the tables; name each seed once")
    if row.seeds and row.scores.keys() != other.scores.keys():
        raise ValueError(f"{row.name}: scores {sorted(other.scores)}, expected {sorted(row.scores)}")
    seeds = [*row.seeds, *other.seeds]
    order = sorted(range(len(seeds)), key=seeds.__getitem__)
    scores = {name: [*row.scores.get(name, ()), *values] for name, values in other.scores.items()}
    scores = {name: [values[index] for index in order] for name, values in scores.items()}
    return Row(row.name, row.title, row.reference, [seeds[index] for index in order], scores)


def _value(mean: float, half: float, sign: bool = False) -> str:
    text = f"{mean:+.2f}" if sign else f"{mean:.2f}"
    return text if math.isnan(half) else f"{text} ± {half:.2f}"
