"""Decodes the network's maps to one box. Uses only numpy, so that a tracker without torch can use it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


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
