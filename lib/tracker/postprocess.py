"""Decodes the network's maps to one box. Uses only numpy, so that a tracker without torch can use it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LOW_SCORE = 0.2  # below it, the network hardly sees the target, and its size is not believed
LOW_CHANGE = 1.02  # largest factor of width and height per frame while the score is low


@lru_cache(maxsize=8)
def hann_window(height: int, width: int) -> np.ndarray:
    """Returns a (h, w) cosine window in (0, 1], largest in the middle, where the target was in the last frame."""
    rows, columns = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, n + 1) / (n + 1)) for n in (height, width))
    window = np.outer(rows, columns)
    window.flags.writeable = False  # the cached array is shared by all callers
    return window


def decode_peak(
    score_map: np.ndarray, size_map: np.ndarray, offset_map: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, float]:
    """Decodes the box at the peak of score times window.

    Args:
        score_map: (h, w).
        size_map, offset_map: (2, h, w).
        window: (h, w).

    Returns:
        (4,) cxcywh as fractions of the crop, and the score at the peak without the window.
    """
    height, width = score_map.shape
    row, column = divmod(int(np.argmax(score_map * window)), width)
    dx, dy = offset_map[:, row, column]
    w, h = size_map[:, row, column]
    box = np.array([(column + dx) / width, (row + dy) / height, w, h], np.float64)
    return box, float(score_map[row, column])


def limit_size(box_xywh: np.ndarray, last_xywh: np.ndarray, score: float, rate: float) -> np.ndarray:
    """Returns the predicted box (4,) with a size that changes less from the last box (4,), around the same centre.

    Args:
        score: of the prediction; below LOW_SCORE, the size changes by at most LOW_CHANGE.
        rate: `size_rate` of `CropTracker`.
    """
    last, size = last_xywh[2:], box_xywh[2:]
    limited = size if rate == 1 else last ** (1 - rate * score) * np.maximum(size, 1e-6) ** (rate * score)
    if score < LOW_SCORE:
        limited = np.clip(limited, last / LOW_CHANGE, last * LOW_CHANGE)
    return box_xywh if limited is size else np.concatenate([box_xywh[:2] + (size - limited) / 2, limited])
