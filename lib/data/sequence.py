"""One annotated video. Keys and boxes are in memory; images are read on request."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from lib.data.image import DECODERS
from lib.data.storage import Store
from lib.structures import MODALITIES, Frame, modality_index


@dataclass(frozen=True, eq=False)
class Sequence:
    """A video in two aligned modalities. For RGB alone, `aux_keys` repeats `rgb_keys`.

    A key of None says that this modality is missing in a frame: its image is black.

    Raises:
        ValueError: the modality is unknown, or images, boxes and visibility flags differ in number.
    """

    name: str
    modality: str  # a key of MODALITIES
    store: Store = field(repr=False)
    rgb_keys: SequenceOf[str | None] = field(repr=False)
    aux_keys: SequenceOf[str | None] = field(repr=False)
    boxes_xywh: np.ndarray = field(repr=False)  # (N, 4) float64, as annotated; NaN or zeros if the target is absent
    visible: np.ndarray = field(repr=False)  # (N,) bool: the target is visible and its box is valid
    aux_boxes_xywh: np.ndarray | None = field(default=None, repr=False)  # if each modality has its own annotation

    def __post_init__(self):
        where, frames = f"{self.store.name}/{self.name}", len(self.rgb_keys)
        try:
            modality_index(self.modality)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if frames != len(self.aux_keys):
            raise ValueError(
                f"{where}: {frames} RGB images but {len(self.aux_keys)} auxiliary images "
                f"(first: {_first_key(self.rgb_keys)} and {_first_key(self.aux_keys)}); fetch the missing files"
            )
        if self.boxes_xywh.shape != (frames, 4):
            raise ValueError(f"{where}: {len(self.boxes_xywh)} boxes for {frames} frames")
        if self.aux_boxes_xywh is not None and self.aux_boxes_xywh.shape != (frames, 4):
            raise ValueError(f"{where}: {len(self.aux_boxes_xywh)} auxiliary boxes for {frames} frames")
        if self.visible.shape != (frames,):
            raise ValueError(f"{where}: {len(self.visible)} visibility flags for {frames} frames")

    def __len__(self) -> int:
        return len(self.rgb_keys)

    def frame(self, index: int) -> Frame:
        """Reads both images of a frame, (H, W, 3) uint8. The auxiliary image is resized to the size of the RGB image.

        Raises:
            FileNotFoundError: an image is missing.
            ValueError: an image is truncated or cannot be decoded.
        """
        rgb_key, aux_key = self.rgb_keys[index], self.aux_keys[index]
        if rgb_key is None:
            aux = self._read(aux_key, MODALITIES[self.modality].decoder)
            return Frame(np.zeros_like(aux), aux)
        rgb = self._read(rgb_key, "color")
        if aux_key is None:
            return Frame(rgb, np.zeros_like(rgb))
        if self.modality == "rgb":
            return Frame(rgb, rgb)
        aux = self._read(aux_key, MODALITIES[self.modality].decoder)
        if aux.shape != rgb.shape:
            aux = cv2.resize(aux, (rgb.shape[1], rgb.shape[0]))
        return Frame(rgb, aux)

    def _read(self, key: str, decoder: str) -> np.ndarray:
        return DECODERS[decoder](self.store.read(key), f"{self.store.name}/{key}")

    def every_nth(self, n: int) -> Sequence:
        """Returns this sequence with every n-th frame only, starting with the first frame."""
        aux_boxes = None if self.aux_boxes_xywh is None else self.aux_boxes_xywh[::n]
        return replace(
            self,
            rgb_keys=self.rgb_keys[::n],
            aux_keys=self.aux_keys[::n],
            boxes_xywh=self.boxes_xywh[::n],
            visible=self.visible[::n],
            aux_boxes_xywh=aux_boxes,
        )

    @property
    def first_visible(self) -> int:
        """Index of the first visible frame, where a tracker starts. Raises ValueError if no frame is visible."""
        if not self.visible.any():
            raise ValueError(f"{self.store.name}/{self.name}: no frame has a valid box")
        return int(np.argmax(self.visible))


def _first_key(keys: SequenceOf[str | None]) -> str:
    return str(keys[0]) if keys else "an empty folder"
