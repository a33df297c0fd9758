"""Computes a Report from raw results and annotations.

First, the files of every tracker are read and checked; one error lists everything that is missing or does not fit. Then
the rule of the benchmark computes scores.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.attributes import load_attributes
from lib.evaluation.checks import first_box_warning, report_remarks
from lib.evaluation.report import Report, TrackerScores
from lib.evaluation.rules.base import PROTOCOLS, Benchmark, Output, Scored
from lib.evaluation.selection import Results, find_outputs, keep_accepted, load_results, select_results, share_sequences
from lib.evaluation.statistics import compare, interval, resampled_weights
from lib.evaluation.truth import Truth
from lib.results.folder import ResultFolder

FPS_NOTE = "FPS: of the tracker's own time as its files give it; processes that share a machine slow each other down."
MEAN_NOTE = (
    "PR is the precision at 20 pixels; PR mean is the mean of the precision curve, which the benchmark's published "
    "toolkit prints. Papers give either."
)
BOOTSTRAP_NOTE = "Intervals and comparisons: bootstrap over sequences, 2,000 resamples, the same ones for all trackers."


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
    if allow_missing:
        found, refused = share_sequences(benchmarks, found)
    else:
        benchmarks, found, refused = keep_accepted(benchmarks, found)
    evaluations = []
    for benchmark, one in zip(benchmarks, found, strict=True):
        if evaluations and not one.outputs:
            continue
        chosen = select_results(benchmark, truth.annotations, results, one, allow_missing)
        flags = load_attributes(benchmark, [a.name for a in chosen.annotations], attributes, truth.folder)
        evaluations.append(score_results(benchmark, chosen, truth.source, flags))
    first = evaluations[0].report.with_beside([other.report for other in evaluations[1:]], tuple(refused))
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
    notes += [f"{tracker}: {drop.note}" for tracker, drop in results.drops.items() if drop and drop.note]
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
