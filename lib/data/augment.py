"""Random changes of a training pair. Geometry always hits both modalities, and both crops, alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lib.structures import Frame


@dataclass(frozen=True)
class Augmentation:
    """What is drawn once per sample and applied to its template and its search crop."""

    flip: float = 0.0  # probability
    brightness: float = 0.0  # factor from 1 ± this, per modality
    grayscale: float = 0.0  # probability, RGB only
    drop_rgb: float = 0.0  # probability that RGB is blacked out
    drop_aux: float = 0.0  # probability that the other modality is; never both

    def draw(self, rng: np.random.Generator) -> DrawnAugmentation:
        low, high = 1 - self.brightness, 1 + self.brightness
        drop = rng.random()
        return DrawnAugmentation(
            flip=rng.random() < self.flip,
            brightness=(rng.uniform(low, high), rng.uniform(low, high)),
            grayscale=rng.random() < self.grayscale,
            drop_rgb=drop < self.drop_rgb,
            drop_aux=self.drop_rgb <= drop < self.drop_rgb + self.drop_aux,
        )


@dataclass(frozen=True)
class DrawnAugmentation:
    """One outcome of `Augmentation.draw`."""

    flip: bool
    brightness: tuple[float, float]
    grayscale: bool
    drop_rgb: bool
    drop_aux: bool

    def __call__(self, crop: Frame, box_cxcywh: np.ndarray) -> tuple[Frame, np.ndarray]:
        """A crop in both modalities and the box in it, changed; the inputs stay as they are."""
        rgb, aux = crop
        if self.grayscale:
            rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        rgb = np.zeros_like(rgb) if self.drop_rgb else cv2.convertScaleAbs(rgb, alpha=self.brightness[0])
        aux = np.zeros_like(aux) if self.drop_aux else cv2.convertScaleAbs(aux, alpha=self.brightness[1])
        if self.flip:
            rgb, aux, box_cxcywh = rgb[:, ::-1], aux[:, ::-1], box_cxcywh * [-1, 1, 1, 1] + [1, 0, 0, 0]
        return Frame(rgb, aux), box_cxcywh


def jitter_box(box_xywh: np.ndarray, center: float, scale: float, rng: np.random.Generator) -> np.ndarray:
    """The box that a crop is centred on instead of the true one, drawn as OSTrack does.

    Args:
        center: the centre moves by up to half of this, times the square root of the jittered area, along each axis.
        scale: standard deviation of the logarithm of width and height.
    """
    x, y, w, h = box_xywh
    size = np.array([w, h]) * np.exp(rng.normal(size=2) * scale)
    offset = np.sqrt(size.prod()) * center * (rng.random(2) - 0.5)
    return np.concatenate([np.array([x + w / 2, y + h / 2]) + offset - size / 2, size])
