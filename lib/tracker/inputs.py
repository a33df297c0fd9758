"""Converts what a caller has in memory to a `Frame`: PIL images, grey, float and 16-bit arrays, raw depth, nothing."""

from __future__ import annotations

import numpy as np

from lib.data.front_end import DEPTH, FrontEnd, metric_limits, target_depth
from lib.data.image import Levels, stretch
from lib.structures import MODALITIES, Frame, modality_index

COLORMAP = FrontEnd()
METRES = 100  # a float depth image whose readings are all below this is in metres, not in millimetres


def make_frame(rgb, aux, modality: str = "rgbt", levels: Levels | None = None, front_end: FrontEnd = COLORMAP) -> Frame:
    """Returns two (H, W, 3) uint8 images in RGB order.

    An image is a PIL image or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a fourth channel, alpha, is ignored.
    None says that the modality is missing in this frame: its image is black. Floats are in [0, 1]. With "rgbd", a
    one-channel `aux` is raw depth in millimetres and is converted as the files of data sets are, see `DEPTH`.

    Args:
        modality: a key of MODALITIES.
        levels: grey levels of 16-bit images, or of floats beyond [0, 1], that become 0 and 255. Use the same for a
            whole video. 8-bit images ignore it. Of metric depth: `depth_levels` of the first frame; other depth ignores
            it.
        front_end: `front_end` of the tracker, which was trained with it; by default, depth is coloured.

    Raises:
        ValueError: the modality is unknown, both images are None, or an image cannot be converted; the message says
            what is expected.
    """
    modality_index(modality)
    if rgb is None and aux is None:
        raise ValueError("both images are None; a frame needs at least one")
    decoder = MODALITIES[modality].decoder
    rgb = None if rgb is None else _convert(rgb, "color", "RGB image", levels)
    aux = None if aux is None else _convert(aux, decoder, "auxiliary image", levels, front_end.depth)
    return Frame(np.zeros_like(aux) if rgb is None else rgb, np.zeros_like(rgb) if aux is None else aux)


def depth_levels(depth, box_xywh, front_end: FrontEnd) -> Levels:
    """Returns the depths around a target that become white and black in a whole video, millimetres.

    Args:
        depth: the raw depth of the first frame, as for `make_frame`.
        box_xywh: (4,) the target in its pixels.
        front_end: see `make_frame`.

    Raises:
        ValueError: as `make_frame`, or the image has more than one channel.
    """
    array = _to_array(depth)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in "uif" or not array.size:
        raise ValueError(f"depth: expected an image (H, W) in millimetres, got {array.shape} {array.dtype}")
    return metric_limits(target_depth(_millimetres(array, "depth"), np.asarray(box_xywh)), front_end.depth_range)


def _convert(image, decoder: str, name: str, levels: Levels | None, depth: str = "colormap") -> np.ndarray:
    array = _to_array(image)
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or (array.shape[2:] or (1,))[0] not in (1, 3, 4):
        raise ValueError(
            f"{name}: expected a PIL image or an array (H, W) or (H, W, 3), got {array.shape} {array.dtype}"
        )
    if not array.size:
        raise ValueError(f"{name}: the image is empty, {array.shape}")
    array = array.reshape(*array.shape[:2], -1)[..., :3]
    if decoder == "depth" and array.shape[2] == 1:
        if depth == "metric" and (levels is None or not levels[0] < levels[1]):
            raise ValueError(f"{name}: metric depth needs levels=depth_levels(first depth image, its box, front_end)")
        return DEPTH[depth](_millimetres(array[..., 0], name), levels or (0.0, 0.0))
    array = _to_bytes(array, name, levels)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _to_array(image) -> np.ndarray:
    """Returns the pixels. PIL images with a palette, one bit or other colour spaces become RGB first."""
    if hasattr(image, "convert") and image.mode not in ("L", "RGB", "F") and not image.mode.startswith("I"):
        image = image.convert("RGB")
    return np.asarray(image)


def _to_bytes(array: np.ndarray, name: str, levels: Levels | None) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: some values are not finite")
    if levels is not None:
        if not levels[0] < levels[1]:
            raise ValueError(f"{name}: expected levels=(low, high) with low < high, got {levels}")
        return stretch(array, levels)
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        return stretch(array, (0, 1))
    raise ValueError(
        f"{name}: {array.dtype} values from {array.min():g} to {array.max():g}; expected uint8 or floats in [0, 1], or "
        "levels=(low, high), the values that become black and white in the whole video"
    )


def _millimetres(depth: np.ndarray, name: str) -> np.ndarray:
    """Returns depth as uint8 or uint16 in millimetres. What is not finite, or negative, is no reading: 0."""
    if depth.dtype in (np.uint8, np.uint16):
        return depth
    readings = np.where(np.isfinite(depth) & (depth > 0), depth, 0)
    if depth.dtype.kind == "f" and 0 < readings.max() < METRES:
        raise ValueError(f"{name}: depth up to {readings.max():g} looks like metres; expected millimetres")
    return np.rint(np.minimum(readings, np.iinfo(np.uint16).max)).astype(np.uint16)
