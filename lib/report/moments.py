"""Selects frames that show the worst tracking failures, and draws pictures of them."""

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

LOST = 0.05  # largest overlap at which the target counts as lost; above 0, because touching its edge is not tracking
MIN_DISTANCE = 50  # smallest distance between two moments of one sequence, frames
WIDTH, HEIGHT = 240, 180  # size of each of the two images of a thumbnail, pixels
CONTEXT = 1.5  # size of the shown window, relative to the boxes
SMALLEST = 0.25  # smallest width of the window, relative to the image
QUALITY = 80  # of the JPEG, 0 to 100


class Moment(NamedTuple):
    """A picture of a failure of one tracker at one frame."""

    sequence: str
    tracker: str
    frame: int  # from 0
    overlap: float  # IoU of the tracker's box and the annotation, in [0, 1]
    jpeg: bytes  # RGB | auxiliary, HEIGHT x 2 WIDTH pixels


class _Run(NamedTuple):
    """Consecutive visible frames in which a tracker has lost the target."""

    weight: float
    sequence: str
    tracker: str
    frame: int  # the frame to show


def find_moments(traces: dict[str, dict[str, np.ndarray]], count: int) -> list[tuple[str, str, int]]:
    """Selects the `count` worst moments and returns (sequence, tracker, frame) of each.

    Candidates are runs of lost frames of each tracker, with an overlap of at most LOST. Absent frames do not count
    and do not end a run. The weight of a run is the sum over its frames of 1 + overlap of the best tracker - overlap of
    this tracker. Long losses therefore come first, especially those that other trackers avoid. The shown frame is the
    first frame of the run with the largest difference to the best tracker; with one tracker, it is the first frame.

    Trackers alternate. A sequence is selected again only after all others with candidates, and then only for a frame
    that is at least MIN_DISTANCE frames from those selected before.

    Args:
        traces: tracker → sequence → (N,) overlap, NaN if the target is absent; N is the same for all trackers.
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
    """Returns the run with the largest weight of each tracker, then the second run of each tracker, and so on."""
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
    """Draws RGB | auxiliary, cropped around the annotation and the tracker's box.

    The annotation is green, the tracker's box is thick, boxes of other trackers are thin. Frames with unreadable images
    are skipped with a warning.

    Args:
        picked: the result of `find_moments`.
        sequences: name → sequence with images.
        results: tracker → sequence → (N, 4) xywh. The order of the trackers, by rank, defines their colours.

    Raises:
        ValueError: a picture cannot be encoded.
    """
    colours = {name: _rgb(COLOURS[index % len(COLOURS)]) for index, name in enumerate(results)}
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
    """Returns the annotated box, or one box per modality."""
    aux = sequence.aux_boxes_xywh
    return [sequence.boxes_xywh[index], *([] if aux is None else [aux[index]])]


def draw_moment(
    frame: Frame,
    truths_xywh: list[np.ndarray],
    boxes_xywh: dict[str, np.ndarray],
    tracker: str,
    colours: dict[str, tuple[int, int, int]],
) -> np.ndarray:
    """Draws a picture of one frame, (HEIGHT, 2 WIDTH, 3) uint8 RGB.

    Args:
        truths_xywh: the annotated box, (4,) in image pixels, or one per modality.
        boxes_xywh: tracker → its box, (4,) in image pixels.
        tracker: the tracker whose failure is shown.
        colours: tracker → RGB colour, 0 to 255.
    """
    drawn = [(box, colours[name], 1) for name, box in boxes_xywh.items() if name != tracker]
    drawn += [(boxes_xywh[tracker], colours[tracker], 2)]
    window = window_around([truths_xywh[0], boxes_xywh[tracker]], *frame.rgb.shape[1::-1])
    panels = [
        _panel(image, window, [*drawn, (truth, TRUTH, 2)])
        for image, truth in zip(frame, (truths_xywh[0], truths_xywh[-1]), strict=True)
    ]
    return np.ascontiguousarray(np.concatenate(panels, axis=1))


def window_around(boxes_xywh: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """Returns the window of a panel, (4,) xywh in image pixels, with the proportions of the panel.

    It contains the valid boxes with some context and lies inside the image if it fits.

    Args:
        boxes_xywh: (4,) each, in image pixels.
        width, height: size of the image in pixels.
    """
    valid = np.array([box for box in boxes_xywh if is_valid(box)] or [[0, 0, width, height]], np.float64)
    low, high = valid[:, :2].min(axis=0), (valid[:, :2] + valid[:, 2:]).max(axis=0)
    low, high = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))  # a box can be outside the image
    needed = np.maximum(high - low, 1) * CONTEXT
    across = min(max(needed[0], needed[1] * WIDTH / HEIGHT, SMALLEST * width), max(width, height * WIDTH / HEIGHT))
    size = np.array([across, across * HEIGHT / WIDTH])
    room = np.array([width, height]) - size
    corner = np.where(room > 0, np.clip((low + high - size) / 2, 0, np.maximum(room, 0)), room / 2)
    return np.concatenate([corner, size])


def _panel(
    image: np.ndarray, window_xywh: np.ndarray, boxes: list[tuple[np.ndarray, tuple[int, int, int], int]]
) -> np.ndarray:
    x, y, across, _ = window_xywh
    scale = WIDTH / across
    shift = np.float32([[scale, 0, -x * scale], [0, scale, -y * scale]])
    smooth = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 0.7 else image  # avoids aliasing
    panel = cv2.warpAffine(smooth, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderValue=(90, 90, 90))
    for box, colour, thickness in boxes:
        if is_valid(box):
            corners = (np.array([box[0] - x, box[1] - y, box[0] + box[2] - x, box[1] + box[3] - y]) * scale).round()
            left, top, right, bottom = corners.clip(-(10**4), 10**4).astype(int).tolist()
            cv2.rectangle(panel, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    return panel


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
