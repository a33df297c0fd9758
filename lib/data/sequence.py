"""One annotated video. Keys and boxes are in memory; images are read on request."""

from __future__ import annotations

import logging
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from lib.data.image import DECODERS, Levels, decode_color, find_levels, has_16_bits
from lib.data.storage import Store
from lib.structures import MODALITIES, Frame, modality_index

LEVEL_FRAMES = 8  # first images of a sequence that determine the grey levels of its 16-bit images
ASPECT_TOLERANCE = 0.02  # relative difference of the two modalities' aspects that rounding explains

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sequence:
    """A video in two aligned modalities. For RGB alone, `aux_keys` repeats `rgb_keys`.

    A key of None says that this modality is missing in a frame: its image is black.

    16-bit colour or thermal images are scaled to 8 bits by one range of grey levels for the whole sequence: `levels`,
    or percentiles of the first images of this modality.

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
    levels: Levels | None = None  # grey levels of 16-bit images that become 0 and 255; None: found in the first images
    _found: dict = field(default_factory=dict, init=False, repr=False)  # what reading found: levels, sizes, warnings

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

        Warns once if the size of the RGB images changes, and once if the aspects of the two modalities differ.

        Raises:
            FileNotFoundError: an image is missing.
            ValueError: an image is truncated or cannot be decoded.
        """
        rgb_key, aux_key = self.rgb_keys[index], self.aux_keys[index]
        if rgb_key is None:
            aux = self._read_aux(aux_key)
            size = self._rgb_size()  # boxes are in pixels of the RGB images
            aux = cv2.resize(aux, size) if size and size != aux.shape[1::-1] else aux
            return Frame(np.zeros_like(aux), aux)
        rgb = self._read(rgb_key, "color", self.rgb_keys)
        self._check_size(rgb, rgb_key)
        if aux_key is None:
            return Frame(rgb, np.zeros_like(rgb))
        if self.modality == "rgb":
            return Frame(rgb, rgb)
        aux = self._read_aux(aux_key)
        if aux.shape != rgb.shape:
            self._check_aspect(rgb, aux, aux_key)
            aux = cv2.resize(aux, (rgb.shape[1], rgb.shape[0]))
        return Frame(rgb, aux)

    def _rgb_size(self) -> tuple[int, int] | None:
        """Returns width and height of an RGB image of the sequence, or None if all are missing."""
        if "size" not in self._found and (key := next((key for key in self.rgb_keys if key is not None), None)):
            self._check_size(self._read(key, "color", self.rgb_keys), key)
        return self._found.get("size")

    def _read_aux(self, key: str) -> np.ndarray:
        return self._read(key, MODALITIES[self.modality].decoder, self.aux_keys)

    def _read(self, key: str, decoder: str, keys: SequenceOf[str | None]) -> np.ndarray:
        data, source = self.store.read(key), f"{self.store.name}/{key}"
        if decoder == "color" and has_16_bits(data):
            return decode_color(data, source, self.levels or self._find_levels(keys))
        return DECODERS[decoder](data, source)

    def _find_levels(self, keys: SequenceOf[str | None]) -> Levels:
        stream = "rgb" if keys is self.rgb_keys else "aux"
        if stream not in self._found:
            first = [key for key in keys if key is not None][:LEVEL_FRAMES]
            images = [data for key in first if has_16_bits(data := self.store.read(key))]
            if not images:
                raise ValueError(f"{self.store.name}/{self.name}: 8- and 16-bit images are mixed; convert them to one")
            self._found[stream] = find_levels(images, f"{self.store.name}/{first[0]}")
        return self._found[stream]

    def _check_size(self, rgb: np.ndarray, key: str) -> None:
        height, width = rgb.shape[:2]
        first = self._found.setdefault("size", (width, height))
        if first != (width, height):
            self._warn("changes", f"{key} has {width}x{height} pixels, an image before it {first[0]}x{first[1]}")

    def _check_aspect(self, rgb: np.ndarray, aux: np.ndarray, key: str) -> None:
        ratio = (rgb.shape[1] * aux.shape[0]) / (rgb.shape[0] * aux.shape[1])
        if max(ratio, 1 / ratio) > 1 + ASPECT_TOLERANCE:
            sizes = f"{aux.shape[1]}x{aux.shape[0]} pixels, its RGB image {rgb.shape[1]}x{rgb.shape[0]}"
            self._warn("aspect", f"{key} has {sizes}: it is stretched to another aspect")

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._found:
            self._found[kind] = True
            logger.warning("%s/%s; check that the images belong together", self.store.name, text)

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
