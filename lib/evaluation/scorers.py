"""One tracker's results on all sequences → scores, by the kind of the benchmark's rule.

A scorer measures every frame once and hands back `combine`: scores for any weights of the sequences. Headline scores
(all weights 1), attributes (weight 1 where a sequence has it) and the bootstrap (how often each was drawn) are that one
function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib.evaluation import metrics
from lib.evaluation.annotations import Annotation
from lib.evaluation.benchmarks import Benchmark
from lib.evaluation.report import Curve
from lib.evaluation.rules import CENTRE_ERROR, NORMALISED_ERROR, OVERLAP, Metric, ScoringRule
from lib.evaluation.vot_measures import long_term_frames
from lib.utils.boxes import iou_xywh, is_valid


class Output(NamedTuple):
    """What a tracker left behind for one sequence, checked to fit its annotation."""

    boxes_xywh: np.ndarray  # (N, 4); fewer where the rule allows short results
    scores: np.ndarray | None = None  # (N,) confidence, where the rule needs it
    times: np.ndarray | None = None  # (N,) seconds, where the tracker left them
    rows: int = 0  # in the file, before it was cut or filled
    runs: tuple[np.ndarray, ...] = ()  # (n, 4) each, in the order of tracking, where the rule has several starts


class Scored(NamedTuple):
    """What one tracker reached on S sequences, per cent."""

    combine: Callable[[np.ndarray], dict[str, np.ndarray]]  # (B, S) weights of sequences → metric → (B,) scores
    per_sequence: dict[str, np.ndarray]  # metric → (S,)
    curves: dict[str, Curve]
    remarks: list[str]  # for the report


def score_frames(benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
    """One-pass evaluation: curves per sequence, their mean over sequences."""
    rule = benchmark.rule
    quantities = [frame_quantities(rule, a, output.boxes_xywh) for a, output in zip(annotations, outputs, strict=True)]
    frames = np.array([len(values[OVERLAP]) for values in quantities])
    remarks = _empty_remarks(annotations, frames)
    values, shares, curves, drawn = {}, {}, {}, {}
    for name, metric in benchmark.metrics.items():
        line = metric._replace(score_at=None, area=False)  # several metrics read the same curve
        if line not in drawn:
            drawn[line] = 100 * np.stack([curve_of(metric, v[metric.quantity]) for v in quantities])
        points = drawn[line]
        counted = (frames > 0) & (points.any(axis=1) | (not rule.drop_zero_curves))
        if not counted[frames > 0].all():
            left_out = [a.name for a, kept, n in zip(annotations, counted, frames, strict=True) if n and not kept]
            remarks.append(
                f"{name} leaves out {len(left_out)} of {len(frames)} whose whole curve is 0: {', '.join(left_out)}."
            )
        shares[name] = counted * (frames if rule.pool_frames else 1.0)
        values[name] = read_score(metric, points)
        mean = shares[name] @ points / max(1e-300, shares[name].sum())
        curves[name] = Curve(list(metric.thresholds), mean.tolist(), metric.score_at)

    def combine(weights: np.ndarray) -> dict[str, np.ndarray]:
        parts = np.stack([*(shares[name] * values[name] for name in values), *shares.values()], axis=1)
        sums = (weights @ parts).T
        return {name: ratio(*pair) for name, *pair in zip(values, sums, sums[len(values) :], strict=False)}

    return Scored(combine, values, curves, remarks)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Element by element; NaN where there is nothing to divide by."""
    return np.divide(numerators, denominators, out=np.full(np.shape(numerators), np.nan), where=denominators > 0)


def _empty_remarks(annotations: list[Annotation], frames: np.ndarray) -> list[str]:
    empty = [a.name for a, n in zip(annotations, frames, strict=True) if n == 0]
    return [f"{len(empty)} left out for want of a frame that counts: {', '.join(empty)}."] if empty else []


def curve_of(metric: Metric, values: np.ndarray) -> np.ndarray:
    """(N,) of one quantity → (T,) share of frames that count at each threshold; 0 where there is no frame."""
    if not len(values):
        return np.zeros(len(metric.thresholds))
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
    """Overlap and errors of every frame that counts, with the rule's stand-ins where the annotation is no box."""
    boxes = np.array(results_xywh, np.float64)
    if rule.replace_first_row:
        boxes[0] = annotation.boxes_xywh[0]
    if rule.repair_rows:
        boxes = metrics.repair_rows(boxes)
    visible = annotation.visible[: len(boxes)]
    first, counts = _against(rule, annotation.boxes_xywh[: len(boxes)], visible, boxes)
    if rule.better_of_two and annotation.aux_boxes_xywh is not None:
        second, counts_too = _against(rule, annotation.aux_boxes_xywh[: len(boxes)], visible, boxes)
        better = {OVERLAP: np.maximum, CENTRE_ERROR: np.minimum, NORMALISED_ERROR: np.minimum}
        first, counts = {name: better[name](first[name], second[name]) for name in first}, counts & counts_too
    return {name: values[counts] for name, values in first.items()}


def _against(
    rule: ScoringRule, truth: np.ndarray, visible: np.ndarray, boxes: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The quantities of every frame against one annotation, and which frames count."""
    valid = is_valid(truth) & ((truth[:, :2] > 0).all(axis=1) | (not rule.positive_position))
    absent = ~visible & rule.absent_is_miss
    measured = {
        OVERLAP: (iou_xywh(boxes, truth), rule.invalid_overlap, -1.0),
        CENTRE_ERROR: (metrics.centre_errors(boxes, truth), rule.invalid_centre_error, np.inf),
        NORMALISED_ERROR: (metrics.normalised_errors(boxes, truth), rule.invalid_normalised_error, np.inf),
    }
    quantities = {
        name: np.where(absent, miss, np.where(valid, values, invalid))
        for name, (values, invalid, miss) in measured.items()
    }
    return quantities, (valid & visible) | (not rule.leave_out_invalid)


def score_long_term(benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
    """Long-term evaluation: Pr, Re and F at the threshold of the best F.

    Raises:
        ValueError: a sequence in which the target never shows has no recall.
    """
    rule, first = benchmark.rule, int(benchmark.rule.skip_first_frame)
    outputs = [o._replace(boxes_xywh=o.boxes_xywh[first:], scores=o.scores[first:]) for o in outputs]
    thresholds = metrics.confidence_thresholds(np.concatenate([o.scores for o in outputs]), rule.resolution)
    pairs = []
    for annotation, output in zip(annotations, outputs, strict=True):
        truth, visible = annotation.boxes_xywh[first:], annotation.visible[first:]
        labelled_absent = ~visible & is_valid(truth)  # an annotated box without a size is a target to the toolkit
        truth = np.where(labelled_absent[:, None], np.nan, truth)
        measure = long_term_frames if rule.pixel_masks else _plain_frames
        overlap, seen = measure(output.boxes_xywh, truth, annotation.size)
        if not seen.any():
            raise ValueError(f"{benchmark.name}/{annotation.name}: the target is never visible, so recall is undefined")
        pairs.append(metrics.precision_recall(overlap, output.scores, seen, thresholds))
    precision, recall = 100 * np.array(pairs).transpose(1, 0, 2)  # (S, T) each

    def combine(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=1, keepdims=True)
        means = weights @ precision / total, weights @ recall / total
        f = metrics.f_measure(*means)
        best = np.argmax(f, axis=1)[:, None]
        return {
            name: np.take_along_axis(part, best, axis=1)[:, 0]
            for name, part in zip(("Pr", "Re", "F"), (*means, f), strict=True)
        }

    whole = np.ones(len(annotations)) / len(annotations)
    line = whole @ recall, whole @ precision
    best = int(np.argmax(metrics.f_measure(*line)))
    columns = precision[:, best], recall[:, best], metrics.f_measure(precision, recall)[:, best]
    per_sequence = dict(zip(("Pr", "Re", "F"), columns, strict=True))
    return Scored(combine, per_sequence, {"F": Curve(line[0].tolist(), line[1].tolist())}, [])


def _plain_frames(boxes: np.ndarray, truth: np.ndarray, size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """As `long_term_frames`, by whole boxes."""
    return iou_xywh(boxes, truth), is_valid(truth)
