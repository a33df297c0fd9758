"""Pieces of pictures: salient ones as targets, and rounded ones as things."""

from __future__ import annotations

import cv2
import numpy as np

from lib.data.synthetic.v2.textures import Picture, Thing, make_thing, round_piece

WINDOW = 6  # narrowest side of a window in the reduced picture, pixels
SMALLEST = 12  # smallest side of a patch, pixels of the picture
TRIES = 4  # shapes of window


def salient_patch(rng: np.random.Generator, picture: Picture, side: float) -> tuple[Thing, np.ndarray]:
    """Finds a piece of a picture that differs from its surroundings, in one of its pictures at least.

    Args:
        side: square root of the piece's area in pixels of the picture; limited to what the picture can hold.

    Returns:
        The piece, an ellipse, and its centre x, y in pixels of the picture.
    """
    height, width = picture.rgb.shape[:2]
    side = float(np.clip(side, SMALLEST, min(height, width) / 3))
    factor = min(1.0, WINDOW / side)
    small = cv2.resize(picture.rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
    if picture.thermal is not None:
        thermal = cv2.resize(picture.thermal, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        small = np.dstack([small, 2 * thermal.astype(np.float32)])
    best, found = -1.0, np.array([(width - side) / 2, (height - side) / 2, side, side])
    for _ in range(TRIES):
        aspect = float(np.exp(rng.normal(0, 0.45)))
        size = np.array([side * aspect**0.5, side * aspect**-0.5])
        window = np.maximum(np.rint(size * factor), 2).astype(int)
        score = _contrast(small, window) * rng.uniform(0.5, 1, small.shape[:2])
        x0, y0 = (window // 2 + 1).tolist()
        score = score[y0:-y0, x0:-x0]
        if score.size and score.max() > best:
            best = float(score.max())
            y, x = np.unravel_index(score.argmax(), score.shape)
            found = np.concatenate([(np.array([x + x0, y + y0]) + 0.5) / factor - size / 2, size])
    box = np.rint(found).astype(int)
    box[2:] = np.clip(box[2:], 8, (width, height))
    box[:2] = np.clip(box[:2], 0, np.array([width, height]) - box[2:])
    x, y, w, h = box.tolist()
    rgb = picture.rgb[y : y + h, x : x + w]
    return make_thing(picture.name, rgb, round_piece(None, h, w)), box[:2] + box[2:] / 2


def _contrast(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Returns for each (h, w) place how much a window differs from the most similar of its eight neighbours.

    Compared are means and standard deviations, so that a textured piece of a plain area counts as well.
    """
    size = tuple(int(n) for n in window)
    mean = cv2.blur(image, size)
    spread = np.sqrt(np.maximum(cv2.blur(image * image, size) - mean * mean, 0))
    values = np.dstack([mean, spread])
    x, y = (int(n) for n in window * 3 // 4 + 1)
    around = np.pad(values, ((y, y), (x, x), (0, 0)), "edge")
    height, width = image.shape[:2]
    corners = [(r, c) for r in (0, y, 2 * y) for c in (0, x, 2 * x) if (r, c) != (y, x)]
    gaps = [np.abs(values - around[r : r + height, c : c + width]).sum(axis=-1) for r, c in corners]
    return np.minimum.reduce(gaps)
