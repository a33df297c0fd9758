"""One-pass evaluation: a tracker runs once from the first frame; curves of overlaps and centre errors.

The rule consists of data: each field is a difference between published toolkits. No code depends on the name of a
benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lib.evaluation import metrics
from lib.evaluation.annotations import Annotation
from lib.evaluation.loading import ReadOptions, load_outputs
from lib.evaluation.report import Curve
from lib.evaluation.rules.base import PYTRACKING, PYTRACKING_VALID, Benchmark, Output, Rule, Scored
from lib.evaluation.rules.curves import (
    CENTRE_ERROR,
    NORMALISED_ERROR,
    ONE_PASS,
    OVERLAP,
    Metric,
    curve_of,
    read_score,
)
from lib.results.folder import ResultFolder
from lib.utils.boxes import iou_xywh, is_valid


@dataclass(frozen=True)
class OnePassRule(Rule):
    """The rule of one-pass evaluation. The defaults are those of the MATLAB toolkits derived from LaSOT's toolkit.

    Overlaps are in [0, 1], centre errors in pixels, normalised errors relative to the target's size.
    """

    replace_first_row: bool = True  # replace the first row of the result by the annotation
    repair_rows: bool = True  # replace an invalid result row by the row before it
    refuse_broken_rows: bool = False  # result rows with NaN or a negative size: error; without a size: row before it
    cut_long_results: bool = True  # ignore rows after the last annotated frame; False: error
    allow_short_results: bool = False  # ignore frames after the last result row; False: error
    pad_short_results: bool = False  # use the box 0 0 0 0 for frames after the last result row
    every: int = 1  # every n-th frame is annotated, starting with the first
    better_of_two: bool = False  # with two annotations, use the larger overlap and the smaller error of each frame
    round_corners: bool = False  # round results given as four corners to integer pixels, halves away from zero
    pool_frames: bool = False  # one curve over all frames; False: mean of the curves of all sequences
    positive_position: bool = True  # annotations with x <= 0 or y <= 0 are invalid, not only those without a size
    # The value of a frame whose annotation is invalid. An error of -1 is below every threshold: the frame is a hit.
    invalid_overlap: float = -1.0
    invalid_centre_error: float = -1.0
    invalid_normalised_error: float = -1.0
    absent_is_miss: bool = False  # frames labelled absent are misses in every metric; False: ignore the label
    divide_by_valid: bool = False  # divide the counted frames by the number of frames with a valid annotation
    leave_out_invalid: bool = False  # do not count frames that are labelled absent or have an invalid annotation
    drop_zero_curves: bool = False  # exclude sequences whose complete curve is 0 from the mean

    def load(
        self, benchmark: Benchmark, annotations: list[Annotation], results: ResultFolder
    ) -> tuple[dict[str, Output], list[str]]:
        """Loads one result file per sequence, see `Rule.load`. Raises ValueError as `load_outputs`."""
        options = ReadOptions(
            self.cut_long_results, self.allow_short_results, self.pad_short_results, self.round_corners
        )
        outputs, problems = load_outputs(benchmark, annotations, results, options)
        if self.refuse_broken_rows:
            for name, row in {name: _broken_row(output) for name, output in outputs.items()}.items():
                if row is not None:
                    box = " ".join(f"{value:g}" for value in outputs.pop(name).boxes_xywh[row])
                    problems.append(f"{results.tracker}/{name}: row {row + 1} is {box}; pytracking accepts no such row")
        return outputs, problems

    def score(self, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
        """Returns curves per sequence and their mean over sequences, per cent, see `Rule.score`."""
        return score_frames(self, benchmark, annotations, outputs)

    def under(self, protocol: str, benchmark: Benchmark) -> Benchmark:
        """Returns the benchmark under a protocol, see `Rule.under`."""
        if protocol in (PYTRACKING, PYTRACKING_VALID):
            return under_pytracking(benchmark, protocol)
        rule = replace(
            self,
            leave_out_invalid=True,
            positive_position=False,  # a target at the image border is present; only boxes without a size are invalid
            cut_long_results=False,
            allow_short_results=False,
            drop_zero_curves=False,
        )
        return benchmark._replace(rule=rule)

    def notes(self) -> list[str]:
        """Returns a description of the rule for reports, one text per line."""
        return [*self._notes_on_frames(), *self._notes_on_lengths(), *self._notes_on_means()]

    def _notes_on_frames(self) -> list[str]:
        first = "replaced by the annotation" if self.replace_first_row else "scored as it is"
        broken = "takes the row before it" if self.repair_rows else "is a miss"
        if self.refuse_broken_rows:
            broken = "takes the row before it if its size is 0 and is refused if it has NaN or a negative size"
        sizes = "x, y, width or height" if self.positive_position else "width or height"
        notes = [f"First frame: {first}. A result row that is no box {broken}."]
        if self.leave_out_invalid:
            return [*notes, f"Frames labelled absent or whose annotated {sizes} is not positive do not count at all."]
        counts = {True: "a hit", False: "a miss"}
        notes.append(
            f"Invalid annotation ({sizes} is not positive): {counts[self.invalid_overlap >= 0]} in SR, "
            f"{counts[self.invalid_centre_error <= 0]} in PR, {counts[self.invalid_normalised_error <= 0]} in NPR."
        )
        if self.divide_by_valid:
            notes.append("The counted frames are divided by those with a valid annotation: NPR can exceed 100.")
        notes.append(
            "Absent frames: a miss in every metric, and they stay in the divisor."
            if self.absent_is_miss
            else "Absent frames: the label is not used; they count as their annotated box does."
        )
        return notes

    def _notes_on_lengths(self) -> list[str]:
        notes = []
        if self.every > 1:
            notes.append(f"Of every {self.every} frames the first is annotated and counts.")
        if self.allow_short_results:
            notes.append("A result that is too short is scored on the frames that it has.")
        elif self.pad_short_results:
            notes.append("Frames that a result is too short for have the box 0 0 0 0.")
        else:
            notes.append("A result that is too short is refused.")
        notes.append(
            "Result rows beyond the last annotated frame are dropped."
            if self.cut_long_results
            else "A result that is too long is refused."
        )
        return notes

    def _notes_on_means(self) -> list[str]:
        notes = [
            "Curves over the frames of all sequences together."
            if self.pool_frames
            else "Curves per sequence, averaged over sequences."
        ]
        if self.better_of_two:
            notes.append("Both modalities are annotated: per frame the larger overlap and the smaller error count.")
        if self.round_corners:
            notes.append("Results given as four corners are rounded to whole pixels.")
        if self.drop_zero_curves:
            notes.append("A sequence whose whole curve is 0 is left out of that metric's mean.")
        return notes


# Toolkits derived from LaSOT's toolkit count invalid frames as hits in PR; the others use every annotation unchanged.
PLAIN = OnePassRule(
    replace_first_row=False, repair_rows=False, positive_position=False, invalid_centre_error=float("inf")
)
PYTRACKING_RULE = replace(PLAIN, replace_first_row=True, refuse_broken_rows=True, pad_short_results=True)


def under_pytracking(benchmark: Benchmark, protocol: str) -> Benchmark:
    """Returns a benchmark of any kind with pytracking's rule: one pass, the annotation of RGB, five metrics."""
    by_valid = protocol == PYTRACKING_VALID
    rule = replace(PYTRACKING_RULE, every=benchmark.rule.every, divide_by_valid=by_valid)
    return benchmark._replace(rule=rule, metrics=ONE_PASS)


class CurveMeans(NamedTuple):
    """Scores as weighted means over S sequences; see `Scored.combine`."""

    metrics: dict[str, Metric]
    frames: np.ndarray  # (S,) number of frames that count
    points: dict[str, np.ndarray]  # metric → (S, T) curves, per cent
    values: dict[str, np.ndarray]  # metric → (S,) scores, per cent
    shares: dict[str, np.ndarray]  # metric → (S,) weight of each sequence in the mean; 0: left out

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the scores, per cent, metric → (B,), for (B, S) weights; NaN if no sequence counts."""
        parts = np.stack([*(self.shares[m] * self.values[m] for m in self.values), *self.shares.values()], axis=1)
        sums = (weights @ parts).T
        return {name: ratio(*pair) for name, *pair in zip(self.values, sums, sums[len(self.values) :], strict=False)}


def score_frames(
    rule: OnePassRule, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]
) -> Scored:
    """Returns the scores of a one-pass evaluation, per cent: curves of each sequence and their mean over sequences."""
    quantities = [frame_quantities(rule, a, output) for a, output in zip(annotations, outputs, strict=True)]
    counts = [len(values[OVERLAP]) for values in quantities]
    divisors = [np.count_nonzero(is_valid(a.boxes_xywh)) for a in annotations] if rule.divide_by_valid else counts
    frames, scale = np.array(divisors), np.array(counts) / np.maximum(divisors, 1)
    remarks = [*_length_remarks(rule, annotations, outputs), *_box_remarks(outputs)]
    remarks += _empty_remarks(annotations, frames)
    values, shares, curves, computed, all_points = {}, {}, {}, {}, {}
    for name, metric in benchmark.metrics.items():
        source = metric._replace(score_at=None, area=False)  # several metrics use the same curve
        if source not in computed:
            curves_of_all = np.stack([curve_of(metric, v[metric.quantity]) for v in quantities])
            computed[source] = 100 * scale[:, None] * curves_of_all
        points = all_points[name] = computed[source]
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

    return Scored(CurveMeans(benchmark.metrics, frames, all_points, values, shares), values, curves, remarks)


def _broken_row(output: Output) -> int | None:
    """Returns the index of the first row with NaN or a negative size; None if there is none."""
    boxes = output.boxes_xywh
    broken = np.isnan(boxes).any(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    broken[:1] &= ~np.isnan(boxes[:1]).all(axis=1)  # the VOT toolkit's code for the given box
    return int(np.argmax(broken)) if broken.any() else None


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Divides elementwise, for arrays of equal shape; NaN if the denominator is not positive."""
    return np.divide(numerators, denominators, out=np.full(np.shape(numerators), np.nan), where=denominators > 0)


def _length_remarks(rule: OnePassRule, annotations: list[Annotation], outputs: list[Output]) -> list[str]:
    """Lists results that differ in length from their annotation, because they were cut or padded."""
    short, long = [], []
    for annotation, output in zip(annotations, outputs, strict=True):
        frames, rows = len(annotation.boxes_xywh), len(annotation.select(np.arange(output.rows), rule.every))
        if rows != frames:
            (short if rows < frames else long).append(f"{annotation.name} ({rows} of {frames})")
    return [f"too {word}: {', '.join(names)}." for word, names in (("short", short), ("long", long)) if names]


def _box_remarks(outputs: list[Output]) -> list[str]:
    """Counts invalid rows, which the rule replaces or counts as misses."""
    counts = [int(np.count_nonzero(~is_valid(output.boxes_xywh))) for output in outputs]
    found = [count for count in counts if count]
    return [f"{sum(found)} rows in {len(found)} results are no box."] if found else []


def _empty_remarks(annotations: list[Annotation], frames: np.ndarray) -> list[str]:
    empty = [a.name for a, n in zip(annotations, frames, strict=True) if n == 0]
    return [f"{len(empty)} left out because no frame counts: {', '.join(empty)}."] if empty else []


def frame_quantities(rule: OnePassRule, annotation: Annotation, output: Output) -> dict[str, np.ndarray]:
    """Returns overlap and errors of all frames that count, (n,) each by quantity.

    A frame with an invalid annotation has the value that the rule defines.
    """
    boxes = np.array(output.boxes_xywh, np.float64)
    if np.isnan(boxes[0]).all():  # the VOT toolkit's code for the given box
        boxes[0] = annotation.boxes_xywh[0]
    if rule.refuse_broken_rows:
        rows = len(annotation.select(np.arange(output.rows), rule.every))
        boxes = metrics.repair_empty_rows(boxes, rows, annotation.boxes_xywh)
    if rule.replace_first_row:
        boxes[0] = annotation.boxes_xywh[0]
    if rule.repair_rows:
        boxes = metrics.repair_rows(boxes)
    visible = annotation.visible[: len(boxes)]

    def compare(truth: np.ndarray, overlaps: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        truth = truth[: len(boxes)]
        return _quantities(rule, truth, visible, boxes, repaired_overlaps(output.boxes_xywh, overlaps, boxes, truth))

    first, counts = compare(annotation.boxes_xywh, output.overlaps[0])
    if rule.better_of_two and annotation.aux_boxes_xywh is not None:
        second, second_counts = compare(annotation.aux_boxes_xywh, output.overlaps[1])
        better = {OVERLAP: np.maximum, CENTRE_ERROR: np.minimum, NORMALISED_ERROR: np.minimum}
        first, counts = {name: better[name](first[name], second[name]) for name in first}, counts & second_counts
    return {name: values[counts] for name, values in first.items()}


def repaired_overlaps(
    given_xywh: np.ndarray, overlaps: np.ndarray, repaired_xywh: np.ndarray, truth_xywh: np.ndarray
) -> np.ndarray:
    """Returns the (N,) overlaps of repaired boxes. Computes only rows that the repair has changed.

    Args:
        given_xywh: (N, 4) boxes of the tracker.
        overlaps: (N,) overlaps of these boxes.
        repaired_xywh, truth_xywh: (N, 4).
    """
    both_missing = np.isnan(given_xywh) & np.isnan(repaired_xywh)
    changed = ((given_xywh != repaired_xywh) & ~both_missing).any(axis=1)
    if not changed.any():
        return overlaps
    overlaps = overlaps.copy()
    overlaps[changed] = iou_xywh(repaired_xywh[changed], truth_xywh[changed])
    return overlaps


def _quantities(
    rule: OnePassRule, truth: np.ndarray, visible: np.ndarray, boxes: np.ndarray, overlaps: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the quantities of every frame for one annotation, and (N,) bool whether each frame counts."""
    valid = is_valid(truth) & ((truth[:, :2] > 0).all(axis=1) | (not rule.positive_position))
    absent = ~visible & rule.absent_is_miss
    measured = {
        OVERLAP: (overlaps, rule.invalid_overlap, -1.0),
        CENTRE_ERROR: (metrics.centre_errors(boxes, truth), rule.invalid_centre_error, np.inf),
        NORMALISED_ERROR: (metrics.normalised_errors(boxes, truth), rule.invalid_normalised_error, np.inf),
    }
    quantities = {
        name: np.where(absent, miss, np.where(valid, values, invalid))
        for name, (values, invalid, miss) in measured.items()
    }
    return quantities, (valid & visible) | (not rule.leave_out_invalid)
