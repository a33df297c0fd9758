"""BENCHMARKS: what is scored, and by which rules. A rule is data: one scorer reads it, and no code asks for a name.

To add a benchmark, add its row to BENCHMARKS. If it counts in a new way, add a field to the rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

OVERLAP, CENTRE_ERROR, NORMALISED_ERROR = "overlap", "centre_error", "normalised_error"


class Metric(NamedTuple):
    """One number, read from the curve of one per-frame quantity over thresholds."""

    quantity: str  # OVERLAP counts frames strictly above a threshold, the errors count frames at or below it
    thresholds: tuple[float, ...]
    score_at: float | None  # the threshold whose value is the score; None: the mean over all thresholds
    below: bool = False  # errors count strictly below a threshold
    area: bool = False  # the mean is the area under the curve (trapezoids), not that of its points


# 0:0.05:1 to the last bit as MATLAB builds it, from both ends: overlaps of integer boxes do lie on these thresholds.
OVERLAP_THRESHOLDS = tuple(t * 0.05 if t <= 10 else 1 - (20 - t) * 0.05 for t in range(21))

PIXELS = tuple(float(t) for t in range(51))
PRECISION = Metric(CENTRE_ERROR, PIXELS, score_at=20.0)
NORMALISED = Metric(NORMALISED_ERROR, tuple(t / 100 for t in range(51)), score_at=0.2)  # parts of the target's size
SUCCESS = Metric(OVERLAP, OVERLAP_THRESHOLDS, score_at=None)
ONE_PASS = {"PR": PRECISION, "NPR": NORMALISED, "SR": SUCCESS}
BEST_OF_BOTH = {"MPR": PRECISION, "MSR": SUCCESS}
# 0:0.02:1 from both ends, as above.
GTOT_OVERLAPS = tuple(t * 0.02 if t <= 25 else 1 - (50 - t) * 0.02 for t in range(51))
GTOT_METRICS = {
    "MPR": Metric(CENTRE_ERROR, PIXELS, score_at=5.0, below=True),
    "MSR": Metric(OVERLAP, GTOT_OVERLAPS, score_at=None, area=True),
}
LONG_TERM = {"Pr": None, "Re": None, "F": None}


@dataclass(frozen=True)
class ScoringRule:
    """How a one-pass evaluation counts frames. The defaults are what the MATLAB toolkits descending from LaSOT's do."""

    replace_first_row: bool = True  # the result's first row becomes the annotation
    repair_rows: bool = True  # a result row that is no box takes the row before it
    cut_long_results: bool = True  # rows beyond the last annotated frame are dropped; False: they are an error
    allow_short_results: bool = False  # frames beyond the last result row are left out; False: they are an error
    better_of_two: bool = False  # two annotations: per frame the larger overlap and the smaller error
    round_corners: bool = False  # results given as four corners are rounded to whole pixels, halves away from zero
    pool_frames: bool = False  # the curve of all frames together; False: one per sequence, averaged over sequences
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
            "Curves over the frames of all sequences together."
            if self.pool_frames
            else "Curves per sequence, averaged over sequences.",
        ]
        if self.better_of_two:
            notes.append("Both modalities are annotated: per frame the larger overlap and the smaller error count.")
        if self.round_corners:
            notes.append("Results given as four corners are rounded to whole pixels.")
        if self.allow_short_results:
            notes.append("A result that is too short is scored on the frames that it has.")
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
    allow_short_results = better_of_two = round_corners = False
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
    metrics: dict[str, Metric | None]  # columns of the table, the one that ranks trackers last; None: the rule's own
    verified: bool  # whether published figures have been reproduced
    evidence: str  # by what, in words


LASHER = Benchmark(
    name="LasHeR",
    dataset="LasHeR",
    sequences=245,
    rule=ScoringRule(),
    metrics=ONE_PASS,
    verified=True,
    evidence="Verified: reproduces the published figures of APFNet, MTNet, SGT and mfDiMP from their raw results.",
)
VISEVENT = Benchmark(
    name="VisEvent",
    dataset="VisEvent",
    sequences=320,
    rule=ScoringRule(absent_is_miss=True, drop_zero_curves=True),
    metrics=ONE_PASS,
    verified=False,
    evidence="Not verified against published figures: agrees with an independent computation of CEUTrack's 172 videos.",
)
DEPTHTRACK = Benchmark(
    name="DepthTrack",
    dataset="DepthTrack",
    sequences=50,
    rule=LongTermRule(),
    metrics=LONG_TERM,
    verified=False,
    evidence="Not verified against published figures: no raw result with its annotation was at hand.",
)

# The toolkits that follow count every frame as it is annotated, from the first on.
PLAIN = ScoringRule(
    replace_first_row=False, repair_rows=False, positive_position=False, invalid_centre_error=float("inf")
)
RGBT234 = Benchmark(
    name="RGBT234",
    dataset="RGBT234",
    sequences=234,
    rule=replace(PLAIN, better_of_two=True, allow_short_results=True),
    metrics=BEST_OF_BOTH,
    verified=True,
    evidence="Verified: reproduces the published figures of MTNet, and ADRNet's as APFNet's authors plot them.",
)
RGBT210 = Benchmark(
    name="RGBT210",
    dataset="RGBT210",
    sequences=210,
    rule=PLAIN,
    metrics={"PR": PRECISION, "SR": SUCCESS},
    verified=False,
    evidence="Not verified against published figures: no raw result of a published row was at hand.",
)
GTOT = Benchmark(
    name="GTOT",
    dataset="GTOT",
    sequences=50,
    rule=replace(PLAIN, better_of_two=True, round_corners=True, pool_frames=True),
    metrics=GTOT_METRICS,
    verified=True,
    evidence="Verified: reproduces the published figures of ADRNet and APFNet from their raw results.",
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in (LASHER, RGBT234, RGBT210, GTOT, DEPTHTRACK, VISEVENT)}
