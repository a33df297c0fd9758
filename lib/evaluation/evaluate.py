"""Raw results + annotations → Report.

Every tracker's files are read and checked first; whatever is missing or does not fit is listed in one error. Then a
scorer, chosen by the kind of the benchmark's rule, turns frames into scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.benchmarks import OFFICIAL, PROTOCOLS, Benchmark
from lib.evaluation.loading import check_annotations, load_outputs
from lib.evaluation.multistart import load_runs, score_multi_start
from lib.evaluation.report import Report, TrackerScores
from lib.evaluation.rules import LongTermRule, MultiStartRule, ScoringRule
from lib.evaluation.scorers import Output, Scored, score_frames, score_long_term
from lib.evaluation.statistics import compare, interval, resampled_weights
from lib.results.raw import read_drop
from lib.utils.boxes import iou_xywh, is_valid

FPS_NOTE = "FPS: of the tracker's own time as its files give it; processes that share a machine slow each other down."
SURE_NOTE = "Intervals and comparisons: bootstrap over sequences, 2,000 resamples, the same ones for all trackers."

LOADERS = {ScoringRule: load_outputs, LongTermRule: load_outputs, MultiStartRule: load_runs}
SCORERS = {ScoringRule: score_frames, LongTermRule: score_long_term, MultiStartRule: score_multi_start}


class Results(NamedTuple):
    """What is scored: the sequences for which every tracker has a result that fits."""

    annotations: list[Annotation]
    outputs: dict[str, list[Output]]  # tracker → one for each annotation
    problems: list[str]  # what is missing or does not fit, in words
    annotated: int  # sequences that have an annotation
    drops: dict[str, str]  # tracker → what of its input was taken away


def evaluate(
    benchmark: Benchmark,
    annotations: list[Annotation],
    results: dict[str, Path],
    allow_missing: bool = False,
    source: str = "",
    attributes: dict[str, np.ndarray] | None = None,
) -> Report:
    """Scores one or several trackers on a benchmark: `load_results`, then `score_results`."""
    loaded = load_results(benchmark, annotations, results, allow_missing)
    if attributes:
        kept = [annotations.index(annotation) for annotation in loaded.annotations]
        attributes = {name: flags[kept] for name, flags in attributes.items()}
    return score_results(benchmark, loaded, source, attributes or {})


def load_results(
    benchmark: Benchmark, annotations: list[Annotation], results: dict[str, Path], allow_missing: bool = False
) -> Results:
    """Reads and checks every tracker's files.

    Args:
        results: tracker's name → folder of its raw results.
        allow_missing: take the sequences for which every tracker has a result that fits.

    Raises:
        ValueError: results that are missing, too short or too long, all listed in one message; a file that cannot be
            read; a folder without any result of this benchmark; annotations of another one.
    """
    check_annotations(benchmark, annotations)
    found, problems = {}, []
    for tracker, folder in results.items():
        found[tracker], lacking = LOADERS[type(benchmark.rule)](benchmark, annotations, tracker, Path(folder))
        problems += lacking
    if problems and not allow_missing:
        rules = "" if benchmark.protocol == OFFICIAL else f" (protocol {benchmark.protocol})"
        raise ValueError(
            f"{benchmark.name}{rules}: results are missing or do not fit: {'; '.join(problems)}; "
            "--allow-missing scores what all trackers have"
        )
    scored = [annotation for annotation in annotations if all(annotation.name in o for o in found.values())]
    if not results or not scored:
        reason = "; ".join(problems) or f"{len(results)} trackers, {len(annotations)} annotated sequences"
        raise ValueError(f"{benchmark.name}: nothing to score: {reason}")
    outputs = {tracker: [tracked[annotation.name] for annotation in scored] for tracker, tracked in found.items()}
    drops = {tracker: read_drop(Path(folder)) for tracker, folder in results.items()}
    return Results(scored, outputs, problems, len(annotations), drops)


def score_results(
    benchmark: Benchmark, results: Results, source: str = "", attributes: dict[str, np.ndarray] | None = None
) -> Report:
    """Scores what was loaded.

    Args:
        source: what the data are, if not the benchmark's own, e.g. "synthetic data"; stands in every title.
        attributes: name → (S,) bool, which of the sequences have it.
    """
    attributes = {name: flags for name, flags in (attributes or {}).items() if flags.any()}
    weights = resampled_weights(len(results.annotations))
    notes = [f"Protocol {benchmark.protocol}: {PROTOCOLS[benchmark.protocol]}.", benchmark.evidence]
    notes += [*benchmark.rule.notes(), FPS_NOTE, SURE_NOTE]
    trackers, samples = {}, {}
    for tracker, outputs in results.outputs.items():
        scored = SCORERS[type(benchmark.rule)](benchmark, results.annotations, outputs)
        resampled = scored.combine(weights) if len(results.annotations) > 1 else {}
        samples[tracker] = resampled.get(list(benchmark.metrics)[-1])
        trackers[tracker] = _tracker_scores(results, scored, resampled, attributes, tracker)
        remarks = [*other_lengths(results, tracker, benchmark.rule.every), *no_boxes(outputs), *scored.remarks]
        notes += [f"{tracker}: {remark}" for remark in remarks]
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
        attributes={name: int(flags.sum()) for name, flags in attributes.items()},
    )
    if len(results.annotations) < 2 or len(trackers) < 2:
        return report
    ranking = report.metrics[-1]
    scores = {name: trackers[name].scores[ranking] for name in report.ranked(ranking)}
    return report.with_comparisons(compare(scores, samples))


def _tracker_scores(
    results: Results,
    scored: Scored,
    resampled: dict[str, np.ndarray],
    attributes: dict[str, np.ndarray],
    tracker: str,
) -> TrackerScores:
    names = [annotation.name for annotation in results.annotations]
    subsets = np.array([np.ones(len(names)), *attributes.values()], np.float64)
    # A score over no sequence that counts is 0, as it is in the toolkits.
    combined = {metric: np.nan_to_num(values).tolist() for metric, values in scored.combine(subsets).items()}
    columns = {metric: values.tolist() for metric, values in scored.per_sequence.items()}
    return TrackerScores(
        scores={metric: values[0] for metric, values in combined.items()},
        per_sequence={name: {m: values[i] for m, values in columns.items()} for i, name in enumerate(names)},
        curves=scored.curves,
        fps=frames_per_second(results.outputs[tracker]),
        intervals={metric: interval(values) for metric, values in resampled.items()},
        attributes={
            name: {metric: values[place] for metric, values in combined.items()}
            for place, name in enumerate(attributes, start=1)
        },
        drop=results.drops[tracker],
    )


def other_lengths(results: Results, tracker: str, every: int) -> list[str]:
    """Remarks on results that had another length than their annotation, so that nothing is cut or filled in silence."""
    short, long = [], []
    for annotation, output in zip(results.annotations, results.outputs[tracker], strict=True):
        frames, rows = len(annotation.boxes_xywh), len(range(0, output.rows, every))
        if rows != frames and not output.runs:
            (short if rows < frames else long).append(f"{annotation.name} ({rows} of {frames})")
    return [f"too {word}: {', '.join(names)}." for word, names in (("short", short), ("long", long)) if names]


def no_boxes(outputs: list[Output]) -> list[str]:
    """A remark on rows that are no box, where each should be one: a rule takes another row for them, or a miss."""
    counts = [int(np.count_nonzero(~is_valid(o.boxes_xywh))) for o in outputs if o.scores is None and not o.runs]
    found = [count for count in counts if count]
    return [f"{sum(found)} rows in {len(found)} results are no box."] if found else []


def overlap_traces(results: Results) -> dict[str, dict[str, np.ndarray]]:
    """Tracker → sequence → (N,) float32 overlap of every frame, for looking at; NaN where there is no target.

    Empty for runs from several starts.
    """
    if any(output.runs for outputs in results.outputs.values() for output in outputs):
        return {}
    return {
        tracker: {a.name: _trace(a, output.boxes_xywh) for a, output in zip(results.annotations, outputs, strict=True)}
        for tracker, outputs in results.outputs.items()
    }


def _trace(annotation: Annotation, boxes: np.ndarray) -> np.ndarray:
    frames = len(annotation.boxes_xywh)
    overlap = np.full(frames, np.nan, np.float32)
    overlap[: len(boxes)] = iou_xywh(boxes, annotation.boxes_xywh[: len(boxes)])
    if annotation.aux_boxes_xywh is not None:
        overlap[: len(boxes)] = np.fmax(overlap[: len(boxes)], iou_xywh(boxes, annotation.aux_boxes_xywh[: len(boxes)]))
    overlap[~annotation.visible] = np.nan
    return overlap


def frames_per_second(outputs: list[Output]) -> float | None:
    """Frames over seconds, of all sequences together, without each first frame: it initialises the tracker."""
    measured = (output.times[~np.isnan(output.times)] for output in outputs if output.times is not None)
    times = [times[1:] for times in measured]
    seconds = np.concatenate(times) if times else np.zeros(0)
    return float(len(seconds) / seconds.sum()) if seconds.sum() > 0 else None
