"""Trackers for comparison that need no training in this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from lib.structures import Frame, Prediction
from lib.tracker.base import check_frame, check_init_box
from lib.utils.boxes import clip_xywh


class StaticTracker:
    """Always predicts the initial box: a lower bound for every tracker, and a known value in tests."""

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """See `Tracker.initialize`. Raises ValueError if the (4,) box is empty or outside the image."""
        self.box_xywh = check_init_box(box_xywh, frame)

    def track(self, frame: Frame) -> Prediction:
        """Returns the initial box, (4,) in image pixels, with a score of 1."""
        return Prediction(self.box_xywh.copy(), 1.0)


class MilTracker:
    """OpenCV's TrackerMIL on RGB only: a classical tracker without training."""

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """See `Tracker.initialize`. Raises ValueError if the (4,) box is empty or outside the image."""
        self.box_xywh = check_init_box(box_xywh, frame)
        self.tracker = cv2.TrackerMIL_create()
        cv2.setRNGSeed(0)  # TrackerMIL draws its features at random
        self.tracker.init(_bgr(frame), _whole_pixels(self.box_xywh, frame))

    def track(self, frame: Frame) -> Prediction:
        """See `Tracker.track`. The score is 1, or 0 with the previous (4,) box if OpenCV found no target."""
        found, box = self.tracker.update(_bgr(frame))
        if found:
            self.box_xywh = np.array(box, np.float64)
        return Prediction(self.box_xywh.copy(), float(found))


class NanoTracker:
    """OpenCV's TrackerNano on RGB only: NanoTrack V2, a small published network, for comparison.

    Args:
        weights: the folder that contains the files of `nanotrack_files`.

    Raises:
        ValueError: this OpenCV has no TrackerNano, or cannot read the files.
    """

    def __init__(self, weights: Path):
        if not hasattr(cv2, "TrackerNano_create"):
            raise ValueError(f"OpenCV {cv2.__version__} has no TrackerNano; install opencv-python 4.7 or newer")
        self.box_xywh: np.ndarray | None = None
        parameters = cv2.TrackerNano_Params()
        parameters.backbone, parameters.neckhead = map(str, nanotrack_files({"WEIGHTS": weights}))
        try:
            self.tracker = cv2.TrackerNano_create(parameters)
        except cv2.error as error:
            raise ValueError(f"{weights}: OpenCV cannot read the networks of NanoTrack: {error}") from error

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """See `Tracker.initialize`. Raises ValueError if the (4,) box is empty or outside the image."""
        self.box_xywh = check_init_box(box_xywh, frame)
        self.tracker.init(_bgr(frame), _whole_pixels(self.box_xywh, frame))

    def track(self, frame: Frame) -> Prediction:
        """See `Tracker.track`. Keeps the previous (4,) box if OpenCV found no target.

        Raises:
            ValueError: an image is not (H, W, 3) uint8, the images differ in size, or `initialize` was not called.
        """
        if self.box_xywh is None:
            raise ValueError("track() was called before initialize(), which tells the tracker its target")
        check_frame(frame)
        found, box = self.tracker.update(_bgr(frame))
        if found:
            self.box_xywh = np.array(box, np.float64)
        return Prediction(self.box_xywh.copy(), float(self.tracker.getTrackingScore()))


def nanotrack_files(arguments: Mapping[str, Path]) -> list[Path]:
    """Returns the paths of NanoTrack's backbone and of its neck and head, in the folder TRACKER.WEIGHTS."""
    return [arguments["WEIGHTS"] / f"nanotrack_{part}_sim.onnx" for part in ("backbone", "head")]


def _bgr(frame: Frame) -> np.ndarray:
    return frame.rgb[..., ::-1].copy()


def _whole_pixels(box_xywh: np.ndarray, frame: Frame) -> tuple[int, int, int, int]:
    """Returns the box for OpenCV: integer pixels, clipped to the image, at least 2 pixels wide and high."""
    height, width = frame.rgb.shape[:2]
    x, y, w, h = (round(float(value)) for value in clip_xywh(box_xywh, height, width, margin=2))
    return x, y, max(2, w), max(2, h)
