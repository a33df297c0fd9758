"""Image decoders: encoded bytes → (H, W, 3) uint8, one function per kind of image, for training and for testing."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable

import cv2
import numpy as np

try:
    import simplejpeg
except ImportError:  # OpenCV decodes to the same pixels, more slowly, and names less damage
    simplejpeg = None

DEPTH_LIMIT_MM = 10000
MAX_PIXELS = 1 << 27  # of one picture; 134 million pixels need 0.4 GB
PERCENTILES = 0.1, 99.9  # of the grey levels of 16-bit images; a few hot or dead pixels do not count
LEAST_LEVELS = {8: 32, 16: 255}  # bits of images → smallest range of grey levels that is stretched
JPEG = b"\xff\xd8"  # the first bytes of a file
# What libjpeg says of bytes that some cameras add at the end of each file; damage that is found late reads alike, but
# with more bytes.
EXTRANEOUS, MOST_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9"), 8
LEFT_OVER = re.compile(r"extraneous bytes before marker 0xd[0-79]")  # what it says of the part below `rows`
ROWS_BELOW = 4  # decoded as well: the colours of a row depend on those below it
# Second bytes of JPEG markers.
END_OF_IMAGE, START_OF_SCAN, RESTART_INTERVAL, RESTARTS = 0xD9, 0xDA, 0xDD, range(0xD0, 0xD8)
SEQUENTIAL = 0xC0, 0xC1  # starts of frames that are coded from top to bottom
SCAN_ENDS = {0xC4, END_OF_IMAGE, START_OF_SCAN, 0xDB, 0xDC, RESTART_INTERVAL, *range(0xE0, 0xF0), 0xFE}

Levels = tuple[float, float]  # the grey levels of a 16-bit image that become 0 and 255


def decode_color(data: bytes, source: str, levels: Levels | None = None, rows: int | None = None) -> np.ndarray:
    """Decodes an RGB, thermal or event image to (H, W, 3) uint8 in RGB order. A single channel is repeated.

    An EXIF orientation is ignored, as the annotations of the data sets do.

    Args:
        source: data set and key of the file, used in error texts.
        levels: of a 16-bit image; without effect on other images.
        rows: how many rows are needed, from the top. The result has at least these, equal to those of the whole image;
            most JPEG files are not decoded further, and damage is noticed less often. None: all.

    Raises:
        ValueError: `data` is empty, truncated, too large or not an image, or it has 16 bits and `levels` is None.
    """
    if rows is not None and (rgb := _decode_upper(data, source, rows)) is not None:
        return rgb
    if data[:2] == JPEG and (rgb := _decode_jpeg(data, source)) is not None:
        return rgb
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
    """Returns the range of grey levels of encoded images, by percentiles.

    It is at least 255 levels wide for 16-bit images and 32 for 8-bit images, so that noise is not stretched.

    Raises:
        ValueError: as `decode_color`.
    """
    decoded = [_decode(data, COLOR, source) for data in images]
    values = [np.percentile(image, PERCENTILES) for image in decoded]
    low, high = min(low for low, _ in values), max(high for _, high in values)
    least = LEAST_LEVELS[16 if any(image.dtype != np.uint8 for image in decoded) else 8]
    return float(low), float(max(high, low + least))


def has_16_bits(data: bytes) -> bool:
    """Returns whether an encoded image is a PNG with 16 bits per channel, the only such format that readers list."""
    return data[:4] == b"\x89PNG" and data[24:25] == b"\x10"


def has_palette(data: bytes) -> bool:
    """Returns whether an encoded image is a PNG with a palette."""
    return data[:4] == b"\x89PNG" and data[25:26] == b"\x03"


def decode_depth(data: bytes, source: str) -> np.ndarray:
    """Decodes a depth image (one channel, millimetres, 0 = no reading) to (H, W, 3) uint8, see `colormap_depth`.

    Raises:
        ValueError: as `decode_color`, or the image does not have one channel of 8 or 16 bits.
    """
    return colormap_depth(decode_unscaled(data, source, "depth"))


def decode_unscaled(data: bytes, source: str, decoder: str) -> np.ndarray:
    """Decodes an image to the values of its file: (H, W, 3) in BGR order, or (H, W) depth; uint8 or uint16.

    Args:
        decoder: a key of DECODERS.

    Raises:
        ValueError: as `decode_color`, or a depth image does not have one channel of 8 or 16 bits.
    """
    if decoder == "color":
        return _decode(data, COLOR, source)
    depth = _decode(data, cv2.IMREAD_UNCHANGED, source)
    if depth.ndim != 2 or depth.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{source}: expected a one-channel 8- or 16-bit depth image, got {depth.dtype} {depth.shape}")
    return depth


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


def check_complete(data: bytes, source: str) -> None:
    """Checks an encoded image without decoding it.

    Raises:
        ValueError: `data` is empty, cut off, too large, or a JPEG with damaged markers.
    """
    if not _is_complete(data):
        raise ValueError(f"{source}: image is empty or cut off ({len(data)} bytes); fetch the file again")
    if (size := picture_size(data)) and size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{source}: {size[0]}x{size[1]} pixels, more than {MAX_PIXELS}; scale the picture down")
    if data[:2] == JPEG and (damage := _jpeg_damage(data)):
        raise ValueError(f"{source}: damaged JPEG ({len(data)} bytes): {damage}; fetch the file again")


def peak_signal_to_noise(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio of two uint8 images of one shape in dB; infinity if they are equal."""
    error = float(np.square(first.astype(np.float32) - second).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def _decode(data: bytes, mode: int, source: str) -> np.ndarray:
    check_complete(data, source)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except (cv2.error, MemoryError):  # another format with a size beyond OpenCV's own limit, or no memory
        image = None
    if image is None:
        raise ValueError(f"{source}: cannot be decoded as an image ({len(data)} bytes); fetch the file again")
    return image


def _decode_jpeg(data: bytes, source: str) -> np.ndarray | None:
    """Decodes a JPEG file to (H, W, 3) uint8 RGB, bit for bit as OpenCV does, in a third of the time.

    libjpeg reads over damage with a warning that names no file; here, the warning is an error with the file's name.

    Returns:
        None if the package simplejpeg is missing, or cannot convert the colours (CMYK).

    Raises:
        ValueError: the file is cut off, too large or damaged.
    """
    if simplejpeg is None:
        return None
    check_complete(data, source)
    try:
        if simplejpeg.decode_jpeg_header(data, strict=False)[2] not in ("YCbCr", "Gray", "RGB"):
            return None
        return simplejpeg.decode_jpeg(data, colorspace="RGB")
    except (ValueError, KeyError) as error:  # KeyError: no header
        extraneous = EXTRANEOUS.search(str(error))
        if extraneous and int(extraneous[1]) <= MOST_EXTRANEOUS:
            return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False)
        damage = "no header" if isinstance(error, KeyError) else str(error).removeprefix("Corrupt JPEG data: ")
        raise ValueError(f"{source}: damaged JPEG ({len(data)} bytes): {damage}; fetch the file again") from error


def _decode_upper(data: bytes, source: str, rows: int) -> np.ndarray | None:
    """Decodes the upper part of a JPEG file to (rows or a few more, W, 3) uint8 RGB, as `_decode_jpeg` does.

    The height in the header is replaced, so that libjpeg stops early and complains of bytes that are left over.

    Returns:
        None if the file is no such JPEG, is damaged, or all its rows are needed: decode the whole file.

    Raises:
        ValueError: the file is cut off or too large.
    """
    if simplejpeg is None or (place := _height_place(data)) is None:
        return None
    height, width = struct.unpack(">HH", data[place : place + 4])
    rows = max(rows, 0) + ROWS_BELOW
    if rows >= height or not width:
        return None
    check_complete(data, source)
    upper = np.empty((rows, width, 3), np.uint8)
    with contextlib.suppress(ValueError, KeyError):
        if simplejpeg.decode_jpeg_header(data, strict=False)[2] not in ("YCbCr", "Gray", "RGB"):
            return None
        shortened = data[:place] + rows.to_bytes(2, "big") + data[place + 2 :]
        try:
            simplejpeg.decode_jpeg(shortened, colorspace="RGB", buffer=upper)
        except ValueError as error:  # after the last row, unless the rows are damaged
            return upper if LEFT_OVER.search(str(error)) else None
    return None


def _height_place(data: bytes) -> int | None:
    """Returns where the height stands in a JPEG file of one scan from top to bottom; None for other files."""
    if data[:2] != JPEG:
        return None
    place, height, components = 2, None, 0
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in SEQUENTIAL:
            height, components = place + 5, data[place + 9]
        elif marker == START_OF_SCAN:  # of several scans, each has some of the components
            return height if data[place + 4] == components else None
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Returns width and height of a PNG, BMP or JPEG from its header, without decoding; None if they are not found."""
    if data[:4] == b"\x89PNG" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"BM" and len(data) >= 26 and data[14] >= 40:
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)  # a negative height: the rows start at the top
    if data[:2] == JPEG:
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


def _jpeg_damage(data: bytes) -> str:
    """Returns what is wrong with the markers of a JPEG file, or "".

    For files that are not decoded, and without simplejpeg. Damaged coded data often contain a marker that cannot stand
    there (of 150 files, in 128 with 512 random bytes, in 82 with 64 flipped ones). Data without one, e.g. a part
    that is filled with zeros, or with an early end marker, are not recognised.
    """
    place, restarts = 2, False
    while 0 <= place < len(data) - 3:
        if data[place] != 0xFF:
            return f"no marker at byte {place}"
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == END_OF_IMAGE:
            return ""
        restarts = restarts or marker == RESTART_INTERVAL
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker != START_OF_SCAN:
            continue
        while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
            code = data[place + 1]
            if code in SCAN_ENDS:
                break
            if code not in (0x00, 0xFF) and not (restarts and code in RESTARTS):
                return f"marker ff{code:02x} in the coded data at byte {place}"
            place += 1 if code == 0xFF else 2
    return ""


def _is_complete(data: bytes) -> bool:
    """False for a truncated file. OpenCV may decode the upper part of such a file and fill the rest with grey."""
    if data[:2] == JPEG:  # JPEG: the coded data cannot contain the end marker
        return data.rfind(b"\xff\xd9") > len(data) // 2
    if data[:4] == b"\x89PNG":
        return b"IEND" in data[-64:]
    if data[:2] == b"BM":  # BMP: the header contains the file's size
        return len(data) >= int.from_bytes(data[2:6], "little")
    return bool(data)
