"""Where live images come from: video files, folders of images, cameras, and one video with both images side by side.

Frames are counted as they come. What a container says about its number of frames is only reported.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from lib.data.image import DECODERS, decode_color, find_levels, has_16_bits
from lib.structures import MODALITIES
from lib.utils.files import is_clutter
from lib.utils.texts import shorten

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
LEVEL_FRAMES = 8  # first images of a folder that determine the grey levels of its 16-bit images
DEFAULT_FPS = 25.0  # of a video that does not say its rate
RETRY = 1.0  # seconds between attempts to open a camera that stopped
PATIENCE = 5.0  # seconds that a camera may take for its first image


class Stamped(NamedTuple):
    """One image of a stream."""

    time: float  # seconds since the first image of the stream; of a camera, since the start of the program
    image: np.ndarray  # (H, W, 3) uint8 RGB


class Source(Protocol):
    """A stream of images with an end: iterate over it once.

    `name` is its path; `fps` its nominal rate; `read` the number of images so far; `damaged` the names of those that
    could not be decoded; `announced` the number of images that it should have, 0 if unknown; `ended` whether it was
    read to its end.
    """

    name: str
    fps: float
    read: int
    damaged: list[str]
    announced: int
    ended: bool

    def __iter__(self) -> Iterator[Stamped]:
        """Yields images in the order of time. Raises ValueError, naming the stream, if it is empty or changes size."""


class Video:
    """A video file. Times are its time stamps, or number / rate if these do not rise.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it cannot be opened as a video.
    """

    def __init__(self, path: str | Path):
        self.name, self.read, self.damaged, self.ended = str(path), 0, [], False
        self._capture = _open_file(Path(path))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate < 1000 else DEFAULT_FPS
        self.announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[Stamped]:
        """See `Source`. Raises ValueError if no image can be read, or if the size of the images changes."""
        size, last = None, -1.0
        try:
            while True:
                found, image = self._capture.read()
                if not found:
                    break
                size = check_size(image, size, self.name, self.read)
                stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # A time stamp that does not rise is none: some containers say 0 for every frame.
                last = stamp if stamp > last else last + 1 / self.fps
                self.read += 1
                yield Stamped(last, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        finally:
            self._capture.release()
        self.ended = True
        if not self.read:
            raise ValueError(
                f"{self.name}: no frame of this video can be decoded; convert it with ffmpeg, or fetch it again"
            )


class Folder:
    """The images of a folder, in the order of their names.

    Args:
        path: the folder.
        decoder: a key of DECODERS; 16-bit images of "color" are scaled by the range of the first ones.
        fps: images per second.

    Raises:
        FileNotFoundError: the folder contains no image.
    """

    def __init__(self, path: str | Path, decoder: str = "color", fps: float = DEFAULT_FPS):
        self.name, self.fps, self.read, self.damaged, self.ended = str(path), fps, 0, [], False
        self._decoder, self._levels = decoder, None
        self._paths = sorted(p for p in Path(path).iterdir() if p.suffix.lower() in IMAGES and not is_clutter(p.name))
        self.announced = len(self._paths)
        if not self._paths:
            raise FileNotFoundError(
                f"{path}: no image in this folder; expected names that end in {' '.join(sorted(IMAGES))}"
            )

    def __iter__(self) -> Iterator[Stamped]:
        """See `Source`. A damaged image is left out and listed in `damaged`.

        Raises:
            ValueError: no image can be decoded, the size changes, or an image has values that are not finite.
        """
        size, reason = None, ""
        for number, path in enumerate(self._paths):
            data = path.read_bytes()
            refuse_not_finite(data, path)
            try:
                image = self._decode(data, str(path))
            except ValueError as error:
                self.damaged.append(path.name)
                reason = reason or str(error)
                continue
            size = check_size(image, size, self.name, path.name)
            self.read += 1
            yield Stamped(number / self.fps, image)
        self.ended = True
        if not self.read:
            raise ValueError(f"{self.name}: none of {len(self._paths)} images can be decoded; first: {reason}")

    def _decode(self, data: bytes, source: str) -> np.ndarray:
        if self._decoder != "color" or not has_16_bits(data):
            return DECODERS[self._decoder](data, source)
        if self._levels is None:
            first = [path.read_bytes() for path in self._paths[:LEVEL_FRAMES]]
            self._levels = find_levels([image for image in first if has_16_bits(image)] or [data], source)
        return decode_color(data, source, self._levels)


class Camera:
    """A camera, or the address of a network stream. A thread keeps only the last image: tracking never falls behind.

    Args:
        address: number of the camera, or an address.
        open_capture: function (address) that returns an object like cv2.VideoCapture; tests use others.

    Raises:
        ValueError: the camera cannot be opened or sends no image.
    """

    def __init__(self, address: int | str, open_capture=cv2.VideoCapture):
        self.name = f"camera {address}" if isinstance(address, int) else address
        self.read, self.damaged, self.announced, self.ended, self.fps = 0, [], 0, False, DEFAULT_FPS
        self.reopened = 0  # how often the stream stopped and came back
        self._address, self._open, self._size = address, open_capture, None
        self._news, self._last, self._error = threading.Condition(), None, None
        self._stopped = threading.Event()
        self._capture = open_capture(address)
        if not self._capture.isOpened():
            raise ValueError(
                f"{self.name}: cannot be opened; check the number, the cable, and whether another program uses it"
            )
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        if self.latest(after=-1.0, wait=PATIENCE) is None:
            self.close()
            raise ValueError(f"{self.name}: opened, but sent no image in {PATIENCE:g} seconds")

    def latest(self, after: float, wait: float) -> Stamped | None:
        """Returns the last image if it is newer than `after`; waits up to `wait` seconds for one, else returns None.

        Raises:
            ValueError: the size of the images changed.
        """
        with self._news:
            self._news.wait_for(lambda: self._error or (self._last is not None and self._last.time > after), wait)
            if self._error:
                raise self._error
            return self._last if self._last is not None and self._last.time > after else None

    def close(self) -> None:
        """Stops the thread and releases the camera."""
        self._stopped.set()
        self._thread.join(2 * RETRY)

    def _receive(self) -> None:
        while not self._stopped.is_set() and not self._error:
            found, image = self._capture.read()
            if found:
                self._publish(image)
            else:
                self._reopen()
        self._capture.release()

    def _publish(self, image: np.ndarray) -> None:
        now = time.monotonic()
        with self._news:
            try:
                self._size = check_size(image, self._size, self.name, self.read)
                self._last = Stamped(now, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                self.read += 1
            except ValueError as error:
                self._error = error
            self._news.notify_all()

    def _reopen(self) -> None:
        """Tries to open the camera again until it answers: one of two streams may vanish and return."""
        self._capture.release()
        while not self._stopped.wait(RETRY):
            self._capture = self._open(self._address)
            if self._capture.isOpened():
                self.reopened += 1
                return


class Half:
    """One half of a video that shows both images side by side. Both halves read the same file.

    Args:
        path: the video.
        side: 0 left, 1 right.

    Raises:
        FileNotFoundError, ValueError: as `Video`.
    """

    def __init__(self, path: str | Path, side: int):
        self._video, self._side = Video(path), side
        self.name = f"{path}, {'right' if side else 'left'} half"
        self.fps, self.damaged, self.announced = self._video.fps, [], self._video.announced

    @property
    def read(self) -> int:
        """Number of images so far."""
        return self._video.read

    @property
    def ended(self) -> bool:
        """Whether the video was read to its end."""
        return self._video.ended

    def __iter__(self) -> Iterator[Stamped]:
        """See `Source`. Raises ValueError as `Video`, or if the width is odd."""
        for stamp, image in self._video:
            if image.shape[1] % 2:
                raise ValueError(f"{self.name}: {image.shape[1]} pixels wide, expected an even width for two images")
            half = image.shape[1] // 2
            yield Stamped(stamp, np.ascontiguousarray(image[:, half * self._side : half * (self._side + 1)]))


def silence_opencv() -> None:
    """Turns off the messages of OpenCV and FFmpeg about files and cameras: our errors say what is wrong in one line."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with contextlib.suppress(AttributeError):  # this part of OpenCV is optional
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def open_source(text: str, modality: str, is_aux: bool, fps: float) -> Source | Camera:
    """Opens what a user names: a camera number, an address (rtsp://…), a folder of images or a video file.

    Args:
        text: the user's text.
        modality: a key of MODALITIES; folders of depth images are coloured as those of data sets are.
        is_aux: whether it is the auxiliary stream.
        fps: images per second of folders.

    Raises:
        FileNotFoundError: there is no such file or folder, or the folder has no image.
        ValueError: it cannot be opened.
    """
    if text.isdecimal():
        return Camera(int(text))
    if "://" in text:
        return Camera(text)
    if Path(text).is_dir():
        return Folder(text, MODALITIES[modality].decoder if is_aux else "color", fps)
    return Video(text)


def check_size(image: np.ndarray, size: tuple[int, int] | None, name: str, number: int | str) -> tuple[int, int]:
    """Returns width and height of an image. Raises ValueError, naming stream and frame, if they differ from `size`."""
    found = image.shape[1], image.shape[0]
    if size not in (None, found):
        raise ValueError(
            f"{name}: frame {number} has {found[0]}x{found[1]} pixels, the frames before it {size[0]}x{size[1]}; "
            "the box is in pixels of one size: scale the frames, or start again from this frame"
        )
    return found


def refuse_not_finite(data: bytes, path: Path) -> None:
    """Raises ValueError, naming the file, if an encoded image has float values that are not finite or no levels."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None or image.dtype.kind != "f":
        return
    if wrong := int(image.size - np.isfinite(image).sum()):
        raise ValueError(
            f"{path}: {wrong} of {image.size} values are NaN or infinite; write finite 8- or 16-bit images"
        )
    raise ValueError(f"{path}: {image.dtype} values; write 8- or 16-bit images")


def describe(source: Source | Camera) -> list[str]:
    """Returns sentences about what was lost in a stream, for the report at its end; none if all is well."""
    lines = []
    if source.ended and source.announced and source.read + len(source.damaged) != source.announced:
        lines.append(f"{source.name}: {source.read} frames read, its header says {source.announced}")
    if source.damaged:
        lines.append(f"{source.name}: {len(source.damaged)} damaged images left out: {shorten(source.damaged)}")
    if getattr(source, "reopened", 0):
        lines.append(f"{source.name}: stopped and came back {source.reopened} times")
    return lines


def _open_file(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video or folder")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty; fetch it again")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ValueError(
            f"{path}: cannot be opened as a video: damaged, or OpenCV has no decoder for it; "
            "fetch it again, or convert it with ffmpeg to MP4"
        )
    return capture
