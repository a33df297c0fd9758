"""The kinds of rules by which benchmarks count, as data, and the metrics that are read from their curves.

A rule is read by one scorer (`scorers.py`); no code asks for a benchmark's name.
"""

from __future__ import annotations

from dataclasses import dataclass
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
# 0:0.02:1 from both ends, as above.
GTOT_OVERLAPS = tuple(t * 0.02 if t <= 25 else 1 - (50 - t) * 0.02 for t in range(51))
PIXELS = tuple(float(t) for t in range(51))

PRECISION = Metric(CENTRE_ERROR, PIXELS, score_at=20.0)
NORMALISED = Metric(NORMALISED_ERROR, tuple(t / 100 for t in range(51)), score_at=0.2)  # parts of the target's size
SUCCESS = Metric(OVERLAP, OVERLAP_THRESHOLDS, score_at=None)
OP50 = SUCCESS._replace(score_at=OVERLAP_THRESHOLDS[10])
OP75 = SUCCESS._replace(score_at=OVERLAP_THRESHOLDS[15])
ONE_PASS = {"PR": PRECISION, "NPR": NORMALISED, "OP50": OP50, "OP75": OP75, "SR": SUCCESS}
SUCCESS_ALONE = {"OP50": OP50, "OP75": OP75, "SR": SUCCESS}
BEST_OF_BOTH = {"MPR": PRECISION, "MSR": SUCCESS}
GTOT_METRICS = {
    "MPR": Metric(CENTRE_ERROR, PIXELS, score_at=5.0, below=True),
    "MSR": Metric(OVERLAP, GTOT_OVERLAPS, score_at=None, area=True),
}
LONG_TERM = {"Pr": None, "Re": None, "F": None}
MULTI_START = {"A": None, "R": None, "EAO": None}


@dataclass(frozen=True)
class ScoringRule:
    """How a one-pass evaluation counts frames. The defaults are what the MATLAB toolkits descending from LaSOT's do."""

    replace_first_row: bool = True  # the result's first row becomes the annotation
    repair_rows: bool = True  # a result row that is no box takes the row before it
    cut_long_results: bool = True  # rows beyond the last annotated frame are dropped; False: they are an error
    allow_short_results: bool = False  # frames beyond the last result row are left out; False: they are an error
    pad_short_results: bool = False  # frames beyond the last result row have the box 0 0 0 0
    every: int = 1  # one frame in so many is annotated, from the first on
    better_of_two: bool = False  # two annotations: per frame the larger overlap and the smaller error
    round_corners: bool = False  # results given as four corners are rounded to whole pixels, halves away from zero
    pool_frames: bool = False  # the curve of all frames together; False: one per sequence, averaged over sequences
    positive_position: bool = True  # an annotation is also invalid where x <= 0 or y <= 0, not only without a size
    # What stands in where the annotation is invalid. An error of -1 lies below every threshold, so the frame is a hit.
    invalid_overlap: float = -1.0
    invalid_centre_error: float = -1.0
    invalid_normalised_error: float = -1.0
    absent_is_miss: bool = False  # frames labelled absent are misses in every metric; False: the label is not used
    leave_out_invalid: bool = False  # frames that are labelled absent or whose annotation is invalid do not count
    drop_zero_curves: bool = False  # a sequence whose whole curve is 0 is left out of the mean over sequences
    needs_scores = False

    def notes(self) -> list[str]:
        """The rule in words, for reports."""
        return [*self._notes_on_frames(), *self._notes_on_lengths(), *self._notes_on_means()]

    def _notes_on_frames(self) -> list[str]:
        first = "replaced by the annotation" if self.replace_first_row else "scored as it is"
        broken = "takes the row before it" if self.repair_rows else "is a miss"
        sizes = "x, y, width or height" if self.positive_position else "width or height"
        notes = [f"First frame: {first}. A result row that is no box {broken}."]
        if self.leave_out_invalid:
            return [*notes, f"Frames labelled absent or whose annotated {sizes} is not positive do not count at all."]
        counts = {True: "a hit", False: "a miss"}
        notes.append(
            f"Invalid annotation ({sizes} is not positive): {counts[self.invalid_overlap >= 0]} in SR, "
            f"{counts[self.invalid_centre_error <= 0]} in PR, {counts[self.invalid_normalised_error <= 0]} in NPR."
        )
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


@dataclass(frozen=True)
class LongTermRule:
    """How long-term tracking is scored (Lukezic et al.): precision and recall over confidence thresholds.

    Per sequence, then averaged over sequences at each threshold, as the VOT toolkit does; Pr, Re and F are those of the
    threshold with the largest F, the first of several. A frame is reported if its confidence (any number) reaches the
    threshold; NaN never does.
    """

    resolution: int = 100  # number of confidence thresholds
    pixel_masks: bool = True  # boxes are drawn as masks and cut to the image, where its size is known, as the toolkit
    skip_first_frame: bool = False  # the frame whose box is given counts neither in Pr nor in Re
    cut_long_results = allow_short_results = pad_short_results = better_of_two = round_corners = False
    every = 1
    needs_scores = True

    def notes(self) -> list[str]:
        """The rule in words, for reports."""
        return [
            f"Pr and Re at the best F over {self.resolution} confidence thresholds, from the scores of all sequences.",
            "First frame: left out of Pr and Re."
            if self.skip_first_frame
            else "First frame: counted as the result file has it (a given box with a confidence is a hit).",
            "Absent frames: a box reported there lowers Pr; Re leaves them out.",
            "Results of another length than the annotation are refused.",
            "Overlap of boxes drawn as pixel masks, as the VOT toolkit does; cut to the image where its size is known."
            if self.pixel_masks
            else "Overlap of whole boxes, neither drawn nor cut to the image.",
        ]


@dataclass(frozen=True)
class MultiStartRule:
    """How the VOT challenge scores short-term tracking since 2020: runs from anchors on, forwards or backwards."""

    low: int = 115  # EAO averages the expected overlap over these lengths, frames
    high: int = 755
    threshold: float = 0.1
    grace: int = 10
    cut_long_results = allow_short_results = pad_short_results = better_of_two = round_corners = False
    every = 1
    needs_scores = False

    def notes(self) -> list[str]:
        """The rule in words, for reports."""
        return [
            f"EAO: expected average overlap of runs from all anchors, over {self.low} to {self.high} frames.",
            f"A run fails at the first of {self.grace} frames in a row with an overlap of at most {self.threshold}.",
            "A: mean overlap until failure. R: share of frames until it, sequences weighted by their length.",
            "First frame: left out of EAO; in A it counts with an overlap of 0, as the VOT toolkit has it.",
            "Absent frames: no failure starts or goes on there. Runs of another length than their frames are refused.",
            "Overlap of boxes drawn as pixel masks, cut to the image where its size is known.",
        ]


Rule = ScoringRule | LongTermRule | MultiStartRule
