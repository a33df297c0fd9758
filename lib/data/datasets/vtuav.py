"""VTUAV (RGB-thermal from drones, 250 training, 176 short-term and 74 long-term test videos).

Every tenth frame is annotated, in both modalities. Row k, from 0, belongs to the image with the number of the first one
plus 10 k, not to the image at position 10 k: a download that lacks images between annotated ones can be read.
"""

import logging

import numpy as np

from lib.data.datasets.folders import (
    folder_contains,
    frame_number,
    frame_numbers,
    lone_images,
    pair_frames,
    read_each,
    read_numbers,
    replace_number,
    split_names,
)
from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.boxes import is_valid
from lib.utils.texts import shorten

EVERY = 10  # frames between two annotations
FOLDERS = ("rgb", "ir")
MARKER = "rgb.txt"

logger = logging.getLogger(__name__)


def vtuav(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (a fixed tenth of the training set, ours), "test_ST" or "test_LT".

    Warns about sequences with missing images. Raises as `load_split`, and if an annotated image is missing.
    """
    folders = _find_sequences(store, split if split in ("test_ST", "test_LT") else "train")
    names = list(folders) if split in ("test_ST", "test_LT") else split_names(list(folders), split, None)
    sequences = read_each(store, [folders[name] for name in names], _read)
    lacking = [f"{s.name} ({s.numbers[-1] + 1 - len(s)})" for s in sequences if s.numbers is not None]
    if lacking:
        logger.warning(
            "%s: images without annotation are missing in %d of %d sequences: %s; results have one row for each image "
            "that is there, so score them with the same copy of the data",
            *(store.name, len(lacking), len(sequences), shorten(lacking)),
        )
    return sequences


def _find_sequences(store: Store, prefix: str) -> dict[str, str]:
    """Maps sequence names to folders: <prefix>…/<sequence> or <prefix>…/<part>/<sequence>.

    Some sequences are in several parts of the download. The first copy is used; the others cause a warning.
    """
    tops = [name for name in store.list() if name.startswith(prefix)]
    parts = tops + [f"{top}/{entry}" for top in tops for entry in _list(store, top)]
    found: dict[str, str] = {}
    for part in parts:
        for name in _list(store, part):
            if not folder_contains(store, part, name, MARKER):
                continue
            if name in found:
                logger.warning("%s: duplicate of %s; %s/%s is ignored", store.name, found[name], part, name)
            else:
                found[name] = f"{part}/{name}"
    if not found:
        raise FileNotFoundError(
            f"{store.name}: no sequence folder with {MARKER} in {prefix}…; found {store.list()[:5]}"
        )
    return dict(sorted(found.items()))


def _list(store: Store, folder: str) -> list[str]:
    try:
        return store.list(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a file


def _read(store: Store, folder: str) -> Sequence:
    rgb_keys, aux_keys = pair_frames(store, *(f"{folder}/{name}" for name in FOLDERS))
    numbers = _number_frames(rgb_keys, aux_keys, f"{store.name}/{folder}")
    rgb_boxes, aux_boxes = (
        _read_boxes(store, f"{folder}/{name}.txt", keys, numbers)
        for name, keys in zip(FOLDERS, (rgb_keys, aux_keys), strict=True)
    )
    name, complete = folder.rsplit("/", 1)[-1], len(numbers) == 0 or numbers[-1] == len(numbers) - 1
    visible, numbers = is_valid(rgb_boxes), None if complete else numbers
    return Sequence(name, "rgbt", store, rgb_keys, aux_keys, rgb_boxes, visible, aux_boxes, numbers=numbers)


def _number_frames(rgb_keys: tuple[str, ...], aux_keys: tuple[str, ...], where: str) -> np.ndarray:
    """Returns the numbers of the images, counted from the first one, (frames,) int64.

    Images without any number are counted in their order.

    Raises:
        ValueError: an image exists in one modality only, or some images have no number or the same one.
    """
    for keys in (rgb_keys, aux_keys):
        if frame_numbers(keys) is None and any(frame_number(key) is not None for key in keys):
            raise ValueError(f"{where}: {_odd_names(keys)}; rows belong to image numbers, remove what is no frame")
    if lone := lone_images(rgb_keys, aux_keys):
        raise ValueError(
            f"{where}: {len(lone)} images have no counterpart in the other modality: {shorten(lone)}; "
            "fetch the sequence again"
        )
    numbers = frame_numbers(rgb_keys)
    return np.arange(len(rgb_keys)) if not numbers else np.array(numbers) - numbers[0]


def _odd_names(keys: tuple[str, ...]) -> str:
    """Returns a text that names images without a number, or else images with the same number."""
    seen: dict[int | None, list[str]] = {}
    for key in keys:
        seen.setdefault(frame_number(key), []).append(key)
    if without := seen.get(None):
        return f"{len(without)} images have no number in their names: {shorten(without)}"
    same = next(found for found in seen.values() if len(found) > 1)
    return f"images have the same number: {shorten(same)}"


def _read_boxes(store: Store, key: str, keys: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
    """Reads one row per ten image numbers.

    Args:
        keys: of the images of this modality.
        numbers: of the images, counted from the first one, ascending.

    Returns:
        (frames, 4) boxes, NaN for frames without annotation.

    Raises:
        ValueError: there are too many or too few rows, or an annotated image is missing.
    """
    rows, frames = read_numbers(store, key, (4,)), int(numbers[-1]) + 1 if len(numbers) else 0
    expected = len(range(0, frames, EVERY))
    if len(rows) != expected:
        missing = f", of which {frames - len(numbers)} are missing" if frames > len(numbers) else ""
        raise ValueError(
            f"{store.name}/{key}: {len(rows)} boxes for {frames} frames{missing}, expected {expected}, "
            f"one per {EVERY} frames"
        )
    annotated = np.arange(0, frames, EVERY)
    if (lost := np.setdiff1d(annotated, numbers)).size:
        first = frame_number(keys[0])
        names = [f"{replace_number(keys[0], first + n)} (row {n // EVERY + 1})" for n in lost.tolist()]
        raise ValueError(
            f"{store.name}/{keys[0].rsplit('/', 1)[0]}: annotated images are missing: {shorten(names)}; "
            "fetch the sequence again"
        )
    boxes = np.full((len(numbers), 4), np.nan)
    boxes[np.searchsorted(numbers, annotated)] = rows
    return boxes
