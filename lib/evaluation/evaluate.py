"""Raw results + annotations → Report.

Every tracker's files are read and checked first; whatever is missing or does not fit is listed in one error. Then a
scorer, chosen by the kind of the benchmark's rule, turns frames into curves and curves into scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.evaluation import metrics
from lib.evaluation.annotations import Annotation
from lib.evaluation.benchmarks import (
    CENTRE_ERROR,
    NORMALISED_ERROR,
    OVERLAP,
    Benchmark,
    LongTermRule,
    Metric,
    ScoringRule,
)
from lib.evaluation.report import Curve, Report, TrackerScores
from lib.evaluation.results import find_companion, find_result, read_boxes, read_numbers, read_record
from lib.utils.boxes import iou_xywh, is_valid


class Output(NamedTuple):
    """What a tracker left behind for one sequence, checked to fit its annotation."""

    boxes_xywh: np.ndarray  # (N, 4); fewer where the rule allows short results
    scores: np.ndarray | None  # (N,) confidence, where the rule needs it
    times: np.ndarray | None  # (N,) seconds, where the tracker left them


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
        metrics=tuple(benchmark.metrics),
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
    frames, boxes = len(annotation.boxes_xywh), read_boxes(path, rule.round_corners)
    too_short = len(boxes) < frames and not (rule.allow_short_results and len(boxes))
    if too_short or (len(boxes) > frames and not rule.cut_long_results):
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
    rule, scores, curves = benchmark.rule, {}, {}
    remarks = _short_results(annotations, outputs)
    per_sequence = {annotation.name: {} for annotation in annotations}
    quantities = [frame_quantities(rule, a, output.boxes_xywh) for a, output in zip(annotations, outputs, strict=True)]
    for name, metric in benchmark.metrics.items():
        points = 100 * np.stack([curve_of(metric, values[metric.quantity]) for values in quantities])
        counted = points.any(axis=1) | (not rule.drop_zero_curves)
        if not counted.all():
            left_out = [a.name for a, kept in zip(annotations, counted, strict=True) if not kept]
            remarks.append(f"{name} leaves out {len(left_out)} whose whole curve is 0: {', '.join(left_out)}.")
        frames = np.array([len(output.boxes_xywh) if rule.pool_frames else 1 for output in outputs]) * counted
        mean = frames @ points / max(1, frames.sum())
        scores[name] = float(read_score(metric, mean))
        curves[name] = Curve(list(metric.thresholds), mean.tolist(), metric.score_at)
        for annotation, value in zip(annotations, read_score(metric, points).tolist(), strict=True):
            per_sequence[annotation.name][name] = value
    return TrackerScores(scores, per_sequence, curves, frames_per_second(outputs)), remarks


def _short_results(annotations: list[Annotation], outputs: list[Output]) -> list[str]:
    lengths = [(a.name, len(o.boxes_xywh), len(a.boxes_xywh)) for a, o in zip(annotations, outputs, strict=True)]
    short = [f"{name} ({rows} of {frames})" for name, rows, frames in lengths if rows < frames]
    return [f"scored on the frames that it has: {', '.join(short)}."] if short else []


def curve_of(metric: Metric, values: np.ndarray) -> np.ndarray:
    """(N,) of one quantity → (T,) share of frames that count at each threshold."""
    if metric.quantity == OVERLAP:
        return metrics.success_curve(values, metric.thresholds)
    return metrics.precision_curve(values, metric.thresholds, metric.below)


def read_score(metric: Metric, curve: np.ndarray) -> np.ndarray:
    """(..., T) → (...): the score that a curve stands for."""
    if metric.score_at is not None:
        return curve[..., metric.thresholds.index(metric.score_at)]
    if not metric.area:
        return curve.mean(axis=-1)
    widths = np.diff(metric.thresholds)
    return (curve[..., 1:] + curve[..., :-1]) / 2 @ widths


def frame_quantities(rule: ScoringRule, annotation: Annotation, results_xywh: np.ndarray) -> dict[str, np.ndarray]:
    """Overlap and errors of every frame, (N,) each, with the rule's stand-ins where the annotation is no box."""
    boxes = np.array(results_xywh, np.float64)
    if rule.replace_first_row:
        boxes[0] = annotation.boxes_xywh[0]
    if rule.repair_rows:
        boxes = metrics.repair_rows(boxes)
    first = _against(rule, annotation.boxes_xywh[: len(boxes)], annotation.visible[: len(boxes)], boxes)
    if not rule.better_of_two or annotation.aux_boxes_xywh is None:
        return first
    second = _against(rule, annotation.aux_boxes_xywh[: len(boxes)], annotation.visible[: len(boxes)], boxes)
    better = {OVERLAP: np.maximum, CENTRE_ERROR: np.minimum, NORMALISED_ERROR: np.minimum}
    return {name: better[name](first[name], second[name]) for name in first}


def _against(rule: ScoringRule, truth: np.ndarray, visible: np.ndarray, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """The quantities of every frame against one annotation."""
    valid = is_valid(truth) & ((truth[:, :2] > 0).all(axis=1) | (not rule.positive_position))
    absent = ~visible & rule.absent_is_miss
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
