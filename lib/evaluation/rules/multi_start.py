"""The VOT challenge's evaluation: runs from several anchors of each sequence; EAO, accuracy and robustness.

The measures are the VOT toolkit's, see `vot_measures.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.report import Curve
from lib.evaluation.rules.base import OFFICIAL, Benchmark, Output, Rule, Scored
from lib.evaluation.vot_measures import Sums, eao, run_overlaps, sum_runs, weighted_ratio
from lib.results.folder import ResultFolder
from lib.results.vot_files import find_run, read_trajectory
from lib.utils.boxes import is_valid

MULTI_START = {"A": None, "R": None, "EAO": None}  # metrics


@dataclass(frozen=True)
class MultiStartRule(Rule):
    """The rule of short-term tracking in the VOT challenge since 2020: runs from anchors, forward or backward.

    Lengths are in frames, overlaps in [0, 1].
    """

    low: int = 115  # EAO averages the expected overlap over lengths from low to high, frames
    high: int = 755
    threshold: float = 0.1  # largest overlap of a failure, see `run_overlaps`
    grace: int = 10  # frames, see `run_overlaps`
    needs_size = True
    needs_anchors = True

    def load(
        self, benchmark: Benchmark, annotations: list[Annotation], results: ResultFolder
    ) -> tuple[dict[str, Output], list[str]]:
        """Loads one result file per anchor of each sequence, see `Rule.load`. Raises ValueError as `load_runs`."""
        return load_runs(benchmark, annotations, results)

    def score(self, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
        """Returns EAO, accuracy and robustness, per cent, see `Rule.score`. Raises ValueError as `run_overlaps`."""
        return score_multi_start(self, annotations, outputs)

    def under(self, protocol: str, benchmark: Benchmark) -> Benchmark:
        """Raises ValueError: runs from anchors have only the official protocol. See `Rule.under`."""
        raise ValueError(f"{benchmark.name}: runs from anchors have only the protocol {OFFICIAL}, got {protocol}")

    def notes(self) -> list[str]:
        """Returns a description of the rule for reports, one text per line."""
        return [
            f"EAO: expected average overlap of runs from all anchors, over {self.low} to {self.high} frames.",
            f"A run fails at the first of {self.grace} frames in a row with an overlap of at most {self.threshold}.",
            "A: mean overlap until failure. R: share of frames until it, sequences weighted by their length.",
            "First frame: left out of EAO; in A it counts with an overlap of 0, as the VOT toolkit has it.",
            "Absent frames: no failure starts or goes on there. Runs of another length than their frames are refused.",
            "Overlap of boxes drawn as pixel masks, cut to the image where its size is known.",
        ]


def load_runs(
    benchmark: Benchmark, annotations: list[Annotation], results: ResultFolder
) -> tuple[dict[str, Output], list[str]]:
    """Reads the runs of a tracker.

    Returns:
        Sequence → Output for all complete sequences; and a text for each problem with the others.

    Raises:
        ValueError: the folder has no complete sequence, or a sequence has no anchors.
    """
    tracker, folder = results.tracker, results.path
    outputs, missing, problems = {}, [], []
    for annotation in annotations:
        if not annotation.anchors:
            raise ValueError(f"{benchmark.name}/{annotation.name}: no anchor.value next to the annotation")
        paths = [find_run(folder, annotation.name, anchor) for anchor in annotation.anchors]
        absent = [anchor.frame for anchor, path in zip(annotation.anchors, paths, strict=True) if path is None]
        if absent:
            missing.append(f"{annotation.name} (from frames {', '.join(map(str, absent))})")
            continue
        runs, wrong = _read_runs(results, annotation, paths)
        if wrong:
            problems += [f"{tracker}/{annotation.name}: {text}" for text in wrong]
        else:
            outputs[annotation.name] = Output(np.empty((0, 4)), runs=tuple(runs))
    if len(missing) == len(annotations):
        raise ValueError(
            f"{tracker}: {folder} contains no complete sequence of {benchmark.name}'s {len(annotations)}, expected for "
            f"example {annotations[0].name}/{annotations[0].name}_{annotations[0].anchors[0].frame:08d}.txt"
        )
    if missing:
        text = f"{tracker}: no run in {folder} for {len(missing)} of {len(annotations)}: {', '.join(missing)}"
        problems.insert(0, text)
    return outputs, problems


def _read_runs(results: ResultFolder, annotation: Annotation, paths: list[Path]) -> tuple[list[np.ndarray], list[str]]:
    runs, wrong = [], []
    for anchor, path in zip(annotation.anchors, paths, strict=True):
        expected = len(anchor.frames(len(annotation.boxes_xywh)))
        try:
            boxes = results.read(path, read_trajectory)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if len(boxes) != expected:
            wrong.append(f"{len(boxes)} rows for {expected} frames in {path}")
        runs.append(boxes)
    return runs, wrong


class RunSums(NamedTuple):
    """The sums over the runs of S sequences from which EAO, A and R are computed; see `Scored.combine` and `Sums`."""

    eao_numerators: np.ndarray  # (S, L) by length of a run in frames
    eao_denominators: np.ndarray  # (S, L)
    accuracy: np.ndarray  # (S, 2) numerator, denominator
    robustness: np.ndarray  # (S, 2)
    low: int  # EAO averages the expected overlap over lengths from low to high, exclusive, frames
    high: int

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns A, R and EAO, per cent, (B,) each, for (B, S) weights."""
        return {
            "A": 100 * weighted_ratio(*self.accuracy.T, weights),
            "R": 100 * weighted_ratio(*self.robustness.T, weights),
            "EAO": 100 * eao(self.eao_numerators, self.eao_denominators, weights, self.low, self.high),
        }


def score_multi_start(rule: MultiStartRule, annotations: list[Annotation], outputs: list[Output]) -> Scored:
    """Returns EAO, accuracy and robustness, per cent, over all sequences and of each sequence alone.

    Raises:
        ValueError: a run has the wrong number of frames.
    """
    sums = [_sum_sequence(rule, a, output) for a, output in zip(annotations, outputs, strict=True)]
    combine = RunSums(*(np.array(part, np.float64) for part in zip(*sums, strict=True)), rule.low, rule.high)
    mean_overlap = 100 * weighted_ratio(combine.eao_numerators, combine.eao_denominators, np.ones((1, len(outputs))))[0]
    curve = Curve(list(map(float, range(1, rule.high + 1))), mean_overlap.tolist())
    return Scored(combine, combine(np.eye(len(outputs))), {"EAO": curve}, [])


def _sum_sequence(rule: MultiStartRule, annotation: Annotation, output: Output) -> Sums:
    shown = is_valid(annotation.boxes_xywh)
    truth = np.where(shown[:, None], annotation.boxes_xywh, np.nan)  # a box without a size is no target, as NaN
    runs = [
        run_overlaps(boxes, truth, anchor, annotation.size, rule.threshold, rule.grace)
        for anchor, boxes in zip(annotation.anchors, output.runs, strict=True)
    ]
    return sum_runs(runs, len(truth), rule.high)
