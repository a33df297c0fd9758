"""What a rule is: it loads a benchmark's results, scores them, and says in words how it counts.

A benchmark of a new kind needs two files: one beside this one, with a class that extends `Rule`, and `benchmarks.py`,
with a row that uses it. docs/extending.md has a complete example.
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

OFFICIAL, STRICT, PYTRACKING = "official", "strict", "pytracking"
PROTOCOLS = {
    OFFICIAL: "bug for bug what the benchmark's own tool does",
    STRICT: "absent and invalid frames do not count anywhere, wrong lengths are refused",
    PYTRACKING: "what pytracking's analysis does, and OSTrack's after it",
}


class Output(NamedTuple):
    """A tracker's results on one sequence, checked to fit its annotation."""

    boxes_xywh: np.ndarray  # (N, 4); fewer than annotated frames where the rule allows short results
    overlaps: tuple[np.ndarray, ...] = ()  # (N,) IoU with each annotation of the sequence; empty: not one box a frame
    scores: np.ndarray | None = None  # (N,) confidence, where the rule needs it
    times: np.ndarray | None = None  # (N,) seconds, where the tracker wrote them
    rows: int = 0  # in the file, before it was cut or padded
    runs: tuple[np.ndarray, ...] = ()  # (n, 4) each, in the order of tracking, where the rule has several starts


class Scored(NamedTuple):
    """One tracker's scores on S sequences, per cent."""

    combine: Callable[[np.ndarray], dict[str, np.ndarray]]  # (B, S) weights of sequences → metric → (B,) scores
    per_sequence: dict[str, np.ndarray]  # metric → (S,)
    curves: dict[str, Curve]
    remarks: list[str]  # for the report


class Rule(ABC):
    """How one kind of benchmark loads, scores and describes results. Subclasses are frozen dataclasses: data first."""

    every: ClassVar[int] = 1  # one frame in so many is annotated, from the first on
    needs_size: ClassVar[bool] = False  # the annotations need the image size, where images are available
    needs_anchors: ClassVar[bool] = False  # the annotations need the frames at which runs start

    @abstractmethod
    def load(
        self, benchmark: Benchmark, annotations: list[Annotation], results: ResultFolder
    ) -> tuple[dict[str, Output], list[str]]:
        """Loads one tracker's results: sequence → Output for those that fit, and what is wrong with the others.

        `loading.load_outputs` does it for one result file per sequence.

        Raises:
            ValueError: the folder holds nothing of this benchmark.
        """

    @abstractmethod
    def score(self, benchmark: Benchmark, annotations: list[Annotation], outputs: list[Output]) -> Scored:
        """Scores one tracker. Measures every frame once.

        `Scored.combine` gives the scores for any weights of the sequences: headline scores (all weights 1), attributes
        (1 where a sequence has it) and the bootstrap (how often each was drawn) are that one function.
        """

    @abstractmethod
    def notes(self) -> list[str]:
        """The rule in words, for reports."""

    @abstractmethod
    def under(self, protocol: str, benchmark: Benchmark) -> Benchmark:
        """The benchmark with the rule, and if need be the metrics, of a protocol other than the official one.

        Raises:
            ValueError: this kind of benchmark has no such protocol.
        """


class Benchmark(NamedTuple):
    """What is scored and how."""

    name: str
    dataset: str  # a row of DATASETS
    sequences: int  # in the whole benchmark
    rule: Rule
    metrics: dict[str, Metric | None]  # columns of the table, the one that ranks trackers last; None: the rule's own
    verified: bool  # whether published figures have been reproduced
    evidence: str  # by what, in words
    protocol: str = OFFICIAL
    attributes: tuple[str, ...] = ()  # names of its attributes, in the order of their flags
    form: Form = COMMA  # how its own tool takes result files

    def under(self, protocol: str) -> Benchmark:
        """This benchmark with the rules of another protocol. Only the official one has been verified.

        Raises:
            ValueError: no such protocol, or none for this kind of benchmark.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol '{protocol}'; known: {', '.join(PROTOCOLS)}")
        if protocol == OFFICIAL:
            return self
        evidence = f"Protocol {protocol}: {PROTOCOLS[protocol]}."
        return self.rule.under(protocol, self._replace(protocol=protocol, verified=False, evidence=evidence))
