"""Scores of trackers on a few clips of each of three data sets, as a record and as Markdown.

The rules are those of LasHeR for all clips, so that one mean over them has a meaning; DepthTrack's F stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.datasets import load_dataset
from lib.data.sequence import Sequence
from lib.data.storage import open_store
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import DEPTHTRACK, LASHER
from lib.evaluation.evaluate import evaluate
from lib.evaluation.statistics import interval, resampled_weights
from lib.report.tables import Table, markdown

KINDS = {"LasHeR": "RGB-T", "DepthTrack": "RGB-D", "VisEvent": "RGB-E"}
METRICS = ("SR", "PR")
MARK = "real clips"  # of the table in Markdown files


def load_clips(root: Path) -> dict[str, list[Sequence]]:
    """Returns data set → its test clips, from root/LasHeR, root/DepthTrack and root/VisEvent.

    Raises:
        FileNotFoundError: a folder or a file is missing.
        ValueError: an annotation is invalid.
    """
    return {name: load_dataset(name, open_store(root / name, name)) for name in KINDS}


def score_clips(clips: Mapping[str, list[Sequence]], folders: Mapping[str, Mapping[str, Path]]) -> dict[str, Any]:
    """Scores raw results.

    Args:
        clips: data set → sequences.
        folders: row → data set → folder of its raw results.

    Returns:
        row → "sets": data set → metric → score (DepthTrack also has "F"); "mean" and "interval": metric → mean over all
        clips and the ends of its 95 % interval, bootstrap over the clips; "fps"; "clips": "set/clip" → metric → score.
        Scores are in per cent.

    Raises:
        ValueError: a result is missing or invalid.
    """
    reports = {}
    for name, sequences in clips.items():
        annotations, results = annotations_from_sequences(sequences), {row: own[name] for row, own in folders.items()}
        reports[name] = evaluate(LASHER, annotations, results)
        if name == DEPTHTRACK.name:
            long_term = evaluate(DEPTHTRACK, annotations, results)
    record = {}
    for row in folders:
        found = {name: report.trackers[row] for name, report in reports.items()}
        sets = {name: {metric: scores.scores[metric] for metric in METRICS} for name, scores in found.items()}
        sets[DEPTHTRACK.name]["F"] = long_term.trackers[row].scores["F"]
        each = {
            f"{name}/{clip}": {metric: values[metric] for metric in METRICS}
            for name, scores in found.items()
            for clip, values in scores.per_sequence.items()
        }
        frames = {name: sum(len(s) - 1 - s.first_visible for s in clips[name]) for name in clips}
        seconds = sum(frames[name] / scores.fps for name, scores in found.items())
        record[row] = {"sets": sets, **_mean(each), "fps": sum(frames.values()) / seconds, "clips": each}
    return record


def _mean(each: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    weights = resampled_weights(len(each)) / len(each)
    values = {metric: np.array([scores[metric] for scores in each.values()]) for metric in METRICS}
    return {
        "mean": {metric: float(column.mean()) for metric, column in values.items()},
        "interval": {metric: list(interval(weights @ column)) for metric, column in values.items()},
    }


def headline(rows: Mapping[str, Any]) -> str:
    """Returns the scores of `score_clips` as a Markdown table, one line per row."""
    header = [f"{kind} {metric}" for kind in KINDS.values() for metric in METRICS]
    header.insert(header.index("RGB-D PR") + 1, "RGB-D F")
    table: Table = [["per cent", *header, "mean SR [95 %]", "mean PR", "frames / s"]]
    for title, row in rows.items():
        cells = [row["sets"][name].get(metric) for name in KINDS for metric in (*METRICS, "F")]
        ends = " to ".join(f"{value:.0f}" for value in row["interval"]["SR"])
        rate = f"{row['fps']:.0f}" if row["fps"] < 1000 else "over 1000"
        mean = [f"{row['mean']['SR']:.1f} [{ends}]", f"{row['mean']['PR']:.1f}", rate]
        table.append([title, *(f"{value:.1f}" for value in cells if value is not None), *mean])
    return markdown(table)


def per_clip(rows: Mapping[str, Any], metric: str) -> str:
    """Returns one metric of every clip as a Markdown table; the columns are the rows of `score_clips`."""
    table: Table = [[metric, *rows]]
    for clip in next(iter(rows.values()))["clips"]:
        table.append([clip, *(f"{row['clips'][clip][metric]:.1f}" for row in rows.values())])
    return markdown(table)
