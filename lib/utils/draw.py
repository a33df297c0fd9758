"""Text labels, boxes and heat maps on images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FARTHEST = 1e6  # pixels; also false for NaN
PREDICTED, TRUTH = (255, 60, 60), (60, 230, 60)  # colours of boxes, RGB


def write_label(image: np.ndarray, text: str, position: tuple[int, int]) -> None:
    """Writes white text with a dark shadow into `image`. `position`: left end of the base line, x, y in pixels."""
    for shift, color in ((1, (0, 0, 0)), (0, (255, 255, 255))):
        shifted = (position[0] + shift, position[1] + shift)
        cv2.putText(image, text, shifted, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)


def draw_box(
    image: np.ndarray, box_cxcywh: Sequence[float], color: tuple[int, int, int], line: int = cv2.LINE_8
) -> None:
    """Draws the outline of a box into an (S, S, 3) crop; nothing if a network that diverged predicted no place.

    Args:
        box_cxcywh: (4,) fractions of the crop.
        line: OpenCV's type of line.
    """
    box = np.asarray(box_cxcywh) * len(image)
    if not (np.abs(box) < FARTHEST).all():
        return
    x, y, w, h = box.tolist()
    corners = [(round(x + side * w / 2), round(y + side * h / 2)) for side in (-1, 1)]
    cv2.rectangle(image, *corners, color, 1, line)


def overlay_score(image: np.ndarray, score_map: np.ndarray, at_corners: bool = False) -> np.ndarray:
    """Returns a copy of an (S, S, 3) RGB crop with its (h, w) score map in [0, 1] as a heat map on top.

    Args:
        at_corners: the values belong to the top-left corners of the cells, as in the score map of a head, not to whole
            cells.
    """
    size = (image.shape[1], image.shape[0])
    level = cv2.resize((np.clip(score_map, 0, 1) * 255).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    if at_corners:
        half = np.float32([[1, 0, -size[0] / score_map.shape[1] / 2], [0, 1, -size[1] / score_map.shape[0] / 2]])
        level = cv2.warpAffine(level, half, size, flags=cv2.INTER_NEAREST)
    heat = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = level[..., None] / 255 * 0.65  # a score of 0 leaves the image unchanged
    return (image * (1 - opacity) + heat * opacity).astype(np.uint8)
