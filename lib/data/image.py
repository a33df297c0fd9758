"""Image decoders: encoded bytes → (H, W, 3) uint8, one function per kind of image, for training and for testing."""

from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np

DEPTH_LIMIT_MM = 10000
MAX_PIXELS = 1 << 27  # of one picture; 134 million pixels need 0.4 GB
PERCENTILES = 0.1, 99.9  # of the grey levels of 16-bit images; a few hot or dead pixels do not count

Levels = tuple[float, float]  # the grey levels of a 16-bit image that become 0 and 255


def decode_color(data: bytes, source: str, levels: Levels | None = None) -> np.ndarray:
    """Decodes an RGB, thermal or event image to (H, W, 3) uint8 in RGB order. A single channel is repeated.

    An EXIF orientation is ignored, as the annotations of the data sets do.

    Args:
        source: data set and key of the file, used in error texts.
        levels: of a 16-bit image; without effect on other images.

    Raises:
        ValueError: `data` is empty, truncated, too large or not an image, or it has 16 bits and `levels` is None.
    """
    image = _decode(data, COLOR, source)
    if image.dtype != np.uint8:
        if levels is None:
            raise ValueError(f"{source}: a {image.dtype} image needs the grey levels that become black and white")
        image = stretch(image, levels)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def stretch(image: np.ndarray, levels: Levels) -> np.ndarray:
    """Maps the grey levels `levels` of an image of any shape and type linearly to 0 and 255, uint8; others are cut."""
    low, high = levels
    return np.rint(np.clip((image.astype(np.float32) - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)


def find_levels(images: list[bytes], source: str) -> Levels:
    """Returns the range of grey levels of encoded 16-bit images, by percentiles; it is at least 255 levels wide.

    Raises:
        ValueError: as `decode_color`.
    """
    values = [np.percentile(_decode(data, COLOR, source), PERCENTILES) for data in images]
    low, high = min(low for low, _ in values), max(high for _, high in values)
    return float(low), float(max(high, low + 255))


def has_16_bits(data: bytes) -> bool:
    """Returns whether an encoded image is a PNG with 16 bits per channel, the only such format that readers list."""
    return data[:4] == b"\x89PNG" and data[24:25] == b"\x10"


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


# IMREAD_UNCHANGED, for depth, ignores the orientation as well.
COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


def _decode(data: bytes, mode: int, source: str) -> np.ndarray:
    if not _is_complete(data):
        raise ValueError(f"{source}: image is empty or cut off ({len(data)} bytes); fetch the file again")
    if (size := picture_size(data)) and size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{source}: {size[0]}x{size[1]} pixels, more than {MAX_PIXELS}; scale the picture down")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except (cv2.error, MemoryError):  # another format with a size beyond OpenCV's own limit, or no memory
        image = None
    if image is None:
        raise ValueError(f"{source}: cannot be decoded as an image ({len(data)} bytes); fetch the file again")
    return image


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Returns width and height of a PNG, BMP or JPEG from its header, without decoding; None if they are not found."""
    if data[:4] == b"\x89PNG" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"BM" and len(data) >= 26 and data[14] >= 40:
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)  # a negative height: the rows start at the top
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding before a marker
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _is_complete(data: bytes) -> bool:
    """False for a truncated file. OpenCV may decode the upper part of such a file and fill the rest with grey."""
    if data[:2] == b"\xff\xd8":  # JPEG: the coded data cannot contain the end marker
        return data.rfind(b"\xff\xd9") > len(data) // 2
    if data[:4] == b"\x89PNG":
        return b"IEND" in data[-64:]
    if data[:2] == b"BM":  # BMP: the header contains the file's size
        return len(data) >= int.from_bytes(data[2:6], "little")
    return bool(data)
