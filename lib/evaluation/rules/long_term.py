"""Long-term evaluation of boxes with confidences: precision, recall and F-measure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lib.evaluation import metrics
from lib.evaluation.annotations import Annotation
from lib.evaluation.loading import ReadOptions, load_outputs
from lib.evaluation.report import Curve
from lib.evaluation.rules.base import PYTRACKING, PYTRACKING_VALID, Benchmark, Output, Rule, Scored
from lib.evaluation.rules.one_pass import under_pytracking
from lib.evaluation.vot_measures import long_term_frames
from lib.results.folder import ResultFolder
from lib.utils.boxes import is_valid

LONG_TERM = {"Pr": None, "Re": None, "F": None}  # metrics


@dataclass(frozen=True)
class LongTermRule(Rule):
    """The rule of long-term tracking (Lukezic et al.): precision and recall over confidence thresholds.

    As in the VOT toolkit, they are averaged over sequences at each threshold. Pr, Re and F are the values at the
    threshold with the largest F; of equal values the first counts. A frame is reported if its confidence (any number)
    is at least the threshold; a frame with the confidence NaN is never reported.
    """

    resolution: int = 100  # number of confidence thresholds
    pixel_masks: bool = True  # overlap of pixel masks, clipped to the image if its size is known, as the toolkit
    skip_first_frame: bool = False  # the initial frame does not count
    needs_size = True

    def load(
        self, benchmark: Benchmark, annotations: list[Annotation], results: ResultFolder
    ) -> tuple[dict[str, Output], list[str]]:
        """Loads one result file and one file of confidences per sequence, see `Rule.load`. Raises ValueError."""
        return load_outputs(benchmark, annotations, results, ReadOptions(with_scores=True))

    def score(self, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
        """Returns Pr, Re and F at the best threshold, see `Rule.score`. Raises ValueError as `score_long_term`."""
        return score_long_term(self, benchmark, annotations, outputs)

    def under(self, protocol: str, benchmark: Benchmark) -> Benchmark:
        """Returns the benchmark under a protocol, see `Rule.under`."""
        if protocol in (PYTRACKING, PYTRACKING_VALID):
            return under_pytracking(benchmark, protocol)
        return benchmark._replace(rule=replace(self, pixel_masks=False, skip_first_frame=True))

    def notes(self) -> list[str]:
        """Returns a description of the rule for reports, one text per line."""
        return [
            f"Pr and Re at the best F over {self.resolution} confidence thresholds, from the scores of all sequences.",
            "First frame: left out of Pr and Re."
            if self.skip_first_frame
            else "First frame: counted as the result file has it (a given box with a confidence is a hit).",
            "Absent frames (annotated as NaN or as a box without a size): a box there lowers Pr; Re leaves them out.",
            "Results of another length than the annotation are refused.",
            "Overlap of boxes drawn as pixel masks, as the VOT toolkit does; cut to the image where its size is known."
            if self.pixel_masks
            else "Overlap of whole boxes, neither drawn nor cut to the image.",
        ]


class PrecisionRecall(NamedTuple):
    """Precision and recall of S sequences at T confidence thresholds, (S, T) each, per cent; see `Scored.combine`."""

    precision: np.ndarray
    recall: np.ndarray

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns Pr, Re and F, per cent, (B,) each, for (B, S) weights: the values at the threshold of the best F."""
        total = weights.sum(axis=1, keepdims=True)
        means = weights @ self.precision / total, weights @ self.recall / total
        f = metrics.f_measure(*means)
        best = np.argmax(f, axis=1)[:, None]
        return {
            name: np.take_along_axis(part, best, axis=1)[:, 0]
            for name, part in zip(("Pr", "Re", "F"), (*means, f), strict=True)
        }


def score_long_term(
    rule: LongTermRule, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]
) -> Scored:
    """Returns Pr, Re and F, per cent, at the threshold with the best F.

    Raises:
        ValueError: the target of a sequence is never visible, so that recall is undefined.
    """
    first = int(rule.skip_first_frame)
    scores = [output.scores[first:] for output in outputs]
    thresholds = metrics.confidence_thresholds(np.concatenate(scores), rule.resolution)
    pairs = []
    for annotation, output, confidence in zip(annotations, outputs, scores, strict=True):
        overlap, visible = _measure(rule, annotation, output)
        overlap, visible = overlap[first:], visible[first:]
        if not visible.any():
            raise ValueError(f"{benchmark.name}/{annotation.name}: the target is never visible, so recall is undefined")
        pairs.append(metrics.precision_recall(overlap, confidence, visible, thresholds))
    precision, recall = 100 * np.array(pairs).transpose(1, 0, 2)  # (S, T) each

    equal = np.ones(len(annotations)) / len(annotations)
    curve = equal @ recall, equal @ precision
    best = int(np.argmax(metrics.f_measure(*curve)))
    columns = precision[:, best], recall[:, best], metrics.f_measure(precision, recall)[:, best]
    per_sequence = dict(zip(("Pr", "Re", "F"), columns, strict=True))
    curves = {"F": Curve(curve[0].tolist(), curve[1].tolist())}
    return Scored(PrecisionRecall(precision, recall), per_sequence, curves, [])


def _measure(rule: LongTermRule, annotation: Annotation, output: Output) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N,) overlap, 0 for a box in a frame without target, and (N,) bool whether the target is visible."""
    truth = annotation.boxes_xywh
    visible = annotation.visible & is_valid(truth)
    if rule.pixel_masks:
        return long_term_frames(output.boxes_xywh, np.where(visible[:, None], truth, np.nan), annotation.size)
    return np.where(visible, output.overlaps[0], 0.0), visible
