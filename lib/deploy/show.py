"""What a live run shows and writes: both images with box, score, state and rate, to MP4 and JSON lines or a window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lib.structures import Frame
from lib.tracker.cropped import UNSEEN
from lib.utils.draw import PREDICTED, write_label
from lib.utils.files import check_writable, host_name, remove_abandoned

MIN_HEIGHT, MAX_HEIGHT = 240, 720  # pixels; frames are scaled, so that text is readable and windows fit a screen
UNSURE = (255, 190, 40)  # colour of a box that the tracker is not sure of, RGB
BAR = 24  # height of the line of text, pixels
WINDOW = "TransCMD"
STOP_KEYS = (ord("q"), 27)  # q, Escape
PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"


class Shown(NamedTuple):
    """The result of one frame."""

    number: int  # from 0
    time: float  # seconds
    box_xywh: np.ndarray  # (4,) image pixels
    score: float
    state: str  # see `lib.tracker.cropped.STATES`
    missing: str  # the stream that shows nothing, "rgb", "aux" or ""
    fps: float  # frames per second of the whole loop, lately

    @property
    def label(self) -> str:
        """The state, with the missing stream."""
        return f"{self.state}, no {self.missing}" if self.missing else self.state


def draw_live(frame: Frame, shown: Shown, single: bool = False) -> np.ndarray:
    """Draws both images side by side, or the RGB image alone, with text, and with the box where a target is seen.

    Returns:
        (H, W, 3) uint8 RGB with even height and width.
    """
    height = frame.rgb.shape[0]
    scale = max(MIN_HEIGHT / height, 1.0) if height <= MAX_HEIGHT else MAX_HEIGHT / height
    color = UNSURE if shown.state == "uncertain" else PREDICTED
    panels = []
    for name, image in zip(("rgb", "aux"), frame[: 1 if single else 2], strict=False):
        panel = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        panel[:BAR] //= 3  # so that white text is readable on bright images
        if name == shown.missing:
            write_label(panel, f"no {name} image", (panel.shape[1] // 2 - 50, panel.shape[0] // 2))
        elif shown.state not in UNSEEN:
            x, y, w, h = (round(float(value) * scale) for value in shown.box_xywh)
            cv2.rectangle(panel, (x, y), (x + w, y + h), color, 2, cv2.LINE_AA)
        panels.append(panel)
    picture = np.ascontiguousarray(np.concatenate(panels, axis=1))
    write_label(picture, f"{shown.number}  {shown.label}  score {shown.score:.2f}  {shown.fps:.0f} fps", (6, 16))
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # video codecs need even sizes


class Recorder:
    """Writes an MP4 and, beside it, one JSON object per frame. Use as a context manager.

    Both files are written to temporary names. They get their names at the end, also if an error or Ctrl-C ends the run:
    what was written so far can be played.

    Args:
        path: name of the MP4; the other file has the suffix .jsonl.
        fps: rate at which the MP4 is played.
        header: first line of the JSON file.
        codec: four letters, see cv2.VideoWriter_fourcc.

    Raises:
        ValueError: the suffix is not .mp4, or the codec has not four letters.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, header: dict, codec: str = "mp4v"):
        self.path, self.fps, self.codec, self.header = Path(path), fps, codec, header
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"--output {path}: expected a name that ends in .mp4")
        if len(codec) != 4:
            raise ValueError(f"--codec {codec}: expected four letters, e.g. mp4v")
        check_writable(self.path.parent)
        self.lines_path = self.path.with_suffix(".jsonl")
        self._video: cv2.VideoWriter | None = None
        self._lines = None
        self.written = False  # whether both files are complete

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error) -> None:
        if self._lines is None:
            return
        self._video.release()
        self._lines.close()
        for path in (self.path, self.lines_path):
            os.replace(_temporary(path), path)
        self.written = True

    def add(self, picture: np.ndarray, shown: Shown) -> None:
        """Writes one frame.

        Args:
            picture: (H, W, 3) RGB, of equal size in all calls.

        Raises:
            OSError: the files cannot be written, or OpenCV has no such codec.
        """
        if self._lines is None:
            self._start(picture.shape[1], picture.shape[0])
        self._video.write(np.ascontiguousarray(picture[..., ::-1]))
        self._write(
            {
                "frame": shown.number,
                "time": round(shown.time, 4),
                "box_xywh": [round(float(value), 2) for value in shown.box_xywh],
                "score": round(shown.score, 4),
                "state": shown.label,
                "missing": shown.missing,
                "fps": round(shown.fps, 1),
            }
        )

    def _start(self, width: int, height: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.path.parent, os.getpid())
        temporary = _temporary(self.path)
        video = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*self.codec), self.fps, (width, height))
        if not video.isOpened():
            temporary.unlink(missing_ok=True)
            raise OSError(
                f"{self.path}: OpenCV cannot write {width}x{height} video with the codec '{self.codec}'; "
                "use --codec mp4v, or install an opencv-python with FFmpeg"
            )
        self._video, self._lines = video, open(_temporary(self.lines_path), "w", encoding="utf-8")
        self._write(self.header)

    def _write(self, record: dict) -> None:
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{host_name()}.{os.getpid()}.part{path.suffix}")


def check_display() -> None:
    """Raises ValueError if no window can be opened. The attempt is made in another process, which Qt may abort."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ValueError(
            "no window can be opened: there is no display, or this OpenCV has no windows (opencv-python-headless); "
            "use --output FILE.mp4 with --box X Y W H"
        )


def ask_box(image: np.ndarray) -> np.ndarray:
    """Lets the user draw a box on an (H, W, 3) RGB image; returns (4,) xywh. Raises ValueError if none was drawn."""
    box = cv2.selectROI(WINDOW, np.ascontiguousarray(image[..., ::-1]), showCrosshair=False)
    if not all(box[2:]):
        raise ValueError("no box was drawn; draw one with the mouse and press Enter, or use --box X Y W H")
    return np.array(box, np.float64)


def show_window(picture: np.ndarray) -> bool:
    """Shows an RGB picture. Returns False if the user asked to stop, with q, Escape or by closing the window."""
    cv2.imshow(WINDOW, np.ascontiguousarray(picture[..., ::-1]))
    key = cv2.waitKey(1) & 0xFF
    return key not in STOP_KEYS and cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) >= 1
