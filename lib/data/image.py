"""Encoded bytes → (H, W, 3) uint8, one function per kind of image, for training and testing alike."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

DEPTH_LIMIT_MM = 10000


def decode_color(data: bytes, source: str) -> np.ndarray:
    """RGB, thermal or event picture as (H, W, 3) uint8 in RGB order; one channel is repeated.

    Raises:
        ValueError: empty, truncated or no image; names `source`.
    """
    return cv2.cvtColor(_decode(data, cv2.IMREAD_COLOR, source), cv2.COLOR_BGR2RGB)


def decode_depth(data: bytes, source: str) -> np.ndarray:
    """Depth in millimetres (one channel, 0 = no reading) as the JET picture that ViPT-family weights know."""
    depth = _decode(data, cv2.IMREAD_UNCHANGED, source)
    if depth.ndim != 2 or depth.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{source}: expected a one-channel 16-bit depth image, got {depth.dtype} {depth.shape}")
    return colormap_depth(depth)


def colormap_depth(depth: np.ndarray) -> np.ndarray:
    """(H, W) depth in mm → (H, W, 3) uint8: clipped at min(3 × median of the readings, 10 m), stretched to 0-255, JET.

    The picture stays in OpenCV's blue-first order, the one exception to RGB order, because ViPT-family weights expect
    it. A frame without any reading is black.
    """
    readings = depth[depth > 0]
    if not readings.size:
        return np.zeros((*depth.shape, 3), np.uint8)
    limit = min(3 * float(np.median(readings)), DEPTH_LIMIT_MM, np.iinfo(depth.dtype).max)
    clipped = np.minimum(depth, depth.dtype.type(limit))
    stretched = cv2.normalize(clipped, None, alpha=0, beta=255, norm_type=cv2.NORM_MINMAX)
    return cv2.applyColorMap(stretched.astype(np.uint8), cv2.COLORMAP_JET)


# Name → (encoded bytes, source named in errors) → (H, W, 3) uint8; see `Modality.decoder`.
DECODERS: dict[str, Callable[[bytes, str], np.ndarray]] = {"color": decode_color, "depth": decode_depth}


def _decode(data: bytes, mode: int, source: str) -> np.ndarray:
    if not _is_whole(data):
        raise ValueError(f"{source}: image is empty or cut off ({len(data)} bytes); fetch the file again")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise ValueError(f"{source}: not readable as an image ({len(data)} bytes); fetch the file again")
    return image


def _is_whole(data: bytes) -> bool:
    """False for a half-written file, of which OpenCV would return the upper part and grey below."""
    if data[:2] == b"\xff\xd8":  # JPEG: the end marker cannot occur inside the coded data
        return data.rfind(b"\xff\xd9") > len(data) // 2
    if data[:4] == b"\x89PNG":
        return b"IEND" in data[-64:]
    if data[:2] == b"BM":  # the header holds the file's size
        return len(data) >= int.from_bytes(data[2:6], "little")
    return bool(data)
