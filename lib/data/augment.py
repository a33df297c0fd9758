"""Random augmentation of a training pair. A flip applies to both modalities of both crops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.data.degrade import Degradation
from lib.structures import Frame


@dataclass(frozen=True)
class Augmentation:
    """Settings of the augmentation. One outcome is drawn per sample and applied to both crops.

    Probabilities are in [0, 1]; `drop_rgb + drop_aux` must be at most 1.
    """

    flip: float = 0.0  # probability of a horizontal flip
    brightness: float = 0.0  # factor drawn from [1 - brightness, 1 + brightness], one per modality
    grayscale: float = 0.0  # probability of removing the colour of RGB
    drop_rgb: float = 0.0  # probability of a black RGB image
    drop_aux: float = 0.0  # probability of a black auxiliary image; at most one of the two is dropped
    degrade: float = 0.0  # probability, for each crop apart, that one of its images is degraded

    def draw(self, rng: np.random.Generator) -> DrawnAugmentation:
        """Draws one outcome from `rng`."""
        low, high = 1 - self.brightness, 1 + self.brightness
        drop = rng.random()
        return DrawnAugmentation(
            flip=rng.random() < self.flip,
            brightness=(rng.uniform(low, high), rng.uniform(low, high)),
            grayscale=rng.random() < self.grayscale,
            drop_rgb=drop < self.drop_rgb,
            drop_aux=self.drop_rgb <= drop < self.drop_rgb + self.drop_aux,
            degradations=(self._degradation(rng), self._degradation(rng)),
        )

    def _degradation(self, rng: np.random.Generator) -> Degradation | None:
        return Degradation.draw(rng) if self.degrade and rng.random() < self.degrade else None


@dataclass(frozen=True)
class DrawnAugmentation:
    """One outcome of `Augmentation.draw`. Brightness factors are 1 for unchanged images."""

    flip: bool
    brightness: tuple[float, float]  # factors of the RGB and of the auxiliary image
    grayscale: bool
    drop_rgb: bool
    drop_aux: bool
    degradations: tuple[Degradation | None, Degradation | None] = (None, None)  # of the template and the search crop
    repeat: bool = False  # the auxiliary image repeats the augmented RGB image

    def on_one_image(self) -> DrawnAugmentation:
        """Returns the outcome for modality rgb: the auxiliary image repeats RGB, which is neither dropped nor degraded.

        Both make sense only where the other image still shows the target.
        """
        return replace(self, repeat=True, drop_rgb=False, drop_aux=False, degradations=(None, None))

    def __call__(self, crop: Frame, box_cxcywh: np.ndarray, search: bool = False) -> tuple[Frame, np.ndarray]:
        """Returns the augmented crop and its box, (4,) cxcywh as fractions of the crop.

        Images are (S, S, 3) uint8. The inputs are not modified. `search`: whether it is the search crop.
        """
        degradation = self.degradations[search]
        rgb, aux = crop if degradation is None else degradation(crop)
        if self.grayscale:
            rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        rgb = np.zeros_like(rgb) if self.drop_rgb else cv2.convertScaleAbs(rgb, alpha=self.brightness[0])
        aux = np.zeros_like(aux) if self.drop_aux else cv2.convertScaleAbs(aux, alpha=self.brightness[1])
        if self.flip:
            rgb, aux = rgb[:, ::-1], aux[:, ::-1]
        return Frame(rgb, rgb if self.repeat else aux), self.boxes(box_cxcywh)

    def boxes(self, boxes_cxcywh: np.ndarray) -> np.ndarray:
        """Returns (..., 4) cxcywh boxes of the augmented crop, as fractions of the crop."""
        return boxes_cxcywh * [-1, 1, 1, 1] + [1, 0, 0, 0] if self.flip else boxes_cxcywh


def jitter_box(box_xywh: np.ndarray, center: float, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draws a jittered copy of a box, for the crop to be centred on. The distribution is OSTrack's.

    Args:
        box_xywh: (4,) in image pixels; not modified.
        center: the centre moves along each axis by at most center / 2 times the square root of the jittered area.
        scale: standard deviation of the change in log width and log height.

    Returns:
        (4,) xywh float64 in image pixels.
    """
    x, y, w, h = box_xywh
    size = np.array([w, h]) * np.exp(rng.normal(size=2) * scale)
    offset = np.sqrt(size.prod()) * center * (rng.random(2) - 0.5)
    return np.concatenate([np.array([x + w / 2, y + h / 2]) + offset - size / 2, size])
