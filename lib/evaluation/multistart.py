"""Runs from anchors, as the VOT toolkit leaves and scores them: result folder → Outputs → EAO, A, R; see `vot.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.benchmarks import Benchmark
from lib.evaluation.report import Curve
from lib.evaluation.rules import MultiStartRule
from lib.evaluation.scorers import Output, Scored
from lib.evaluation.vot_measures import Sums, eao, run_overlaps, sum_runs, weighted_ratio
from lib.results.raw import experiment_folder
from lib.results.vot_files import find_run, read_trajectory


def load_runs(
    benchmark: Benchmark, annotations: list[Annotation], tracker: str, folder: Path
) -> tuple[dict[str, Output], list[str]]:
    """Reads a tracker's runs: sequence → Output for those that are complete, and what is wrong with the others.

    Raises:
        ValueError: no such folder, no run of any sequence in it, a sequence without anchors.
    """
    if not folder.is_dir():
        raise ValueError(f"{tracker}: no result folder {folder}")
    folder = experiment_folder(folder)
    outputs, missing, problems = {}, [], []
    for annotation in annotations:
        if not annotation.anchors:
            raise ValueError(f"{benchmark.name}/{annotation.name}: no anchor.value beside the annotation")
        paths = [find_run(folder, annotation.name, anchor) for anchor in annotation.anchors]
        lacking = [anchor.frame for anchor, path in zip(annotation.anchors, paths, strict=True) if path is None]
        if lacking:
            missing.append(f"{annotation.name} (from frames {', '.join(map(str, lacking))})")
            continue
        runs, wrong = _read_runs(annotation, paths)
        if wrong:
            problems += [f"{tracker}/{annotation.name}: {text}" for text in wrong]
        else:
            outputs[annotation.name] = Output(np.empty((0, 4)), runs=tuple(runs))
    if len(missing) == len(annotations):
        raise ValueError(
            f"{tracker}: {folder} holds no complete sequence of {benchmark.name}'s {len(annotations)}, expected for "
            f"example {annotations[0].name}/{annotations[0].name}_{annotations[0].anchors[0].frame:08d}.txt"
        )
    if missing:
        text = f"{tracker}: no run in {folder} for {len(missing)} of {len(annotations)}: {', '.join(missing)}"
        problems.insert(0, text)
    return outputs, problems


def _read_runs(annotation: Annotation, paths: list[Path]) -> tuple[list[np.ndarray], list[str]]:
    runs, wrong = [], []
    for anchor, path in zip(annotation.anchors, paths, strict=True):
        expected = len(anchor.frames(len(annotation.boxes_xywh)))
        try:
            boxes = read_trajectory(path)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if len(boxes) != expected:
            wrong.append(f"{len(boxes)} rows for {expected} frames in {path}")
        runs.append(boxes)
    return runs, wrong


def score_multi_start(benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
    """EAO, accuracy and robustness; per sequence they are those of it alone."""
    rule = benchmark.rule
    sums = [_sum_sequence(rule, a, output) for a, output in zip(annotations, outputs, strict=True)]
    numerators, denominators, accuracy, robustness = (np.array(part, np.float64) for part in zip(*sums, strict=True))

    def combine(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "A": 100 * weighted_ratio(accuracy[:, 0], accuracy[:, 1], weights),
            "R": 100 * weighted_ratio(robustness[:, 0], robustness[:, 1], weights),
            "EAO": 100 * eao(numerators, denominators, weights, rule.low, rule.high),
        }

    line = 100 * weighted_ratio(numerators, denominators, np.ones((1, len(outputs))))[0]
    curve = Curve(list(map(float, range(1, rule.high + 1))), line.tolist())
    return Scored(combine, combine(np.eye(len(outputs))), {"EAO": curve}, [])


def _sum_sequence(rule: MultiStartRule, annotation: Annotation, output: Output) -> Sums:
    truth = annotation.boxes_xywh
    runs = [
        run_overlaps(boxes, truth, anchor, annotation.size, rule.threshold, rule.grace)
        for anchor, boxes in zip(annotation.anchors, output.runs, strict=True)
    ]
    return sum_runs(runs, len(truth), rule.high)
