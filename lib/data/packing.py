"""Re-encoding of images for an LMDB file, with a bound on the loss, and the check of a finished file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from lib.data.image import check_complete, has_palette, peak_signal_to_noise
from lib.data.storage import LmdbStore, find_files

IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
QUALITIES = 75, 85, 90, 95, 98, 100  # of JPEG; the first that meets the bound is taken

Convert = Callable[[str, bytes], bytes]  # (key, content of a file) → content in the LMDB file


def to_png(key: str, data: bytes) -> bytes:
    """Re-encodes a BMP image as PNG, without loss. Returns `data` of other files, and if it would not be smaller."""
    image = _decode_plain(key, data, (".bmp",))
    return data if image is None else _smaller(data, cv2.imencode(".png", image)[1].tobytes())


def to_jpeg(psnr: float) -> Convert:
    """Returns a function that re-encodes colour BMP and PNG images of 8 bits as JPEG.

    Depth, grey, 16-bit and palette images, and images with alpha, remain as they are, as does an image that would not
    become smaller or cannot meet the bound.

    Args:
        psnr: least peak signal-to-noise ratio of the result, dB.
    """

    def convert(key: str, data: bytes) -> bytes:
        image = _decode_plain(key, data, (".bmp", ".png"))
        for quality in QUALITIES if image is not None else ():
            options = (cv2.IMWRITE_JPEG_QUALITY, quality)
            encoded = cv2.imencode(".jpg", image, options)[1]
            if peak_signal_to_noise(image, cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)) >= psnr:
                return _smaller(data, encoded.tobytes())
        return data

    return convert


def _decode_plain(key: str, data: bytes, suffixes: tuple[str, ...]) -> np.ndarray | None:
    """Returns an 8-bit image of three channels, (H, W, 3) BGR, or None if the file is something else or damaged."""
    if not key.lower().endswith(suffixes) or has_palette(data):
        return None
    try:
        check_complete(data, key)
    except ValueError:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return image if image is not None and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 else None


def _smaller(first: bytes, second: bytes) -> bytes:
    return second if len(second) < len(first) else first


def verify_lmdb(folder: str | Path, target: str | Path, convert: Convert | None = None) -> Iterator[tuple[str, str]]:
    """Compares every value of an LMDB file with the file that was packed.

    Args:
        convert: the function that the file was packed with.

    Yields:
        The key, and what is wrong: the value is missing or differs, or the image itself is cut off or damaged; or "".

    Raises:
        ValueError: the LMDB file is damaged.
        OSError: a file cannot be read.
    """
    store = LmdbStore(target)
    for name, path in ((key.decode(), path) for key, path in find_files(folder).items()):
        data, problem = path.read_bytes(), ""
        try:
            value = store.read(name)
        except FileNotFoundError:
            yield name, f"{name}: is missing in {target}; pack again with --overwrite"
            continue
        if value != data and (convert is None or value != convert(name, data)):
            problem = f"{name}: differs in {target}; pack again with --overwrite"
        elif name.lower().endswith(IMAGES):
            try:
                check_complete(data, str(path))
            except ValueError as error:
                problem = str(error)
        yield name, problem
