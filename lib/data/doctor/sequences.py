"""Checks of one sequence: its boxes, and every one of its images, which are decoded. Runs in worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from lib.data.doctor.findings import Finding
from lib.data.events import file_of, is_event_key, recent_events
from lib.data.image import decode_unscaled, has_16_bits, has_palette
from lib.data.sequence import ASPECT_TOLERANCE, Sequence
from lib.structures import MODALITIES
from lib.utils.boxes import is_valid
from lib.utils.texts import one_line, shorten

FLAT = 2  # grey levels: an image with a smaller range has no content, allowing for the rounding of JPEG


class Image(NamedTuple):
    """What the checks need of one decoded image."""

    index: int  # of its frame
    key: str
    size: tuple[int, int]  # width, height
    bits: int  # 8 or 16
    palette: bool
    flat: bool  # all pixels are equal
    digest: bytes  # of the file


def check_sequence(sequence: Sequence, every: int = 1) -> list[Finding]:
    """Checks the boxes of a sequence and decodes every `every`-th of its images; 0: none."""
    findings = [*_check_boxes(sequence)]
    if every:
        cv2.setNumThreads(1)
        broken: list[Finding] = []
        rgb = _inspect(sequence, sequence.rgb_keys, "color", every, broken)
        aux = []
        if sequence.modality != "rgb":
            decoder = MODALITIES[sequence.modality].decoder
            aux = _inspect(sequence, sequence.aux_keys, decoder, every, broken)
        findings += [*broken, *_check_stream(sequence, rgb, ""), *_check_stream(sequence, aux, sequence.modality)]
        findings += _check_events(sequence, rgb)
        findings += [*_check_sizes(sequence, rgb, aux), *_check_outside(sequence, rgb or aux)]
    return findings


def _finding(kind: str, sequence: Sequence, text: str) -> Finding:
    return Finding(kind, f"{sequence.store.name}/{sequence.name} ({text})", sequence.name)


def _check_boxes(sequence: Sequence) -> Iterator[Finding]:
    visible = int(sequence.visible.sum())
    if visible < 2:
        kind = "few" if visible else "absent"
        yield _finding(kind, sequence, f"{visible} of {len(sequence)} frames")
    for boxes, stream in ((sequence.boxes_xywh, ""), (sequence.aux_boxes_xywh, "auxiliary ")):
        if boxes is None:
            continue
        negative = np.flatnonzero((boxes[:, 2:] < 0).any(axis=1))
        if negative.size:
            first = f"{stream}row {negative[0] + 1}: {_numbers(boxes[negative[0]])}"
            yield _finding("negative", sequence, f"{first}; {len(negative)} of {len(boxes)} rows")
        missing = ~is_valid(boxes)
        missing[negative] = False
        if missing.any():
            nan = int((~np.isfinite(boxes).all(axis=1)).sum())
            text = f"{stream}{nan} NaN, {int(missing.sum()) - nan} zero of {len(boxes)}"
            yield _finding("unannotated", sequence, text)


def _inspect(sequence: Sequence, keys, decoder: str, every: int, broken: list[Finding]) -> list[Image]:
    """Decodes the images of a stream. Appends a finding for those that cannot be decoded to `broken`."""
    images, errors = [], []
    for index in range(0, len(keys), every):
        key = keys[index]
        if key is None or is_event_key(key):
            continue
        try:
            data = sequence.store.read(key)
            pixels = decode_unscaled(data, f"{sequence.store.name}/{key}", decoder)
        except (OSError, ValueError) as error:
            errors.append(one_line(error))
            continue
        ranges = (cv2.minMaxLoc(channel)[:2] for channel in cv2.split(pixels))
        flat = all(high - low <= FLAT for low, high in ranges)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        bits = 16 if pixels.dtype == np.uint16 or has_16_bits(data) else 8
        size = pixels.shape[1::-1]
        images.append(Image(index, key, size, bits, has_palette(data), flat, digest))
    if errors:
        count = f"; {len(errors)} such images in this sequence" if len(errors) > 1 else ""
        broken.append(Finding("image", errors[0] + count, sequence.name))
    return images


def _check_events(sequence: Sequence, rgb: list[Image]) -> Iterator[Finding]:
    """Checks the files of events that a sequence uses."""
    for key in dict.fromkeys(file_of(key) for key in sequence.aux_keys if key and is_event_key(key)):
        try:
            events = recent_events(sequence.store, key)
        except (OSError, ValueError) as error:
            yield Finding("image", one_line(error), sequence.name)
            continue
        size = events.size or (rgb[0].size if rgb else None)
        if not len(events.t):
            yield _finding("empty", sequence, f"{key}: no event")
        if size and (count := events.outside(size)):
            yield _finding("events", sequence, f"{key}: {count} of {len(events.t)} events outside {_size(size)} pixels")
        if events.backwards:
            yield _finding("events", sequence, f"{key}: times run backwards in {events.backwards} places")


def _check_stream(sequence: Sequence, images: list[Image], modality: str) -> Iterator[Finding]:
    """Checks the images of one stream. `modality` is that of auxiliary images, "" for RGB."""
    if not images:
        return
    words, is_depth = MODALITIES[modality].words if modality else "RGB", modality == "rgbd"
    deep = sum(image.bits == 16 for image in images)
    if 0 < deep < len(images):
        yield _finding("mixed", sequence, f"{words}: {deep} of {len(images)} have 16 bits")
    elif is_depth and not deep:
        yield _finding("depth8", sequence, f"{len(images)} images, the first {images[0].key}")
    elif deep and not is_depth:
        yield _finding("bits", sequence, f"{words}: {deep}")
    if palettes := [image.key for image in images if image.palette]:
        yield _finding("palette", sequence, f"{words}: {len(palettes)}, the first {palettes[0]}")
    if len(images) > 1 and all(image.flat for image in images):
        yield _finding("empty", sequence, f"{words}: {len(images)} images of one colour, the first {images[0].key}")
        return
    pairs = zip(images, images[1:], strict=False)
    repeated = [b.key for a, b in pairs if a.digest == b.digest and a.key != b.key and not b.flat]
    if repeated:
        yield _finding("duplicate", sequence, f"{words}: {shorten(repeated, most=1)}")


def _check_sizes(sequence: Sequence, rgb: list[Image], aux: list[Image]) -> Iterator[Finding]:
    if len({image.size for image in rgb}) > 1:
        other = next(image for image in rgb if image.size != rgb[0].size)
        yield _finding("sizes", sequence, f"{_size(rgb[0].size)}, but {other.key} has {_size(other.size)}")
    matching = {image.index: image for image in aux}
    pairs = [(image, matching[image.index]) for image in rgb if image.index in matching]
    if pairs and all(a.digest == b.digest for a, b in pairs) and sequence.modality != "rgb":
        yield _finding("copy", sequence, f"{len(pairs)} pairs")
    different = [(a, b) for a, b in pairs if a.size != b.size]
    stretched = [(a, b) for a, b in different if _stretch(a.size, b.size) > 1 + ASPECT_TOLERANCE]
    if different:
        a, b = (stretched or different)[0]
        text = f"{a.key} has {_size(a.size)}, {b.key} {_size(b.size)}"
        yield _finding("aspect" if stretched else "resized", sequence, text)


def _stretch(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Returns the ratio of the aspects of two sizes, at least 1."""
    ratio = first[0] * second[1] / (first[1] * second[0])
    return max(ratio, 1 / ratio)


def _check_outside(sequence: Sequence, images: list[Image]) -> Iterator[Finding]:
    """Finds valid boxes that do not overlap their image at all."""
    indices = np.array([image.index for image in images], int)
    sizes = np.array([image.size for image in images], np.float64).reshape(-1, 2)
    boxes = sequence.boxes_xywh[indices]
    overlaps = ((boxes[:, :2] < sizes) & (boxes[:, :2] + boxes[:, 2:] > 0)).all(axis=1)
    outside = np.flatnonzero(is_valid(boxes) & ~overlaps)
    if outside.size:
        at, image = outside[0], images[outside[0]]
        text = f"row {image.index + 1}: {_numbers(boxes[at])} in {_size(image.size)} pixels; {len(outside)} rows"
        yield _finding("outside", sequence, text)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _numbers(box: np.ndarray) -> str:
    return ",".join(f"{value:g}" for value in box)
