"""Runs of several configurations over several seeds → a table of means, standard errors and paired differences."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.report.plots import LadderRow, plot_ladder

MODALITIES = ("rgbt", "rgbd", "rgbe")
# row → title, and the row that it is compared with
LADDER = {
    "scratch": ("from scratch", ""),
    "joint": ("+ joint attention", "scratch"),
    "cmae": ("+ CMAE", "joint"),
    "scfd": ("+ SCFD", "cmae"),
    "mpsd": ("+ MPSD", "scfd"),
    "response": ("+ response (all)", "mpsd"),
}
CONTROLS = {
    "joint_longer": ("joint attention, twice as long", "joint"),
    "cmae_random": ("CMAE, random masks", "cmae"),
    "cmae_redundancy": ("CMAE, redundant masks", "cmae"),
    "cosine": ("plain cosine for SCFD", "scfd"),
    "content_style": ("content and style for SCFD", "scfd"),
    "mpsd_uniform": ("MPSD without selection", "mpsd"),
    "fused": ("fused output for MPSD", "mpsd"),
}
ROWS = {**LADDER, **CONTROLS}
WHOLE = ("response", "cmae")  # the distilled student, and the same one without a teacher


@dataclass
class Row:
    """One configuration. `scores` holds one value per seed, in per cent, by modality and under "mean"."""

    name: str
    title: str
    reference: str  # the row that it is compared with, seed by seed; "": none
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)

    def add(self, seed: int, validation: dict[str, float]) -> None:
        """Notes one run; `validation` is what the Trainer writes: {'rgbt/auc': 0.61, ...}."""
        values = {modality: 100 * validation[f"{modality}/auc"] for modality in MODALITIES}
        for name, value in {**values, "mean": sum(values.values()) / len(values)}.items():
            self.scores.setdefault(name, []).append(value)
        self.seeds.append(seed)

    def mean(self, name: str = "mean") -> tuple[float, float]:
        """Mean and standard error over the seeds."""
        return mean_and_error(self.scores[name])


def draw_ladder(rows: list[Row], stem: Path) -> list[Path]:
    """Draws the rows that have a run as <stem>.png and .pdf; returns the paths."""
    drawn = [LadderRow(row.title, row.scores["mean"], *row.mean(), row.name not in LADDER) for row in rows if row.seeds]
    return plot_ladder(drawn, stem) if drawn else []


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error; NaN for the error of a single value."""
    count = len(values)
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else math.nan


def difference(row: Row, reference: Row) -> tuple[float, float]:
    """Mean and standard error of row minus reference, paired by seed. Raises ValueError where no seed is in both."""
    common = [seed for seed in row.seeds if seed in reference.seeds]
    if not common:
        raise ValueError(f"{row.name} and {reference.name} have no seed in common")
    values = [
        row.scores["mean"][row.seeds.index(seed)] - reference.scores["mean"][reference.seeds.index(seed)]
        for seed in common
    ]
    return mean_and_error(values)


def to_markdown(rows: list[Row]) -> str:
    """The table, one line per row that has a run; below it, what all of the distillation is worth."""
    done = {row.name: row for row in rows if row.seeds}
    lines = [
        "| row | AUC | RGB-T | RGB-D | RGB-E | against | difference | seeds |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for row in done.values():
        cells = [_value(*row.mean()), *(f"{row.mean(m)[0]:.1f}" for m in MODALITIES)]
        against = done.get(row.reference)
        compared = [against.title, _value(*difference(row, against), sign=True)] if against else ["", ""]
        lines.append(f"| {row.title} | {' | '.join(cells + compared)} | {len(row.seeds)} |")
    if all(name in done for name in WHOLE):
        distilled, alone = (done[name] for name in WHOLE)
        lines += ["", f"{distilled.title} against {alone.title}: {_value(*difference(distilled, alone), sign=True)}"]
    return "\n".join(lines) + "\n"


def to_json(rows: list[Row]) -> str:
    """All values, so that a plot can be drawn from them alone."""
    return json.dumps([vars(row) for row in rows if row.seeds], indent=1)


def from_json(path: Path) -> list[Row]:
    """The inverse of `to_json`."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _value(mean: float, error: float, sign: bool = False) -> str:
    text = f"{mean:+.2f}" if sign else f"{mean:.2f}"
    return text if math.isnan(error) else f"{text} ± {error:.2f}"
