"""Trackers that need no training."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lib.structures import Frame, Prediction
from lib.tracker.base import Tracker, check_init_box
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
        height, width = frame.rgb.shape[:2]
        x, y, w, h = (round(float(value)) for value in clip_xywh(self.box_xywh, height, width, margin=2))
        self.tracker.init(frame.rgb[..., ::-1].copy(), (x, y, max(2, w), max(2, h)))

    def track(self, frame: Frame) -> Prediction:
        found, box = self.tracker.update(frame.rgb[..., ::-1].copy())
        if found:
            self.box_xywh = np.array(box, np.float64)
        return Prediction(self.box_xywh.copy(), float(found))


BASELINES: dict[str, Callable[[], Tracker]] = {"static": StaticTracker, "mil": MilTracker}
TRACKERS = ("transcmd", *BASELINES)
