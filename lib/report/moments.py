"""Tracking failures: which frames show the worst ones, and pictures of them."""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

import cv2
import numpy as np

from lib.data.sequence import Sequence
from lib.report.palette import COLOURS
from lib.structures import Frame
from lib.utils.boxes import iou_xywh, is_valid
from lib.utils.draw import TRUTH, write_label

logger = logging.getLogger(__name__)

LOST = 0.05  # overlap up to which a target counts as lost: to touch its edge is not to track it
MIN_DISTANCE = 50  # frames between two moments of one sequence
WIDTH, HEIGHT = 240, 180  # of each of a thumbnail's two pictures, pixels
CONTEXT = 1.5  # what is shown, relative to the boxes that matter
SMALLEST = 0.25  # part of the image's width that is shown at least
QUALITY = 80  # of the JPEG


class Moment(NamedTuple):
    """A picture of one tracker's failure."""

    sequence: str
    tracker: str
    frame: int
    overlap: float  # of the tracker's box with the annotation
    jpeg: bytes  # RGB | auxiliary


class _Run(NamedTuple):
    """Consecutive visible frames in which a tracker has lost the target."""

    weight: float
    sequence: str
    tracker: str
    frame: int  # the one to show


def find_moments(traces: dict[str, dict[str, np.ndarray]], count: int) -> list[tuple[str, str, int]]:
    """Selects the worst moments: (sequence, tracker, frame).

    Candidates are each tracker's runs of lost frames: overlap at most LOST; absent frames neither count nor end a run.
    The weight of a run is the sum over its frames of 1 plus the overlap of the best tracker minus its own, so that long
    losses come first, and among them those that other trackers avoid. The frame shown is the first one of the run at
    which the best tracker is ahead most; with a single tracker it is the frame at which the target was lost.

    Trackers alternate. A sequence is selected again only after all others with candidates, and then only for a frame
    that is at least MIN_DISTANCE frames from those selected before.

    Args:
        traces: tracker → sequence → (N,) overlap, NaN where there is no target; N is the same for all trackers.
    """
    taken: list[_Run] = []
    queue = _by_turns(_lost_runs(traces))
    per_sequence: Counter[str] = Counter()
    for most in range(1, count + 1):
        for run in queue:
            if len(taken) == count:
                break
            if per_sequence[run.sequence] < most and not _is_near(run, taken):
                taken.append(run)
                per_sequence[run.sequence] += 1
    return [(run.sequence, run.tracker, run.frame) for run in taken]


def _lost_runs(traces: dict[str, dict[str, np.ndarray]]) -> dict[str, list[_Run]]:
    best: dict[str, np.ndarray] = {}
    for overlaps in traces.values():
        for name, overlap in overlaps.items():
            best[name] = np.fmax(best[name], overlap) if name in best else overlap
    return {
        tracker: [run for name, overlap in overlaps.items() for run in _runs_of(tracker, name, overlap, best[name])]
        for tracker, overlaps in traces.items()
    }


def _runs_of(tracker: str, sequence: str, overlap: np.ndarray, best: np.ndarray) -> list[_Run]:
    frames = np.flatnonzero(~np.isnan(overlap))
    gaps = best[frames] - overlap[frames]
    edges = np.flatnonzero(np.diff(overlap[frames] <= LOST, prepend=False, append=False))
    runs = []
    for start, end in edges.reshape(-1, 2):
        lost = gaps[start:end]
        shown = frames[start + lost.argmax()]
        runs.append(_Run(float(end - start + lost.sum()), sequence, tracker, int(shown)))
    return runs


def _by_turns(runs: dict[str, list[_Run]]) -> list[_Run]:
    """The run of each tracker with the largest weight, then the second one of each, and so on."""
    ordered = [sorted(own, key=lambda run: (-run.weight, run.sequence, run.frame)) for own in runs.values()]
    turns = [(turn, run) for own in ordered for turn, run in enumerate(own)]
    return [run for turn, run in sorted(turns, key=lambda item: (item[0], -item[1].weight, item[1].tracker))]


def _is_near(run: _Run, taken: list[_Run]) -> bool:
    return any(run.sequence == other.sequence and abs(run.frame - other.frame) < MIN_DISTANCE for other in taken)


def draw_moments(
    picked: list[tuple[str, str, int]],
    sequences: dict[str, Sequence],
    results: dict[str, dict[str, np.ndarray]],
) -> list[Moment]:
    """Draws RGB | auxiliary, cut to the annotation and the tracker's box: the annotation in green, the tracker's box
    thick, the others' thin. Frames whose images cannot be read are skipped with a warning.

    Args:
        picked: what `find_moments` gives.
        results: tracker → sequence → (N, 4) xywh. The order of the trackers picks their colours: that of the ranking.
    """
    colours = {name: _rgb(COLOURS[place % len(COLOURS)]) for place, name in enumerate(results)}
    moments = []
    for name, tracker, index in picked:
        sequence = sequences[name]
        try:
            frame = sequence.frame(index)
        except (OSError, ValueError) as error:
            logger.warning("no picture of %s, frame %d: %s", name, index, error)
            continue
        truths = _truths(sequence, index)
        tracked = {other: boxes.get(name, ()) for other, boxes in results.items()}
        boxes = {other: rows[index] for other, rows in tracked.items() if index < len(rows)}
        picture = draw_moment(frame, truths, boxes, tracker, colours)
        write_label(picture, f"frame {index}", (6, 16))
        done, jpeg = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
        if not done:
            raise ValueError(f"{name}, frame {index}: cannot encode the picture")
        overlap = max(float(iou_xywh(boxes[tracker], truth)) for truth in truths)
        moments.append(Moment(name, tracker, index, overlap, jpeg.tobytes()))
    return moments


def _truths(sequence: Sequence, index: int) -> list[np.ndarray]:
    """The annotation, or one for each modality."""
    aux = sequence.aux_boxes_xywh
    return [sequence.boxes_xywh[index], *([] if aux is None else [aux[index]])]


def draw_moment(
    frame: Frame,
    truths_xywh: list[np.ndarray],
    boxes_xywh: dict[str, np.ndarray],
    tracker: str,
    colours: dict[str, tuple[int, int, int]],
) -> np.ndarray:
    """(HEIGHT, 2 WIDTH, 3) RGB picture.

    Args:
        truths_xywh: the annotation, or one for each modality. boxes_xywh: tracker → its box.
    """
    lines = [(box, colours[name], 1) for name, box in boxes_xywh.items() if name != tracker]
    lines += [(boxes_xywh[tracker], colours[tracker], 2)]
    window = window_around([truths_xywh[0], boxes_xywh[tracker]], *frame.rgb.shape[1::-1])
    panels = [
        _panel(image, window, [*lines, (truth, TRUTH, 2)])
        for image, truth in zip(frame, (truths_xywh[0], truths_xywh[-1]), strict=True)
    ]
    return np.ascontiguousarray(np.concatenate(panels, axis=1))


def window_around(boxes_xywh: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """What a panel shows, xywh: the valid boxes with some context, in the panel's proportions, moved into the image
    where it fits.
    """
    valid = np.array([box for box in boxes_xywh if is_valid(box)] or [[0, 0, width, height]], np.float64)
    low, high = valid[:, :2].min(axis=0), (valid[:, :2] + valid[:, 2:]).max(axis=0)
    low, high = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))  # a box may have left the image
    need = np.maximum(high - low, 1) * CONTEXT
    across = min(max(need[0], need[1] * WIDTH / HEIGHT, SMALLEST * width), max(width, height * WIDTH / HEIGHT))
    size = np.array([across, across * HEIGHT / WIDTH])
    room = np.array([width, height]) - size
    corner = np.where(room > 0, np.clip((low + high - size) / 2, 0, np.maximum(room, 0)), room / 2)
    return np.concatenate([corner, size])


def _panel(
    image: np.ndarray, window_xywh: np.ndarray, lines: list[tuple[np.ndarray, tuple[int, int, int], int]]
) -> np.ndarray:
    x, y, across, _ = window_xywh
    scale = WIDTH / across
    shift = np.float32([[scale, 0, -x * scale], [0, scale, -y * scale]])
    smooth = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 0.7 else image  # else shrinking would flicker
    panel = cv2.warpAffine(smooth, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderValue=(90, 90, 90))
    for box, colour, thickness in lines:
        if is_valid(box):
            corners = (np.array([box[0] - x, box[1] - y, box[0] + box[2] - x, box[1] + box[3] - y]) * scale).round()
            left, top, right, bottom = corners.clip(-(10**4), 10**4).astype(int).tolist()
            cv2.rectangle(panel, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    return panel


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
