"""BENCHMARKS: what is scored, and by which rules. A rule is data: one scorer reads it, and no code asks for a name.

To add a benchmark, add its row to BENCHMARKS. If it counts in a new way, add a field to the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

OVERLAP, CENTRE_ERROR, NORMALISED_ERROR = "overlap", "centre_error", "normalised_error"


class Metric(NamedTuple):
    """One number, read from the curve of one per-frame quantity over thresholds."""

    quantity: str  # OVERLAP counts frames strictly above a threshold, the errors count frames at or below it
    thresholds: tuple[float, ...]
    score_at: float | None  # the threshold whose value is the score; None: the plain mean over all thresholds


# 0:0.05:1 to the last bit as MATLAB builds it, from both ends: overlaps of integer boxes do lie on these thresholds.
OVERLAP_THRESHOLDS = tuple(t * 0.05 if t <= 10 else 1 - (20 - t) * 0.05 for t in range(21))

METRICS = {
    "PR": Metric(CENTRE_ERROR, tuple(float(t) for t in range(51)), score_at=20.0),  # pixels
    "NPR": Metric(NORMALISED_ERROR, tuple(t / 100 for t in range(51)), score_at=0.2),  # parts of the target's size
    "SR": Metric(OVERLAP, OVERLAP_THRESHOLDS, score_at=None),
}


@dataclass(frozen=True)
class ScoringRule:
    """How a one-pass evaluation counts frames. Curves are taken per sequence, then averaged over sequences.

    The defaults are what the MATLAB toolkits descending from LaSOT's do.
    """

    replace_first_row: bool = True  # the result's first row becomes the annotation
    repair_rows: bool = True  # a result row that is no box takes the row before it
    cut_long_results: bool = True  # rows beyond the last annotated frame are dropped; False: they are an error
    positive_position: bool = True  # an annotation is also invalid where x <= 0 or y <= 0, not only without a size
    # What stands in where the annotation is invalid. An error of -1 lies below every threshold, so the frame is a hit.
    invalid_overlap: float = -1.0
    invalid_centre_error: float = -1.0
    invalid_normalised_error: float = -1.0
    absent_is_miss: bool = False  # frames labelled absent are misses in every metric; False: the label is not used
    drop_zero_curves: bool = False  # a sequence whose whole curve is 0 is left out of the mean over sequences
    needs_scores = False

    def notes(self) -> list[str]:
        """The rule in words, for reports."""
        first = "replaced by the annotation" if self.replace_first_row else "scored as it is"
        broken = "takes the row before it" if self.repair_rows else "is a miss"
        sizes = "x, y, width or height" if self.positive_position else "width or height"
        counts = {True: "a hit", False: "a miss"}
        notes = [
            f"First frame: {first}. A result row that is no box {broken}.",
            f"Invalid annotation ({sizes} is not positive): {counts[self.invalid_overlap >= 0]} in SR, "
            f"{counts[self.invalid_centre_error <= 0]} in PR, {counts[self.invalid_normalised_error <= 0]} in NPR.",
            "Absent frames: a miss in every metric, and they stay in the divisor."
            if self.absent_is_miss
            else "Absent frames: the label is not used; they count as their annotated box does.",
        ]
        if self.cut_long_results:
            notes.append("Result rows beyond the last annotated frame are dropped.")
        if self.drop_zero_curves:
            notes.append("A sequence whose whole curve is 0 is left out of that metric's mean.")
        return notes


@dataclass(frozen=True)
class LongTermRule:
    """How long-term tracking is scored (Lukezic et al.): precision and recall over confidence thresholds.

    Per sequence, then averaged over sequences at each threshold, as the VOT toolkit does; Pr, Re and F are those of the
    threshold with the largest F, the first of several. Every frame counts, the first too: a file with the given box and
    a confidence scores it, the toolkit's own code for "initialised" does not. A frame is reported if its confidence
    (any number) reaches the threshold; NaN never does. Unlike the toolkit, which knows the images, boxes are neither
    drawn as masks nor cut to the image.
    """

    resolution: int = 100  # number of confidence thresholds
    cut_long_results: bool = False
    needs_scores = True

    def notes(self) -> list[str]:
        """The rule in words, for reports."""
        return [
            f"Pr and Re at the best F over {self.resolution} confidence thresholds, from the scores of all sequences.",
            "First frame: counted as the result file has it.",
            "Absent frames: a box reported there lowers Pr; Re leaves them out.",
            "Overlap of whole boxes: the VOT toolkit draws them as pixel masks and cuts them to the image first.",
        ]


class Benchmark(NamedTuple):
    """What is scored and how."""

    name: str
    dataset: str  # a row of DATASETS
    sequences: int  # in the whole benchmark
    rule: ScoringRule | LongTermRule
    metrics: tuple[str, ...]  # columns of the table, the one that ranks trackers last
    verified: bool  # whether published figures have been reproduced
    evidence: str  # by what, in words


LASHER = Benchmark(
    name="LasHeR",
    dataset="LasHeR",
    sequences=245,
    rule=ScoringRule(),
    metrics=("PR", "NPR", "SR"),
    verified=True,
    evidence="Verified: reproduces the published figures of APFNet, MTNet, SGT and mfDiMP from their raw results.",
)
VISEVENT = Benchmark(
    name="VisEvent",
    dataset="VisEvent",
    sequences=320,
    rule=ScoringRule(absent_is_miss=True, drop_zero_curves=True),
    metrics=("PR", "NPR", "SR"),
    verified=False,
    evidence="Not verified against published figures: agrees with an independent computation of CEUTrack's 172 videos.",
)
DEPTHTRACK = Benchmark(
    name="DepthTrack",
    dataset="DepthTrack",
    sequences=50,
    rule=LongTermRule(),
    metrics=("Pr", "Re", "F"),
    verified=False,
    evidence="Not verified against published figures: no raw result with its annotation was at hand.",
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in (LASHER, VISEVENT, DEPTHTRACK)}
