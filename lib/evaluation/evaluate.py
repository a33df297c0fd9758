"""Computes a Report from raw results and annotations.

First, the files of every tracker are read and checked; one error lists everything that is missing or does not fit. Then
the rule of the benchmark computes scores.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.data.drop import Drop
from lib.evaluation.annotations import Annotation
from lib.evaluation.attributes import load_attributes
from lib.evaluation.checks import first_box_warning, report_remarks
from lib.evaluation.loading import check_annotations
from lib.evaluation.report import Report, TrackerScores
from lib.evaluation.rules.base import OFFICIAL, PROTOCOLS, Benchmark, Output, Scored
from lib.evaluation.statistics import compare, interval, resampled_weights
from lib.evaluation.truth import Truth
from lib.results.folder import ResultFolder
from lib.utils.texts import shorten

FPS_NOTE = "FPS: of the tracker's own time as its files give it; processes that share a machine slow each other down."
MEAN_NOTE = (
    "PR is the precision at 20 pixels; PR mean is the mean of the precision curve, which the benchmark's published "
    "toolkit prints. Papers give either."
)
BOOTSTRAP_NOTE = "Intervals and comparisons: bootstrap over sequences, 2,000 resamples, the same ones for all trackers."


class Results(NamedTuple):
    """The results to score: the sequences for which every tracker has a valid result."""

    annotations: list[Annotation]
    outputs: dict[str, list[Output]]  # tracker → one output per annotation
    problems: list[str]  # results that are missing or do not fit, as text
    annotated: int  # number of sequences with an annotation
    drops: dict[str, Drop | None]  # tracker → images that were withheld; None: no image


class Evaluation(NamedTuple):
    """The scores of one protocol, and what they were computed from. S sequences have been scored."""

    report: Report
    results: Results
    scored: dict[str, Scored]  # tracker → scores of each sequence, and how they combine
    flags: dict[str, np.ndarray]  # attribute → (S,) bool, whether a sequence has it; at least one has


def evaluate_protocols(
    benchmarks: list[Benchmark],
    truth: Truth,
    folders: dict[str, Path],
    allow_missing: bool = False,
    attributes: Path | None = None,
) -> list[Evaluation]:
    """Scores trackers under several protocols, all over the same sequences. Each file is read once.

    The first report has all scores. With `allow_missing`, a sequence that one protocol refuses is left out of all.
    Otherwise a tracker is left out of a protocol that refuses one of its results, and protocols that refuse something
    come last. The first one must accept everything.

    Args:
        benchmarks: a benchmark under each protocol, see `Benchmark.under`.
        folders: name of the tracker → folder of its raw results.
        allow_missing: score only the sequences for which every tracker has a valid result.
        attributes: folder of attribute flags; None: search for it in the folder of the annotations.

    Raises:
        ValueError: as `load_results`, for the first protocol; or flags are invalid.
        FileNotFoundError: `attributes` contains no flags.
    """
    results = {tracker: ResultFolder(tracker, folder) for tracker, folder in folders.items()}
    found = [find_outputs(benchmark, truth.annotations, results) for benchmark in benchmarks]
    refused = {}  # protocol → why it or one of its trackers has no scores
    if allow_missing:
        for number in range(1, len(found)):
            empty = [tracker for tracker, outputs in found[number].outputs.items() if not outputs]
            texts = [text for tracker in empty for text in found[number].problems[tracker]]
            if empty:
                protocol = benchmarks[number].protocol
                refused[protocol] = f"Protocol {protocol} refuses all of {', '.join(empty)}: {shorten(texts, '; ')}."
                found[number] = found[number].without(empty)
        found = share_sequences(benchmarks, found)
    else:
        order = sorted(range(len(found)), key=lambda number: found[number].count_problems() > 0)
        benchmarks, found = [benchmarks[number] for number in order], [found[number] for number in order]
        for benchmark, one in zip(benchmarks[1:], found[1:], strict=True):
            if problems := [text for tracker in one.problems.values() for text in tracker]:
                refused[benchmark.protocol] = f"Protocol {benchmark.protocol} refuses: {shorten(problems, '; ')}."
        found = [found[0], *(one.without([t for t in one.outputs if one.problems[t]]) for one in found[1:])]
    evaluations = []
    for benchmark, one in zip(benchmarks, found, strict=True):
        if evaluations and not one.outputs:
            continue
        chosen = select_results(benchmark, truth.annotations, results, one, allow_missing)
        flags = load_attributes(benchmark, [a.name for a in chosen.annotations], attributes, truth.folder)
        evaluations.append(score_results(benchmark, chosen, truth.source, flags))
    first = evaluations[0].report.with_beside([other.report for other in evaluations[1:]], tuple(refused.values()))
    return [evaluations[0]._replace(report=first), *evaluations[1:]]


def evaluate(
    benchmark: Benchmark,
    annotations: list[Annotation],
    results: dict[str, Path],
    allow_missing: bool = False,
    source: str = "",
    attributes: dict[str, np.ndarray] | None = None,
) -> Report:
    """Scores trackers on a benchmark under one protocol: `load_results`, then `score_results`.

    Args:
        results: name of the tracker → folder of its raw results.
        allow_missing, source: see `load_results` and `score_results`.
        attributes: attribute → (S,) bool, whether each of the S annotated sequences has it.

    Raises:
        ValueError: as `load_results`, or a sequence cannot be scored.
    """
    folders = {tracker: ResultFolder(tracker, folder) for tracker, folder in results.items()}
    loaded = load_results(benchmark, annotations, folders, allow_missing)
    if attributes:
        kept = [annotations.index(annotation) for annotation in loaded.annotations]
        attributes = {name: flags[kept] for name, flags in attributes.items()}
    return score_results(benchmark, loaded, source, attributes or {}).report


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

    def count_problems(self) -> int:
        """Returns the number of problems of all trackers."""
        return sum(len(texts) for texts in self.problems.values())

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


def share_sequences(benchmarks: list[Benchmark], found: list[Found]) -> list[Found]:
    """Restricts the results of several protocols to the sequences that all of them accept for all trackers."""
    everything = {name for one in found for outputs in one.outputs.values() for name in outputs}
    accepted = [everything.intersection(*map(set, one.outputs.values())) for one in found]
    common = set.intersection(*accepted)
    restricted = []
    for number, one in enumerate(found):
        fallen = {
            name: other.protocol
            for other, names in zip(benchmarks, accepted, strict=True)
            for name in sorted(accepted[number] - names)
        }
        texts = [f"{name} (protocol {protocol})" for name, protocol in fallen.items()]
        reason = f"left out because another protocol refuses it: {shorten(texts)}" if texts else ""
        restricted.append(one.restricted(common, reason))
    return restricted


def select_results(
    benchmark: Benchmark,
    annotations: list[Annotation],
    results: dict[str, ResultFolder],
    found: Found,
    allow_missing: bool,
) -> Results:
    """Returns the results to score. Raises ValueError as `load_results`."""
    problems = [text for texts in found.problems.values() for text in texts]
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


def score_results(
    benchmark: Benchmark, results: Results, source: str = "", attributes: dict[str, np.ndarray] | None = None
) -> Evaluation:
    """Scores loaded results.

    Args:
        source: kind of the data, if not the benchmark's own, e.g. "synthetic data"; part of every title.
        attributes: attribute → (S,) bool, whether each of the S sequences has it.

    Raises:
        ValueError: a sequence cannot be scored, e.g. because its target is never visible.
    """
    attributes = {name: flags for name, flags in (attributes or {}).items() if flags.any()}
    weights = resampled_weights(len(results.annotations))
    notes = [f"Protocol {benchmark.protocol}: {PROTOCOLS[benchmark.protocol]}.", benchmark.evidence]
    notes += [MEAN_NOTE] if "PR mean" in benchmark.metrics else []
    notes += [*benchmark.rule.notes(), FPS_NOTE, BOOTSTRAP_NOTE]
    all_scored = {
        tracker: benchmark.rule.score(benchmark, results.annotations, outputs)
        for tracker, outputs in results.outputs.items()
    }
    within = attribute_intervals(all_scored, attributes)
    trackers, samples, warnings = {}, {}, []
    for tracker, scored in all_scored.items():
        resampled = scored.combine(weights) if len(results.annotations) > 1 else {}
        samples[tracker] = resampled.get(list(benchmark.metrics)[-1])
        scores = _tracker_scores(results, scored, resampled, attributes, tracker)
        trackers[tracker] = replace(scores, attribute_intervals=within[tracker])
        notes += [f"{tracker}: {remark}" for remark in scored.remarks]
        outputs = results.outputs[tracker]
        found = [first_box_warning(results.annotations, outputs), *report_remarks(outputs)]
        warnings += [f"{tracker}: {text}." for text in found if text]
    report = Report(
        benchmark=benchmark.name,
        source=source,
        metrics=tuple(benchmark.metrics),
        sequences=len(results.annotations),
        all_sequences=max(benchmark.sequences, results.annotated),
        verified=benchmark.verified,
        notes=tuple(notes),
        missing=tuple(results.problems),
        trackers=trackers,
        protocol=benchmark.protocol,
        warnings=tuple(warnings),
        attributes={name: int(flags.sum()) for name, flags in attributes.items()},
    )
    if len(results.annotations) > 1 and len(trackers) > 1:
        ranking = report.metrics[-1]
        scores = {name: trackers[name].scores[ranking] for name in report.ranked(ranking)}
        report = report.with_comparisons(compare(scores, samples))
    return Evaluation(report, results, all_scored, attributes)


def attribute_intervals(
    scored: dict[str, Scored], attributes: dict[str, np.ndarray]
) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Returns tracker → attribute → metric → 95 % interval, per cent: the sequences with the attribute are resampled.

    The interval is the one of a report on these sequences alone. Attributes of a single sequence have none.

    Args:
        attributes: attribute → (S,) bool.
    """
    found = {tracker: {} for tracker in scored}
    for name, flags in attributes.items():
        if (count := int(flags.sum())) < 2:
            continue
        drawn = resampled_weights(count)
        weights = np.zeros((len(drawn), len(flags)))
        weights[:, flags] = drawn
        for tracker, each in scored.items():
            found[tracker][name] = {metric: interval(values) for metric, values in each.combine(weights).items()}
    return found


def _tracker_scores(
    results: Results,
    scored: Scored,
    resampled: dict[str, np.ndarray],
    attributes: dict[str, np.ndarray],
    tracker: str,
) -> TrackerScores:
    names = [annotation.name for annotation in results.annotations]
    subsets = np.array([np.ones(len(names)), *attributes.values()], np.float64)
    # A score without a counted sequence is 0, as in the toolkits.
    combined = {metric: np.nan_to_num(values).tolist() for metric, values in scored.combine(subsets).items()}
    columns = {metric: values.tolist() for metric, values in scored.per_sequence.items()}
    return TrackerScores(
        scores={metric: values[0] for metric, values in combined.items()},
        per_sequence={name: {m: values[i] for m, values in columns.items()} for i, name in enumerate(names)},
        curves=scored.curves,
        fps=frames_per_second(results.outputs[tracker]),
        intervals={metric: interval(values) for metric, values in resampled.items()},
        attributes={
            name: {metric: values[index] for metric, values in combined.items()}
            for index, name in enumerate(attributes, start=1)
        },
        drop=results.drops[tracker],
    )


def overlap_traces(results: Results) -> dict[str, dict[str, np.ndarray]]:
    """Returns tracker → sequence → (N,) float32 overlap of every frame in [0, 1]; NaN if the target is absent.

    The overlap is the IoU of the annotation with the box in the result file, before a rule changes it. If both
    modalities are annotated, it is the larger IoU. The dictionary is empty for multi-start results.
    """
    if any(not output.overlaps for outputs in results.outputs.values() for output in outputs):
        return {}
    return {
        tracker: {a.name: _trace(a, output) for a, output in zip(results.annotations, outputs, strict=True)}
        for tracker, outputs in results.outputs.items()
    }


def _trace(annotation: Annotation, output: Output) -> np.ndarray:
    trace = np.full(len(annotation.boxes_xywh), np.nan, np.float32)
    trace[: len(output.boxes_xywh)] = np.maximum.reduce(output.overlaps)
    trace[~annotation.visible] = np.nan
    return trace


def frames_per_second(outputs: list[Output]) -> float | None:
    """Returns frames per second over all sequences, without the first frames (initialisation); None without times."""
    measured = (output.times[~np.isnan(output.times)] for output in outputs if output.times is not None)
    times = [times[1:] for times in measured]
    seconds = np.concatenate(times) if times else np.zeros(0)
    return float(len(seconds) / seconds.sum()) if seconds.sum() > 0 else None
