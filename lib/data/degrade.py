"""Degraded images for training: what night, glare, sensors and dropouts do to one modality (docs/method.md; ours)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from lib.structures import Frame

MAX_HOLES = 6


class Degradation(NamedTuple):
    """What happens to one image of a crop."""

    modality: int  # 0: RGB, 1: auxiliary
    kind: str  # a key of KINDS
    strength: float  # in [0, 1]
    seed: int  # of noise and places

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Degradation:
        """Draws modality, kind and strength uniformly."""
        kind = list(KINDS)[rng.integers(len(KINDS))]
        return cls(int(rng.integers(2)), kind, float(rng.random()), int(rng.integers(2**31)))

    def __call__(self, crop: Frame) -> Frame:
        """Returns the crop, two (S, S, 3) uint8 images, with one image degraded; the input is not modified."""
        images = list(crop)
        image = images[self.modality].astype(np.float32)
        changed = KINDS[self.kind](image, self.strength, np.random.default_rng(self.seed))
        images[self.modality] = changed.clip(0, 255).astype(np.uint8)
        return Frame(*images)


def _dark(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image * (0.5 - 0.45 * strength)


def _glare(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A bright round spot anywhere, whose radius is 10 to 40 % of the side."""
    side = len(image)
    places = np.arange(side) / side
    x, y = rng.random(2)
    radius = rng.uniform(0.1, 0.4)
    spot = np.outer(np.exp(-(((places - y) / radius) ** 2)), np.exp(-(((places - x) / radius) ** 2)))
    return image + 255 * (0.5 + strength) * spot[..., None]


def _noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, 10 + 40 * strength, image.shape)


def _blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), len(image) / 128 * (0.7 + 2.3 * strength))


def _low_contrast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    mean = image.mean()
    return mean + (image - mean) * (0.5 - 0.4 * strength)


def _holes(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Black ellipses, as where a depth sensor finds nothing."""
    side, changed = len(image), image.copy()
    for _ in range(1 + round(strength * (MAX_HOLES - 1))):
        centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(side // 16, side // 5 + 1, 2).tolist()
        cv2.ellipse(changed, (centre, (2 * axes[0], 2 * axes[1]), float(rng.uniform(0, 180))), (0, 0, 0), -1)
    return changed


def _black(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(image)


KINDS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "dark": _dark,
    "glare": _glare,
    "noise": _noise,
    "blur": _blur,
    "low_contrast": _low_contrast,
    "holes": _holes,
    "black": _black,
}
