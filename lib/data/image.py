"""Image decoders: encoded bytes → (H, W, 3) uint8, one function per kind of image, for training and for testing."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

DEPTH_LIMIT_MM = 10000


def decode_color(data: bytes, source: str) -> np.ndarray:
    """Decodes an RGB, thermal or event image to (H, W, 3) uint8 in RGB order. A single channel is repeated.

    Args:
        source: data set and key of the file, used in error texts.

    Raises:
        ValueError: `data` is empty, truncated or not an image.
    """
    return cv2.cvtColor(_decode(data, cv2.IMREAD_COLOR, source), cv2.COLOR_BGR2RGB)


def decode_depth(data: bytes, source: str) -> np.ndarray:
    """Decodes a depth image (one channel, millimetres, 0 = no reading) to (H, W, 3) uint8, see `colormap_depth`.

    Raises:
        ValueError: as `decode_color`, or the image does not have one channel of 8 or 16 bits.
    """
    depth = _decode(data, cv2.IMREAD_UNCHANGED, source)
    if depth.ndim != 2 or depth.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{source}: expected a one-channel 8- or 16-bit depth image, got {depth.dtype} {depth.shape}")
    return colormap_depth(depth)


def colormap_depth(depth: np.ndarray) -> np.ndarray:
    """Maps (H, W) depth in mm to a (H, W, 3) uint8 JET image, as ViPT does.

    Depth is clipped at min(3 × median of the readings, 10 m) and scaled to 0-255 before the colour map is applied.
    The result is in OpenCV's BGR order, the only exception to RGB order, because weights of the ViPT family were
    trained on it. An image without readings becomes black. The input is not modified.
    """
    readings = depth[depth > 0]
    if not readings.size:
        return np.zeros((*depth.shape, 3), np.uint8)
    limit = min(3 * float(np.median(readings)), DEPTH_LIMIT_MM, np.iinfo(depth.dtype).max)
    clipped = np.minimum(depth, depth.dtype.type(limit))
    stretched = cv2.normalize(clipped, None, alpha=0, beta=255, norm_type=cv2.NORM_MINMAX)
    return cv2.applyColorMap(stretched.astype(np.uint8), cv2.COLORMAP_JET)


# `Modality.decoder` → function (encoded bytes, source for error texts) → (H, W, 3) uint8.
DECODERS: dict[str, Callable[[bytes, str], np.ndarray]] = {"color": decode_color, "depth": decode_depth}


def _decode(data: bytes, mode: int, source: str) -> np.ndarray:
    if not _is_complete(data):
        raise ValueError(f"{source}: image is empty or cut off ({len(data)} bytes); fetch the file again")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise ValueError(f"{source}: cannot be decoded as an image ({len(data)} bytes); fetch the file again")
    return image


def _is_complete(data: bytes) -> bool:
    """False for a truncated file. OpenCV may decode the upper part of such a file and fill the rest with grey."""
    if data[:2] == b"\xff\xd8":  # JPEG: the coded data cannot contain the end marker
        return data.rfind(b"\xff\xd9") > len(data) // 2
    if data[:4] == b"\x89PNG":
        return b"IEND" in data[-64:]
    if data[:2] == b"BM":  # BMP: the header contains the file's size
        return len(data) >= int.from_bytes(data[2:6], "little")
    return bool(data)
