"""Tracks in live or recorded streams: source → pairing → tracker → picture, window, MP4 and JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from lib.deploy.pairing import Counts, Moment, pair_cameras, pair_files
from lib.deploy.show import Recorder, Shown, draw_live
from lib.deploy.sources import Camera, Half, Source, describe, open_source
from lib.structures import Frame
from lib.tracker.cropped import CropTracker, state_of

SMOOTH = 0.9  # weight of the past in the displayed rate, which is that of the mean time of a frame


class Streams(NamedTuple):
    """One or two opened streams."""

    rgb: Source | Camera
    aux: Source | Camera | None  # None: RGB alone

    @property
    def announced(self) -> int:
        """Number of frames that the RGB stream should have; 0: unknown. It may be wrong."""
        return self.rgb.announced

    def moments(self, gap: float, counts: Counts, offset: float = 0.0) -> Iterator[Moment]:
        """See `pair_files` and `pair_cameras`."""
        if isinstance(self.rgb, Camera):
            found = pair_cameras(self.rgb, self.aux, gap, counts)
        else:
            found = pair_files(self.rgb, self.aux, gap, counts, offset)
        for moment in found:
            counts.note_sizes(moment)
            yield moment

    def report(self, counts: Counts) -> list[str]:
        """Returns sentences about frames that were dropped, missing or unequal."""
        return [*counts.lines(), *(line for stream in self if stream is not None for line in describe(stream))]

    def close(self) -> None:
        """Releases the cameras, if any."""
        for stream in self:
            if isinstance(stream, Camera):
                stream.close()


def open_streams(rgb: str, aux: str, both: str, modality: str, fps: float) -> Streams:
    """Opens what the user names.

    Args:
        rgb, aux: texts for `open_source`; aux "": RGB alone.
        both: a video with RGB on the left and the auxiliary image on the right; replaces both.
        modality: a key of MODALITIES.
        fps: images per second of folders.

    Raises:
        FileNotFoundError, ValueError: a stream cannot be opened, or a camera and a recording are mixed.
    """
    if both:
        return Streams(Half(both, 0), Half(both, 1))
    first = open_source(rgb, modality, False, fps)
    try:
        second = open_source(aux, modality, True, fps) if aux else None
    except (OSError, ValueError):
        Streams(first, None).close()
        raise
    streams = Streams(first, second)
    if second is not None and isinstance(first, Camera) != isinstance(second, Camera):
        streams.close()
        raise ValueError(
            f"--rgb {rgb} and --aux {aux}: a camera and a recording have no common time; use two of a kind"
        )
    return streams


def as_frame(moment: Moment, size: tuple[int, int] | None) -> Frame:
    """Returns both images of a moment in one size; a missing image is black.

    Args:
        size: width and height of the RGB images, in whose pixels boxes are; None: not known yet.
    """
    first = moment.aux if moment.rgb is None else moment.rgb
    size = size or (first.shape[1], first.shape[0])

    def fit(image: np.ndarray | None) -> np.ndarray:
        if image is None:
            return np.zeros((size[1], size[0], 3), np.uint8)
        return image if image.shape[1::-1] == size else cv2.resize(image, size)

    return Frame(fit(moment.rgb), fit(moment.aux))


def missing_in(moment: Moment) -> str:
    """Returns "rgb", "aux" or "", the stream that shows nothing at a moment."""
    return "rgb" if moment.rgb is None else "aux" if moment.aux is None else ""


def follow(
    moments: Iterable[Moment],
    tracker: CropTracker,
    find_box: Callable[[np.ndarray], np.ndarray],
    recorder: Recorder | None,
    show: Callable[[np.ndarray], bool] | None,
    single: bool = False,
) -> Iterator[Shown]:
    """Tracks through moments and yields the result of each, after it was drawn, written and shown.

    Args:
        find_box: function (first RGB image) that returns the target's box, (4,) xywh in pixels.
        recorder: writes pictures and results; None: nothing is written.
        show: function (picture) that returns whether to go on; None: nothing is shown.
        single: draw the RGB image alone.

    Raises:
        ValueError: the first moment has no RGB image, or the box is empty or outside it; or as streams and tracker.
        OSError: results cannot be written.
    """
    size, pace, begin = None, 0.0, time.perf_counter()
    for number, moment in enumerate(moments):
        missing = missing_in(moment)
        if size is None:
            if moment.rgb is None:
                raise ValueError("the RGB stream shows nothing at the start; the box is in pixels of its first image")
            size = moment.rgb.shape[1::-1]
        frame = as_frame(moment, size)
        if number:
            box, score = tracker.track(frame)
        else:
            box, score = np.asarray(find_box(frame.rgb), np.float64), 1.0
            tracker.initialize(frame, box)
            begin = time.perf_counter()  # the time that the user took to draw the box does not count
        now = time.perf_counter()
        pace = 0.0 if number == 0 else _smooth(pace, max(now - begin, 1e-6))
        rate = 1 / pace if pace else 0.0
        begin = now
        shown = Shown(number, moment.time, box, float(score), state_of(score, tracker.watch), missing, rate)
        if recorder is not None or show is not None:
            picture = draw_live(frame, shown, single)
        if recorder is not None:
            recorder.add(picture, shown)
        go_on = show is None or show(picture)
        yield shown
        if not go_on:
            return


def _smooth(before: float, now: float) -> float:
    return now if before == 0 else SMOOTH * before + (1 - SMOOTH) * now
