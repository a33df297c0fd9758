"""Raw results + annotations → Report.

Every tracker's files are read and checked first; whatever is missing or does not fit is listed in one error. Then a
scorer, chosen by the kind of the benchmark's rule, turns frames into curves and curves into scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lib.evaluation import metrics
from lib.evaluation.benchmarks import (
    CENTRE_ERROR,
    METRICS,
    NORMALISED_ERROR,
    OVERLAP,
    Benchmark,
    LongTermRule,
    ScoringRule,
)
from lib.evaluation.report import Curve, Report, TrackerScores
from lib.evaluation.results import find_companion, find_result, read_boxes, read_numbers, read_record
from lib.utils.boxes import iou_xywh, is_valid

if TYPE_CHECKING:
    from lib.data.sequence import Sequence


@dataclass(frozen=True, eq=False)
class Annotation:
    """The ground truth of one sequence."""

    name: str
    boxes_xywh: np.ndarray  # (N, 4) float64, exactly as the data set stores them: rules look at zeros and NaN
    visible: np.ndarray  # (N,) bool; False where the target is labelled absent


class Output(NamedTuple):
    """What a tracker left behind for one sequence, checked to fit its annotation."""

    boxes_xywh: np.ndarray  # (N, 4)
    scores: np.ndarray | None  # (N,) confidence, where the rule needs it
    times: np.ndarray | None  # (N,) seconds, where the tracker left them


def annotations_from_folder(folder: Path) -> list[Annotation]:
    """Reads `<sequence>.txt` files, or `gt_rect/` and `absent/` (1 = absent) as VisEvent's evaluation code keeps them.

    Without absence labels a target is visible where its box is valid.

    Raises:
        FileNotFoundError: no such file in the folder. ValueError: a broken file, or labels that do not fit the boxes.
    """
    folder = Path(folder)
    labels = folder / "absent" if (folder / "gt_rect").is_dir() else None
    paths = sorted((folder / "gt_rect" if labels else folder).glob("*.txt"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no annotation, expected <sequence>.txt files, or gt_rect/ and absent/")
    annotations = []
    for path in paths:
        boxes = read_boxes(path)
        if not len(boxes):
            raise ValueError(f"{path}: no box")
        visible = read_numbers(labels / path.name) == 0 if labels else is_valid(boxes)
        if len(visible) != len(boxes):
            raise ValueError(f"{labels / path.name}: {len(visible)} labels for {len(boxes)} boxes")
        annotations.append(Annotation(path.stem, boxes, visible))
    return annotations


def annotations_from_sequences(sequences: Iterable[Sequence]) -> list[Annotation]:
    """Takes name, boxes and visibility from `Sequence`s; pixels are not read."""
    return [Annotation(sequence.name, sequence.boxes_xywh, sequence.visible) for sequence in sequences]


def evaluate(
    benchmark: Benchmark,
    annotations: list[Annotation],
    results: dict[str, Path],
    allow_missing: bool = False,
    source: str = "",
) -> Report:
    """Scores one or several trackers on a benchmark.

    Args:
        source: what the data are, if not the benchmark's own, e.g. "synthetic data"; stands in every title.
        results: tracker's name → folder of its raw results.
        allow_missing: score the sequences for which every tracker has a result that fits, and say so in the report.

    Raises:
        ValueError: results that are missing, too short or too long, all listed in one message; a file that cannot be
            read; a folder without any result of this benchmark.
    """
    outputs, problems = {}, []
    for tracker, folder in results.items():
        outputs[tracker], found = load_outputs(benchmark, annotations, tracker, Path(folder))
        problems += found
    if problems and not allow_missing:
        raise ValueError(f"{benchmark.name}: results are missing or do not fit: {'; '.join(problems)}")
    scored = [annotation for annotation in annotations if all(annotation.name in o for o in outputs.values())]
    if not results or not scored:
        reason = "; ".join(problems) or f"{len(results)} trackers, {len(annotations)} annotated sequences"
        raise ValueError(f"{benchmark.name}: nothing to score: {reason}")
    trackers, notes = {}, [benchmark.evidence, *benchmark.rule.notes(), FPS_NOTE]
    for tracker, tracked in outputs.items():
        rows = [tracked[annotation.name] for annotation in scored]
        trackers[tracker], remarks = SCORERS[type(benchmark.rule)](benchmark, scored, rows)
        notes += [f"{tracker}: {remark}" for remark in remarks]
    return Report(
        benchmark=benchmark.name,
        source=source,
        metrics=benchmark.metrics,
        sequences=len(scored),
        all_sequences=max(benchmark.sequences, len(annotations)),
        verified=benchmark.verified,
        notes=tuple(notes),
        missing=tuple(problems),
        trackers=trackers,
    )


def load_outputs(
    benchmark: Benchmark, annotations: list[Annotation], tracker: str, folder: Path
) -> tuple[dict[str, Output], list[str]]:
    """Reads a tracker's results: sequence → Output for those that fit, and what is wrong with the others."""
    if not folder.is_dir():
        raise ValueError(f"{tracker}: no result folder {folder}")
    names = {annotation.name for annotation in annotations}
    paths = {annotation.name: find_result(folder, annotation.name, names) for annotation in annotations}
    if annotations and not any(paths.values()):
        raise ValueError(
            f"{tracker}: {folder} holds no result of {benchmark.name}'s {len(names)} sequences, expected for example "
            f"{annotations[0].name}.txt"
        )
    missing = sorted(name for name, path in paths.items() if path is None)
    outputs, problems = {}, []
    runs = {entry["fingerprint"] for name, entry in read_record(folder).items() if paths.get(name)}
    if len(runs) > 1:
        raise ValueError(
            f"{tracker}: {folder} mixes results of {len(runs)} runs (other weights or settings): test it again"
        )
    if missing:
        problems.append(f"{tracker}: no file in {folder} for {len(missing)} of {len(names)}: {', '.join(missing)}")
    for annotation in annotations:
        if path := paths[annotation.name]:
            output, problem = load_output(benchmark.rule, annotation, path)
            if problem:
                problems.append(f"{tracker}/{annotation.name}: {problem}")
            else:
                outputs[annotation.name] = output
    return outputs, problems


def load_output(rule: ScoringRule | LongTermRule, annotation: Annotation, path: Path) -> tuple[Output | None, str]:
    """Reads one sequence's files: (Output, "") or (None, what is wrong)."""
    frames, boxes = len(annotation.boxes_xywh), read_boxes(path)
    if len(boxes) < frames or (len(boxes) > frames and not rule.cut_long_results):
        return None, f"{len(boxes)} rows for {frames} frames in {path}"
    scores = None
    if rule.needs_scores:
        companion = find_companion(path, "_score")
        if companion is None:
            return None, f"no confidence file beside {path}"
        scores = read_numbers(companion)
        if len(scores) != frames:
            return None, f"{len(scores)} rows for {frames} frames in {companion}"
    companion = find_companion(path, "_time")
    return Output(boxes[:frames], scores, read_numbers(companion) if companion else None), ""


def score_frames(
    benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]
) -> tuple[TrackerScores, list[str]]:
    """One-pass evaluation: curves per sequence, their mean over sequences; with remarks for the report."""
    rule, scores, curves, remarks = benchmark.rule, {}, {}, []
    per_sequence = {annotation.name: {} for annotation in annotations}
    quantities = [frame_quantities(rule, a, output.boxes_xywh) for a, output in zip(annotations, outputs, strict=True)]
    for name in benchmark.metrics:
        metric = METRICS[name]
        curve = metrics.success_curve if metric.quantity == OVERLAP else metrics.precision_curve
        points = 100 * np.stack([curve(values[metric.quantity], metric.thresholds) for values in quantities])
        column = slice(None) if metric.score_at is None else [metric.thresholds.index(metric.score_at)]
        counted = points.any(axis=1) | (not rule.drop_zero_curves)
        if not counted.all():
            left_out = [a.name for a, kept in zip(annotations, counted, strict=True) if not kept]
            remarks.append(f"{name} leaves out {len(left_out)} whose whole curve is 0: {', '.join(left_out)}.")
        mean = points[counted].mean(axis=0) if counted.any() else np.zeros(points.shape[1])
        scores[name] = float(mean[column].mean())
        curves[name] = Curve(list(metric.thresholds), mean.tolist())
        for annotation, value in zip(annotations, points[:, column].mean(axis=1).tolist(), strict=True):
            per_sequence[annotation.name][name] = value
    return TrackerScores(scores, per_sequence, curves, frames_per_second(outputs)), remarks


def frame_quantities(rule: ScoringRule, annotation: Annotation, results_xywh: np.ndarray) -> dict[str, np.ndarray]:
    """Overlap and errors of every frame, (N,) each, with the rule's stand-ins where the annotation is no box."""
    truth, boxes = annotation.boxes_xywh, np.array(results_xywh, np.float64)
    if rule.replace_first_row:
        boxes[0] = truth[0]
    if rule.repair_rows:
        boxes = metrics.repair_rows(boxes)
    valid = is_valid(truth) & ((truth[:, :2] > 0).all(axis=1) | (not rule.positive_position))
    absent = ~annotation.visible & rule.absent_is_miss
    measured = {
        OVERLAP: (iou_xywh(boxes, truth), rule.invalid_overlap, -1.0),
        CENTRE_ERROR: (metrics.centre_errors(boxes, truth), rule.invalid_centre_error, np.inf),
        NORMALISED_ERROR: (metrics.normalised_errors(boxes, truth), rule.invalid_normalised_error, np.inf),
    }
    return {name: np.where(absent, miss, np.where(valid, v, invalid)) for name, (v, invalid, miss) in measured.items()}


def score_long_term(
    benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]
) -> tuple[TrackerScores, list[str]]:
    """Long-term evaluation: Pr, Re and F at the threshold of the best F; no remarks.

    Raises:
        ValueError: a sequence in which the target never shows has no recall.
    """
    thresholds = metrics.confidence_thresholds(np.concatenate([o.scores for o in outputs]), benchmark.rule.resolution)
    pairs = []
    for annotation, output in zip(annotations, outputs, strict=True):
        seen = annotation.visible & is_valid(annotation.boxes_xywh)
        if not seen.any():
            raise ValueError(f"{benchmark.name}/{annotation.name}: the target is never visible, so recall is undefined")
        overlap = np.where(seen, iou_xywh(output.boxes_xywh, annotation.boxes_xywh), 0.0)
        pairs.append(metrics.precision_recall(overlap, output.scores, seen, thresholds))
    precision, recall = 100 * np.array(pairs).transpose(1, 0, 2)  # (sequences, thresholds) each
    mean_precision, mean_recall = precision.mean(axis=0), recall.mean(axis=0)
    f = metrics.f_measure(mean_precision, mean_recall)
    best = int(np.argmax(f))
    scores = {"Pr": float(mean_precision[best]), "Re": float(mean_recall[best]), "F": float(f[best])}
    columns = precision[:, best], recall[:, best], metrics.f_measure(precision, recall)[:, best]
    per_sequence = {
        annotation.name: dict(zip(scores, values, strict=True))
        for annotation, values in zip(annotations, np.stack(columns, axis=1).tolist(), strict=True)
    }
    curves = {"F": Curve(mean_recall.tolist(), mean_precision.tolist())}
    return TrackerScores(scores, per_sequence, curves, frames_per_second(outputs)), []


FPS_NOTE = "FPS: of the tracker's own time as its files give it; processes that share a machine slow each other down."
SCORERS = {ScoringRule: score_frames, LongTermRule: score_long_term}


def frames_per_second(outputs: list[Output]) -> float | None:
    """Frames over seconds, of all sequences together, without each first frame: it initialises the tracker."""
    measured = (output.times[~np.isnan(output.times)] for output in outputs if output.times is not None)
    times = [times[1:] for times in measured]
    seconds = np.concatenate(times) if times else np.zeros(0)
    return float(len(seconds) / seconds.sum()) if seconds.sum() > 0 else None
