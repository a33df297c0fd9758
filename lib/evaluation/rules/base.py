"""The interface of a rule, which loads results of a benchmark, scores them and describes how frames count.

A benchmark of a new kind needs two files: a new file in this folder with a subclass of `Rule`, and a row in
`benchmarks.py` that uses it. docs/extending.md has a complete example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.report import Curve
from lib.evaluation.rules.curves import Metric
from lib.results.folder import ResultFolder
from lib.results.pack import COMMA, Form

OFFICIAL, STRICT, PYTRACKING, PYTRACKING_VALID = "official", "strict", "pytracking", "pytracking_valid"
PROTOCOLS = {
    OFFICIAL: "bug for bug what the benchmark's own tool does",
    STRICT: "absent and invalid frames do not count anywhere, wrong lengths are refused",
    PYTRACKING: "what pytracking's analysis does, in the newer version with its default exclude_invalid_frames=False",
    PYTRACKING_VALID: "the same with exclude_invalid_frames=True: sums are divided by the frames with a valid box",
}


class Remark(NamedTuple):
    """Something about one result that its reader should know. Remarks with the same text are reported together."""

    text: str  # continues "12 of 245 results "
    detail: str  # the sequence and what was found


class Output(NamedTuple):
    """The checked results of a tracker on one sequence of N frames. Boxes are in image pixels."""

    boxes_xywh: np.ndarray  # (N, 4); fewer rows than annotated frames if the rule allows it
    overlaps: tuple[np.ndarray, ...] = ()  # (N,) IoU with each annotated modality; empty for multi-start runs
    scores: np.ndarray | None = None  # (N,) confidence, if the rule needs it
    times: np.ndarray | None = None  # (N,) seconds, if the tracker wrote them
    rows: int = 0  # number of rows in the file, before cutting or padding
    remarks: tuple[Remark, ...] = ()
    runs: tuple[np.ndarray, ...] = ()  # (n, 4) each, in the order of tracking, for multi-start rules


class Scored(NamedTuple):
    """The scores of one tracker on S sequences, per cent."""

    # (B, S) weights of sequences → metric → (B,) scores. report.html scores a choice of sequences only for the kinds
    # that lib/report/subsets.py knows; with any other function the page has no such choice.
    combine: Callable[[np.ndarray], dict[str, np.ndarray]]
    per_sequence: dict[str, np.ndarray]  # metric → (S,)
    curves: dict[str, Curve]
    remarks: list[str]  # texts for the report


class Rule(ABC):
    """Base class of the rules, which load, score and describe results. Subclasses are frozen dataclasses."""

    every: ClassVar[int] = 1  # every n-th frame is annotated, starting with the first
    needs_size: ClassVar[bool] = False  # annotations should have the image size, if images are available
    needs_anchors: ClassVar[bool] = False  # annotations must have anchors

    @abstractmethod
    def load(
        self, benchmark: Benchmark, annotations: list[Annotation], results: ResultFolder
    ) -> tuple[dict[str, Output], list[str]]:
        """Loads the results of one tracker.

        `loading.load_outputs` implements this for one result file per sequence.

        Returns:
            Sequence → Output for all valid results; and a text for each problem with the others.

        Raises:
            ValueError: the folder contains no result of this benchmark.
        """

    @abstractmethod
    def score(self, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
        """Scores one tracker. Every frame is measured once.

        `Scored.combine` returns the scores for any weights of the sequences. It is used for the headline scores (all
        weights 1), for attributes (1 for sequences with the attribute) and for the bootstrap (number of draws).

        Raises:
            ValueError: a sequence cannot be scored.
        """

    @abstractmethod
    def notes(self) -> list[str]:
        """Returns a description of the rule for reports, one text per line."""

    @abstractmethod
    def under(self, protocol: str, benchmark: Benchmark) -> Benchmark:
        """Returns the benchmark with the rule, and possibly the metrics, of a protocol other than the official one.

        Raises:
            ValueError: this kind of benchmark has no such protocol.
        """


class Benchmark(NamedTuple):
    """A row of BENCHMARKS: data set, rule, metrics and number of sequences."""

    name: str
    dataset: str  # a row of DATASETS
    sequences: int  # number of sequences of the benchmark
    rule: Rule
    metrics: dict[str, Metric | None]  # columns of the table, the last one ranks; None: computed by the rule
    verified: bool  # whether published figures have been reproduced
    evidence: str  # how it was verified, as text
    protocol: str = OFFICIAL
    attributes: tuple[str, ...] = ()  # names of its attributes, in the order of their flags
    form: Form = COMMA  # form of the result files that its tool reads

    def under(self, protocol: str) -> Benchmark:
        """Returns this benchmark with the rules of a protocol. Only the official protocol has been verified.

        Raises:
            ValueError: the protocol is unknown or not available for this kind of benchmark.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol '{protocol}'; known: {', '.join(PROTOCOLS)}")
        if protocol == OFFICIAL:
            return self
        evidence = f"Protocol {protocol}: {PROTOCOLS[protocol]}."
        return self.rule.under(protocol, self._replace(protocol=protocol, verified=False, evidence=evidence))
