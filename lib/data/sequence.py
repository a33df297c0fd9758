"""One annotated video. Keys and boxes are in memory; images are read on request."""

from __future__ import annotations

import logging
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from lib.data.events import draw_key, is_event_key
from lib.data.front_end import DEPTH, FrontEnd, metric_limits, target_depth
from lib.data.image import Levels, decode_color, decode_unscaled, find_levels, has_16_bits, picture_size, stretch
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
    or the range of `front_end`, or percentiles of the first images of this modality.

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
    front_end: FrontEnd = field(default=FrontEnd(), repr=False)  # how auxiliary files become 8-bit images
    levels: Levels | None = None  # grey levels of 16-bit images that become 0 and 255; None: found in the first images
    # (N,) int64: numbers of the images, ascending, counted from the first one; None: 0 to N - 1, no image is missing.
    numbers: np.ndarray | None = field(default=None, repr=False)
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
        if self.numbers is not None and self.numbers.shape != (frames,):
            raise ValueError(f"{where}: {len(self.numbers)} image numbers for {frames} frames")

    def __len__(self) -> int:
        return len(self.rgb_keys)

    @property
    def source(self) -> str:
        """Where its images come from: it changes with the files. Results are only valid for one source."""
        return repr((self.rgb_keys, self.aux_keys))

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
        self._check_size(rgb.shape[1::-1], rgb_key)
        if aux_key is None:
            return Frame(rgb, np.zeros_like(rgb))
        if self.modality == "rgb":
            return Frame(rgb, rgb)
        aux = self._read_aux(aux_key)
        if aux.shape != rgb.shape:
            self._check_aspect(rgb, aux, aux_key)
            aux = cv2.resize(aux, (rgb.shape[1], rgb.shape[0]))
        return Frame(rgb, aux)

    def upper_part(self, index: int, rows: int) -> Frame:
        """Reads a frame for a crop that ends above row `rows`, faster than `frame`.

        Each image has at least its first `rows` rows, equal to those of `frame`. JPEG files are not decoded below them,
        and damage is noticed less often. If the two images differ in size, or one is missing, both are read whole.

        Raises:
            FileNotFoundError, ValueError: see `frame`.
        """
        keys = (self.rgb_keys[index], self.aux_keys[index])[: 1 if self.modality == "rgb" else 2]
        if None in keys or is_event_key(keys[-1]):
            return self.frame(index)
        files = [self.store.read(key) for key in keys]
        sizes = {picture_size(data) for data in files}
        if len(sizes) > 1 or None in sizes:
            return self.frame(index)
        rgb = self._decode(files[0], keys[0], "color", self.rgb_keys, rows)
        self._check_size(sizes.pop(), keys[0])
        if self.modality == "rgb":
            return Frame(rgb, rgb)
        return Frame(rgb, self._decode(files[1], keys[1], MODALITIES[self.modality].decoder, self.aux_keys, rows))

    def _rgb_size(self) -> tuple[int, int] | None:
        """Returns width and height of an RGB image of the sequence, or None if all are missing."""
        if "size" not in self._found and (key := next((key for key in self.rgb_keys if key is not None), None)):
            self._check_size(self._read(key, "color", self.rgb_keys).shape[1::-1], key)
        return self._found.get("size")

    def _read_aux(self, key: str) -> np.ndarray:
        return self._read(key, MODALITIES[self.modality].decoder, self.aux_keys)

    def _read(self, key: str, decoder: str, keys: SequenceOf[str | None]) -> np.ndarray:
        if is_event_key(key):
            return draw_key(self.store, key, self.front_end.events, self._rgb_size())
        return self._decode(self.store.read(key), key, decoder, keys)

    def _decode(
        self, data: bytes, key: str, decoder: str, keys: SequenceOf[str | None], rows: int | None = None
    ) -> np.ndarray:
        source = f"{self.store.name}/{key}"
        if decoder == "depth":
            return DEPTH[self.front_end.depth](decode_unscaled(data, source, "depth"), self._depth_limits())
        thermal = self.front_end.thermal if self.modality == "rgbt" and keys is self.aux_keys else "auto"
        if thermal == "auto" and not has_16_bits(data):
            return decode_color(data, source, rows=rows)
        fixed = self.front_end.thermal_range if thermal == "fixed" else None
        levels = fixed or self.levels or self._find_levels(keys, thermal)
        return cv2.cvtColor(stretch(decode_unscaled(data, source, "color"), levels), cv2.COLOR_BGR2RGB)

    def _depth_limits(self) -> Levels:
        """Returns the depths that become white and black, of the first frame with a box and a depth image."""
        if self.front_end.depth != "metric":
            return 0.0, 0.0  # not used
        if "depth" not in self._found:
            frames = (index for index in np.flatnonzero(self.visible) if self.aux_keys[index] is not None)
            target = None
            if (index := next(frames, None)) is not None:
                key = self.aux_keys[index]
                depth = decode_unscaled(self.store.read(key), f"{self.store.name}/{key}", "depth")
                size = depth.shape[1::-1]
                scale = np.divide(size, self._rgb_size() or size)  # the box is in pixels of the RGB images
                target = target_depth(depth, self.boxes_xywh[index] * np.tile(scale, 2))
            self._found["depth"] = metric_limits(target, self.front_end.depth_range)
        return self._found["depth"]

    def _find_levels(self, keys: SequenceOf[str | None], thermal: str) -> Levels:
        stream = "rgb" if keys is self.rgb_keys else "aux"
        if stream not in self._found:
            first = [key for key in keys if key is not None][:LEVEL_FRAMES]
            images = [data for key in first if has_16_bits(data := self.store.read(key)) or thermal == "percentile"]
            if not images:
                raise ValueError(f"{self.store.name}/{self.name}: 8- and 16-bit images are mixed; convert them to one")
            self._found[stream] = find_levels(images, f"{self.store.name}/{first[0]}")
        return self._found[stream]

    def _check_size(self, size: tuple[int, int], key: str) -> None:
        width, height = size
        first = self._found.setdefault("size", size)
        if first != size:
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
        """Returns this sequence with every n-th frame only, starting with the first frame.

        If images are missing, their numbers count, not their positions.
        """
        complete = self.numbers is None
        kept = slice(None, None, n) if complete else np.flatnonzero(self.numbers % n == 0)
        rgb_keys, aux_keys = (
            keys[kept] if complete else tuple(keys[index] for index in kept) for keys in (self.rgb_keys, self.aux_keys)
        )
        return replace(
            self,
            rgb_keys=rgb_keys,
            aux_keys=aux_keys,
            boxes_xywh=self.boxes_xywh[kept],
            visible=self.visible[kept],
            aux_boxes_xywh=None if self.aux_boxes_xywh is None else self.aux_boxes_xywh[kept],
            numbers=None if complete else self.numbers[kept] // n,
        )

    @property
    def first_visible(self) -> int:
        """Index of the first visible frame, where a tracker starts. Raises ValueError if no frame is visible."""
        if not self.visible.any():
            raise ValueError(f"{self.store.name}/{self.name}: no frame has a valid box")
        return int(np.argmax(self.visible))


def _first_key(keys: SequenceOf[str | None]) -> str:
    return str(keys[0]) if keys else "an empty folder"
