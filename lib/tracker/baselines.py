"""Trackers that need no training of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from lib.structures import Frame, Prediction
from lib.tracker.base import check_frame, check_init_box
from lib.utils.boxes import clip_xywh


class StaticTracker:
    """A box that never moves: the floor that every tracker must clear, and a known value in tests."""

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        self.box_xywh = check_init_box(box_xywh, frame)

    def track(self, frame: Frame) -> Prediction:
        return Prediction(self.box_xywh.copy(), 1.0)


class MilTracker:
    """OpenCV's TrackerMIL on RGB alone: a classic that needs no training."""

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        self.box_xywh = check_init_box(box_xywh, frame)
        self.tracker = cv2.TrackerMIL_create()
        cv2.setRNGSeed(0)  # it draws its features at random
        self.tracker.init(_bgr(frame), _whole_pixels(self.box_xywh, frame))

    def track(self, frame: Frame) -> Prediction:
        found, box = self.tracker.update(_bgr(frame))
        if found:
            self.box_xywh = np.array(box, np.float64)
        return Prediction(self.box_xywh.copy(), float(found))


class NanoTracker:
    """OpenCV's TrackerNano on RGB alone: NanoTrack V2, a small published network, as a peer to compare with.

    Args:
        weights: the folder that holds the files of `nanotrack_files`.

    Raises:
        ValueError: this OpenCV has no TrackerNano, or the files are not the networks.
    """

    def __init__(self, weights: Path):
        if not hasattr(cv2, "TrackerNano_create"):
            raise ValueError(f"OpenCV {cv2.__version__} has no TrackerNano; install opencv-python 4.7 or newer")
        parameters = cv2.TrackerNano_Params()
        parameters.backbone, parameters.neckhead = map(str, nanotrack_files({"WEIGHTS": weights}))
        try:
            self.tracker = cv2.TrackerNano_create(parameters)
        except cv2.error as error:
            raise ValueError(f"{weights}: OpenCV cannot read the networks of NanoTrack: {error}") from error

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        self.box_xywh = check_init_box(box_xywh, frame)
        self.tracker.init(_bgr(frame), _whole_pixels(self.box_xywh, frame))

    def track(self, frame: Frame) -> Prediction:
        check_frame(frame)
        found, box = self.tracker.update(_bgr(frame))
        if found:
            self.box_xywh = np.array(box, np.float64)
        return Prediction(self.box_xywh.copy(), float(self.tracker.getTrackingScore()))


def nanotrack_files(arguments: Mapping[str, Path]) -> list[Path]:
    """The two networks of NanoTrack in the folder TRACKER.WEIGHTS: the backbone, and the neck with the head."""
    return [arguments["WEIGHTS"] / f"nanotrack_{part}_sim.onnx" for part in ("backbone", "head")]


def _bgr(frame: Frame) -> np.ndarray:
    return frame.rgb[..., ::-1].copy()


def _whole_pixels(box_xywh: np.ndarray, frame: Frame) -> tuple[int, int, int, int]:
    """The box as OpenCV's trackers take it: in whole pixels, inside the image, at least 2 pixels wide and high."""
    height, width = frame.rgb.shape[:2]
    x, y, w, h = (round(float(value)) for value in clip_xywh(box_xywh, height, width, margin=2))
    return x, y, max(2, w), max(2, h)
