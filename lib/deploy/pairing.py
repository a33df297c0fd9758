"""Matches the images of two streams by their time stamps. Streams may differ in rate, vanish and return."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lib.deploy.sources import Camera, Source, Stamped

ASPECT_TOLERANCE = 0.02  # relative difference of the two streams' aspects that rounding explains
SILENCE = 30.0  # seconds without an image from any camera after which a run ends


class Moment(NamedTuple):
    """What both streams show at one time. None: this stream shows nothing then; at least one is an image."""

    time: float  # seconds
    rgb: np.ndarray | None  # (H, W, 3) uint8
    aux: np.ndarray | None  # (H, W, 3) uint8, of another size perhaps


@dataclass
class Counts:
    """Numbers of frames, counted while two streams are matched."""

    moments: int = 0
    without_rgb: int = 0
    without_aux: int = 0
    aux_unused: int = 0  # auxiliary images that no moment shows, because this stream has the higher rate
    aux_repeated: int = 0  # moments that show the same auxiliary image as the moment before
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None  # width and height of RGB and aux, if they differ

    def lines(self) -> list[str]:
        """Returns sentences for the report at the end of a run."""
        parts = (
            (self.without_rgb, "without RGB image"),
            (self.without_aux, "without auxiliary image"),
            (self.aux_repeated, "with the auxiliary image of the frame before (its stream is slower)"),
        )
        found = [f"{number} {words}" for number, words in parts if number]
        found += [f"{self.aux_unused} auxiliary images unused (their stream is faster)"] if self.aux_unused else []
        lines = [f"{self.moments} frame{'s' * (self.moments != 1)}{': ' if found else ''}{', '.join(found)}"]
        if self.sizes:
            (width, height), (aux_width, aux_height) = self.sizes
            line = f"auxiliary images of {aux_width}x{aux_height} pixels were scaled to {width}x{height}"
            skewed = abs(aux_width * height / (aux_height * width) - 1) > ASPECT_TOLERANCE
            lines.append(f"{line}; their shapes differ: are they aligned?" if skewed else line)
        return lines

    def note_sizes(self, moment: Moment) -> None:
        """Remembers the sizes of both images of a moment if they differ."""
        if moment.rgb is not None and moment.aux is not None and moment.rgb.shape != moment.aux.shape:
            self.sizes = moment.rgb.shape[1::-1], moment.aux.shape[1::-1]


def pair_files(rgb: Source, aux: Source | None, gap: float, counts: Counts, offset: float = 0.0) -> Iterator[Moment]:
    """Yields the moments of two recordings, or of one.

    There is one moment for each RGB image, with the auxiliary image that is nearest in time. Where RGB images are
    missing for longer than `gap`, also at the end, there is one moment for each auxiliary image.

    Args:
        aux: None: RGB alone; it is shown as both.
        gap: largest distance in seconds at which an image still stands for a moment.
        counts: is updated.
        offset: seconds that are added to the times of the auxiliary stream.

    Raises:
        ValueError: as the streams.
    """
    if aux is None:
        for image in rgb:
            counts.moments += 1
            yield Moment(image.time, image.image, image.image)
        return
    matcher = _Matcher(aux, offset, gap, counts)
    last = None
    for image in rgb:
        if last is not None and image.time - last > gap:
            yield from matcher.alone(last + gap, image.time - gap)
        yield matcher.at(image)
        last = image.time
    yield from matcher.alone(last + gap, float("inf"))
    counts.aux_unused = max(0, aux.read - len(matcher.used))


class _Matcher:
    """The auxiliary stream, read as far as necessary."""

    def __init__(self, aux: Source, offset: float, gap: float, counts: Counts):
        self._images, self._offset, self._gap, self._counts = iter(aux), offset, gap, counts
        self._before: Stamped | None = None  # the last image that is not after the time asked for
        self._after = self._next()
        self.used: set[float] = set()  # times of the images that moments show
        self._shown: float | None = None

    def _next(self) -> Stamped | None:
        image = next(self._images, None)
        return image and Stamped(image.time + self._offset, image.image)

    def at(self, rgb: Stamped) -> Moment:
        """Returns the moment of an RGB image."""
        while self._after is not None and self._after.time <= rgb.time:
            self._before, self._after = self._after, self._next()
        near = [image for image in (self._before, self._after) if image is not None]
        best = min(near, key=lambda image: abs(image.time - rgb.time), default=None)
        self._counts.moments += 1
        if best is None or abs(best.time - rgb.time) > self._gap:
            self._counts.without_aux += 1
            return Moment(rgb.time, rgb.image, None)
        self._counts.aux_repeated += best.time == self._shown
        self._shown = best.time
        self.used.add(best.time)
        return Moment(rgb.time, rgb.image, best.image)

    def alone(self, start: float, end: float) -> Iterator[Moment]:
        """Yields the moments of the auxiliary images between two times, at which there is no RGB image."""
        while self._after is not None and self._after.time < end:
            self._before, self._after = self._after, self._next()
            if self._before.time > start:
                self._counts.moments += 1
                self._counts.without_rgb += 1
                self.used.add(self._before.time)
                yield Moment(self._before.time, None, self._before.image)


def pair_cameras(rgb: Camera, aux: Camera | None, gap: float, counts: Counts) -> Iterator[Moment]:
    """Yields the moments of two cameras, or of one, without end: the last image of each, if it is new enough.

    A moment comes with each new RGB image; while that camera is silent, with each new auxiliary image. While both are
    silent, nothing comes.

    Args:
        aux, gap, counts: as in `pair_files`.

    Raises:
        ValueError: the size of the images of a camera changed, or all cameras are silent for `SILENCE` seconds.
    """
    last_rgb, last_aux, heard = -1.0, -1.0, time.monotonic()
    while time.monotonic() - heard < SILENCE:
        image = rgb.latest(last_rgb, gap)
        other = None if aux is None else aux.latest(-1.0, 0.0)
        if image is not None:
            last_rgb = heard = image.time
            fits = other is not None and abs(other.time - image.time) <= gap
            counts.moments += 1
            counts.without_aux += aux is not None and not fits
            counts.aux_repeated += fits and other.time == last_aux
            last_aux = other.time if fits else last_aux
            yield Moment(image.time, image.image, image.image if aux is None else other.image if fits else None)
        elif other is not None and other.time > last_aux:
            last_aux = heard = other.time
            counts.moments += 1
            counts.without_rgb += 1
            yield Moment(other.time, None, other.image)
    raise ValueError(f"{rgb.name}: no image for {SILENCE:g} seconds; check the cameras and start again")
