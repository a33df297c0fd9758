"""Shows that an export tracks as the network in PyTorch: boxes on whole sequences, success rates beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lib.data.crop import box_to_crop, crop_pair
from lib.data.sequence import Sequence as Video
from lib.deploy.export import Inputs
from lib.deploy.metadata import Metadata
from lib.deploy.runtime import ExportedTracker, Session, search_inputs, template_inputs
from lib.evaluation.metrics import success_curve
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.boxes import iou_xywh

THRESHOLDS = np.linspace(0, 1, 21)  # of the overlap, for the success rate
MAX_MAP_DIFFERENCE = 1e-3  # of score maps in float32, on equal crops


class Parity(NamedTuple):
    """How an export differs from PyTorch on the sequences of one benchmark."""

    benchmark: str
    export: str
    sequences: int
    frames: int
    score_difference: float  # largest difference of score maps on equal crops
    box_difference: float  # largest distance of an edge of the boxes when both track alone, pixels
    overlap: float  # mean IoU of both trackers' boxes
    sr_torch: float  # success rate in per cent: area under the success curve, mean over sequences
    sr: float  # of the export


class _Run(NamedTuple):
    """One tracker on one sequence: N tracked frames."""

    boxes_xywh: np.ndarray  # (N, 4)
    score_difference: float


def measure_parity(
    benchmark: str,
    videos: Sequence[Video],
    make_torch: Callable[[str], TransCMDTracker],
    sessions: Mapping[str, Session],
    step: Callable[[], object] = lambda: None,
) -> list[Parity]:
    """Tracks sequences in PyTorch and with every export.

    Args:
        benchmark: name for the table.
        videos: whole sequences; tracking starts at the first visible frame.
        make_torch: function (modality) that returns the tracker in PyTorch.
        sessions: name → loaded export.
        step: is called after every frame.

    Returns:
        One row for each export.

    Raises:
        ValueError, OSError: an image is missing or damaged, or a network's output is not finite.
    """
    truth, runs = [], {name: [] for name in ("", *sessions)}
    for video in videos:
        start = video.first_visible
        found = track_all(video, make_torch(video.modality), sessions, step)
        for name, run in found.items():
            runs[name].append(run)
        truth.append((video.boxes_xywh[start + 1 :], video.visible[start + 1 :]))
    sr_torch, rows = success_rate(runs[""], truth), []
    for name in sessions:
        pairs = [(own.boxes_xywh, other.boxes_xywh) for own, other in zip(runs[name], runs[""], strict=True)]
        own, other = (np.concatenate(boxes) for boxes in zip(*pairs, strict=True))
        rows.append(
            Parity(
                benchmark=benchmark,
                export=name,
                sequences=len(videos),
                frames=len(own),
                score_difference=max(run.score_difference for run in runs[name]),
                box_difference=float(np.abs(_corners(own) - _corners(other)).max(initial=0)),
                overlap=float(iou_xywh(own, other).mean()) if len(own) else 1.0,
                sr_torch=sr_torch,
                sr=success_rate(runs[name], truth),
            )
        )
    return rows


def track_all(
    video: Video, tracker: TransCMDTracker, sessions: Mapping[str, Session], step: Callable[[], object]
) -> dict[str, _Run]:
    """Tracks one sequence in PyTorch, "", and with every export. Each follows its own boxes."""
    exported = {name: ExportedTracker(session, video.modality) for name, session in sessions.items()}
    everyone, start = {"": tracker, **exported}, video.first_visible
    boxes: dict[str, list[np.ndarray]] = {name: [] for name in everyone}
    differences = dict.fromkeys(everyone, 0.0)
    for index in range(start, len(video)):
        frame = video.frame(index)
        for name, one in everyone.items():
            if index == start:
                one.initialize(frame, video.boxes_xywh[start])
            else:
                boxes[name].append(one.track(frame).box_xywh)
        if index > start and tracker.last_score_map.size > 1:  # both crops of a blank frame show nothing
            for name, one in exported.items():
                gap = np.abs(one.infer(tracker.last_search)[0] - tracker.last_score_map).max()
                differences[name] = max(differences[name], float(gap))
        step()
    return {name: _Run(np.array(boxes[name]).reshape(-1, 4), differences[name]) for name in everyone}


def success_rate(runs: Sequence[_Run], truth: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Returns the area under the success curve in per cent, the mean over sequences with visible frames.

    Args:
        truth: for each run annotated boxes (N, 4) and whether the target is visible (N,).
    """
    areas = [
        success_curve(iou_xywh(run.boxes_xywh[visible], boxes[visible]), THRESHOLDS).mean()
        for run, (boxes, visible) in zip(runs, truth, strict=True)
        if visible.any()
    ]
    return 100 * float(np.mean(areas)) if areas else float("nan")


def real_crops(videos: Sequence[Video], about: Metadata, number: int) -> list[Inputs]:
    """Returns inputs for calibration: what a tracker gives a network, spread evenly over sequences and their frames.

    Each has the inputs of every graph of a network, without the memory. The search crop lies around the box of the
    last visible frame.

    Args:
        number: how many at most.

    Raises:
        ValueError: an image cannot be decoded.
    """
    template_spec, search_spec = about.specs
    found = []
    for count, video in _shares(videos, number):
        start, visible = video.first_visible, np.flatnonzero(video.visible)
        pairs = np.stack([visible[:-1], visible[1:]], axis=1)
        box = video.boxes_xywh[start]
        template, crop = crop_pair(video.frame(start), box, template_spec)
        row = np.array([about.modalities.index(video.modality)], np.int64)
        for last, current in pairs[np.unique(np.linspace(0, len(pairs) - 1, count).astype(int))] if len(pairs) else ():
            search = crop_pair(video.frame(current), video.boxes_xywh[last], search_spec)[0]
            found.append({**template_inputs(template, box_to_crop(box, crop), row), **search_inputs(search)})
    return found


def check_parity(rows: Sequence[Parity]) -> None:
    """Raises ValueError, naming the first, if the score maps of an export in float32 differ from those of PyTorch."""
    for row in rows:
        if ".fp32." in row.export and row.score_difference > MAX_MAP_DIFFERENCE:
            raise ValueError(
                f"{row.export}: the score map differs from PyTorch's by {row.score_difference:.2g} on {row.benchmark}, "
                f"expected at most {MAX_MAP_DIFFERENCE:g}; another version of its runtime may help"
            )


def parity_table(rows: Sequence[Parity]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| benchmark | export | frames | Δ score map | Δ box, px | IoU with PyTorch | SR PyTorch | SR export |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        values = f"{row.frames} | {row.score_difference:.1e} | {row.box_difference:.2f} | {row.overlap:.4f}"
        lines.append(f"| {row.benchmark} | {row.export} | {values} | {row.sr_torch:.2f} | {row.sr:.2f} |")
    return "\n".join(lines)


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)


def _shares(videos: Sequence[Video], number: int) -> Iterator[tuple[int, Video]]:
    """Yields how many of `number` frames come from each sequence; no sequence gives two more than another."""
    for index, video in enumerate(videos):
        if count := number * (index + 1) // len(videos) - number * index // len(videos):
            yield count, video
