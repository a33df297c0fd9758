"""Reads the results of all trackers under one or several protocols, and selects those that are scored."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from lib.data.drop import AnyDrop
from lib.evaluation.annotations import Annotation
from lib.evaluation.loading import check_annotations
from lib.evaluation.rules.base import OFFICIAL, Benchmark, Output
from lib.results.folder import ResultFolder
from lib.utils.texts import shorten


class Results(NamedTuple):
    """The results to score: the sequences for which every tracker has a valid result."""

    annotations: list[Annotation]
    outputs: dict[str, list[Output]]  # tracker → one output per annotation
    problems: list[str]  # results that are missing or do not fit, as text
    annotated: int  # number of sequences with an annotation
    drops: dict[str, AnyDrop | None]  # tracker → images that were withheld; None: no image


def load_results(
    benchmark: Benchmark, annotations: list[Annotation], results: dict[str, ResultFolder], allow_missing: bool = False
) -> Results:
    """Reads and checks every tracker's files.

    Args:
        allow_missing: use the sequences for which every tracker has a valid result, instead of raising an error.

    Raises:
        ValueError: results are missing, too short, too long or invalid (one message lists all); a folder has no result
            of this benchmark; or the annotations belong to a different benchmark.
    """
    return select_results(benchmark, annotations, results, find_outputs(benchmark, annotations, results), allow_missing)


class Found(NamedTuple):
    """The results of all trackers that one protocol accepts, and what it refuses."""

    outputs: dict[str, dict[str, Output]]  # tracker → sequence → output
    problems: dict[str, list[str]]  # tracker → results that are missing or do not fit, as text

    def texts(self, trackers: Collection[str]) -> list[str]:
        """Returns the problems of some trackers."""
        return [text for tracker in trackers for text in self.problems[tracker]]

    def without(self, trackers: Collection[str]) -> Found:
        """Returns the other trackers."""
        return Found(*({t: value for t, value in part.items() if t not in trackers} for part in self))

    def restricted(self, names: Collection[str], reason: str) -> Found:
        """Returns the outputs of some sequences. `reason` is a problem of the first tracker, if it is not empty."""
        outputs = {tracker: {n: o for n, o in one.items() if n in names} for tracker, one in self.outputs.items()}
        problems = {tracker: list(texts) for tracker, texts in self.problems.items()}
        if reason and problems:
            next(iter(problems.values())).append(reason)
        return Found(outputs, problems)


def find_outputs(benchmark: Benchmark, annotations: list[Annotation], results: dict[str, ResultFolder]) -> Found:
    """Reads and checks every tracker's files, see `load_results`.

    Raises:
        ValueError: a folder has no result of this benchmark, or the annotations belong to a different benchmark.
    """
    check_annotations(benchmark, annotations)
    loaded = {tracker: benchmark.rule.load(benchmark, annotations, folder) for tracker, folder in results.items()}
    return Found({t: outputs for t, (outputs, _) in loaded.items()}, {t: texts for t, (_, texts) in loaded.items()})


def keep_accepted(benchmarks: list[Benchmark], found: list[Found]) -> tuple[list[Benchmark], list[Found], list[str]]:
    """Leaves a tracker out of a protocol that refuses one of its results; the first protocol refuses nothing, if any.

    Returns:
        The protocols, those that refuse something last; what they accept; and a text for each that refuses something.
    """
    pairs = sorted(zip(benchmarks, found, strict=True), key=lambda pair: any(pair[1].problems.values()))
    kept, refused = [pairs[0][1]], []
    for benchmark, one in pairs[1:]:
        broken = [tracker for tracker, texts in one.problems.items() if texts]
        kept.append(one.without(broken))
        if broken:
            refused.append(f"Protocol {benchmark.protocol} refuses: {shorten(one.texts(broken), '; ')}.")
    return [benchmark for benchmark, _ in pairs], kept, refused


def share_sequences(benchmarks: list[Benchmark], found: list[Found]) -> tuple[list[Found], list[str]]:
    """Restricts the results of several protocols to the sequences that all of them accept for all trackers.

    A tracker of which a protocol, other than the first, accepts nothing is left out of this protocol.

    Returns:
        What the protocols accept, and a text for each that leaves out a tracker.
    """
    kept, refused = [found[0]], []
    for benchmark, one in zip(benchmarks[1:], found[1:], strict=True):
        empty = [tracker for tracker, outputs in one.outputs.items() if not outputs]
        kept.append(one.without(empty))
        if empty:
            why = shorten(one.texts(empty), "; ")
            refused.append(f"Protocol {benchmark.protocol} refuses all of {', '.join(empty)}: {why}.")
    everything = {name for one in kept for outputs in one.outputs.values() for name in outputs}
    accepted = [everything.intersection(*map(set, one.outputs.values())) for one in kept]
    common = set.intersection(*accepted)
    restricted = []
    for one, own in zip(kept, accepted, strict=True):
        fallen = {
            name: other.protocol
            for other, names in zip(benchmarks, accepted, strict=True)
            for name in sorted(own - names)
        }
        texts = [f"{name} (protocol {protocol})" for name, protocol in fallen.items()]
        reason = f"left out because another protocol refuses it: {shorten(texts)}" if texts else ""
        restricted.append(one.restricted(common, reason))
    return restricted, refused


def select_results(
    benchmark: Benchmark,
    annotations: list[Annotation],
    results: dict[str, ResultFolder],
    found: Found,
    allow_missing: bool,
) -> Results:
    """Returns the results to score. Raises ValueError as `load_results`."""
    problems = found.texts(found.problems)
    if problems and not allow_missing:
        rules = "" if benchmark.protocol == OFFICIAL else f" (protocol {benchmark.protocol})"
        raise ValueError(
            f"{benchmark.name}{rules}: results are missing or do not fit: {shorten(problems, '; ')}; "
            "--allow-missing scores the sequences that all trackers have"
        )
    scored = [a for a in annotations if all(a.name in outputs for outputs in found.outputs.values())]
    if not found.outputs or not scored:
        reason = shorten(problems, "; ") or f"{len(results)} trackers, {len(annotations)} annotated sequences"
        raise ValueError(f"{benchmark.name}: nothing to score: {reason}")
    outputs = {tracker: [tracked[a.name] for a in scored] for tracker, tracked in found.outputs.items()}
    drops = {tracker: results[tracker].drop for tracker in outputs}
    return Results(scored, outputs, problems, len(annotations), drops)
