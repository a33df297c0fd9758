"""Debug pictures: both modalities side by side with boxes, ground truth and score map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lib.data.sequence import Sequence
from lib.structures import Frame
from lib.utils.boxes import is_valid
from lib.utils.draw import PREDICTED, TRUTH, overlay_score, write_label

MODES = ("", "pictures", "video")
MIN_HEIGHT = 240  # pixels; smaller frames are enlarged, so that lines and text stay readable
FPS = 25


class DebugWriter:
    """Writes <folder>/debug/<sequence>/00012.jpg per frame, or <folder>/debug/<sequence>.mp4. Use as a context manager.

    Raises:
        OSError: the pictures or the video cannot be written.
    """

    def __init__(self, mode: str, folder: Path, sequence: Sequence):
        self.mode, self.sequence = mode, sequence
        self.target = Path(folder) / "debug" / sequence.name
        self.video: cv2.VideoWriter | None = None

    def __enter__(self) -> DebugWriter:
        return self

    def __exit__(self, *error) -> None:
        if self.video is not None:
            self.video.release()

    def add(self, index: int, frame: Frame, box_xywh: np.ndarray, score: float, tracker) -> None:
        """Draws one tracked frame; does nothing if the mode is "".

        Args:
            index: number of the frame, from 0.
            box_xywh: (4,) predicted box in image pixels.
            tracker: may have the attributes `last_search` and `last_score_map`, see `TransCMDTracker`.

        Raises:
            OSError: the picture or the video cannot be written.
        """
        if not self.mode:
            return
        search, score_map = getattr(tracker, "last_search", None), getattr(tracker, "last_score_map", None)
        text = f"{self.sequence.name} {index} score {score:.2f}"
        picture = draw_frame(frame, box_xywh, self.sequence.boxes_xywh[index], text, search, score_map)
        if self.mode == "video":
            self._write_video(picture)
        else:
            self.target.mkdir(parents=True, exist_ok=True)
            path = self.target / f"{index:05d}.jpg"
            if not cv2.imwrite(str(path), picture[..., ::-1]):
                raise OSError(f"{path}: cannot write the picture")

    def _write_video(self, picture: np.ndarray) -> None:
        if self.video is None:
            path = self.target.with_suffix(".mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (picture.shape[1], picture.shape[0])
            self.video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, size)
            if not self.video.isOpened():
                raise OSError(f"{path}: cannot write the video")
        self.video.write(np.ascontiguousarray(picture[..., ::-1]))


def draw_frame(
    frame: Frame,
    box_xywh: np.ndarray,
    truth_xywh: np.ndarray,
    text: str,
    search: Frame | None = None,
    score_map: np.ndarray | None = None,
) -> np.ndarray:
    """Draws RGB | auxiliary | the mean of both search crops with the score map, if there is one.

    The predicted box is red and thick, the annotation is green and thin.

    Args:
        box_xywh, truth_xywh: (4,) in image pixels.
        search: both search crops, (S, S, 3).
        score_map: (h, w) in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB with even height and width.
    """
    scale = max(1.0, MIN_HEIGHT / frame.rgb.shape[0])
    panels = []
    for image in frame:
        panel = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        for box, color, thickness in ((truth_xywh, TRUTH, 1), (box_xywh, PREDICTED, 2)):
            if is_valid(box):
                x, y, w, h = (round(float(value)) for value in np.asarray(box) * scale)
                cv2.rectangle(panel, (x, y), (x + w, y + h), color, thickness, cv2.LINE_AA)
        panels.append(panel)
    height = panels[0].shape[0]
    if search is not None and score_map is not None:
        mean = cv2.addWeighted(search.rgb, 0.5, search.aux, 0.5, 0)
        panels.append(overlay_score(cv2.resize(mean, (height, height)), score_map, at_corners=True))
    picture = np.ascontiguousarray(np.concatenate(panels, axis=1))
    write_label(picture, text, (6, 16))
    return picture[: height - height % 2, : picture.shape[1] - picture.shape[1] % 2]  # video codecs need even sizes
