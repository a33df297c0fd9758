"""VTUAV (RGB-thermal from drones, 250 + 176 + 74 videos): one frame in ten is annotated, in both modalities."""

import logging

import numpy as np

from lib.data.datasets.folders import build_sequence, holds, list_frames, read_numbers, split_names
from lib.data.sequence import Sequence
from lib.data.storage import Store

EVERY = 10  # frames from one annotation to the next
FOLDERS = ("rgb", "ir")
MARKER = "rgb.txt"

logger = logging.getLogger(__name__)


def vtuav(store: Store, split: str) -> list[Sequence]:
    """Splits "train", "val" (a fixed tenth of the training set; none is published), "test_ST" and "test_LT"."""
    if split in ("test_ST", "test_LT"):
        return [_read(store, folder) for folder in _find_sequences(store, split).values()]
    folders = _find_sequences(store, "train")
    return [_read(store, folders[name]) for name in split_names(list(folders), split, None)]


def _find_sequences(store: Store, prefix: str) -> dict[str, str]:
    """Name → folder: <prefix>…/<sequence> or <prefix>…/<part>/<sequence>, as the download's parts were unpacked.

    Parts share some sequences: the first counts, the others are warned about.
    """
    tops = [name for name in store.list() if name.startswith(prefix)]
    parts = tops + [f"{top}/{entry}" for top in tops for entry in _list(store, top)]
    found: dict[str, str] = {}
    for part in parts:
        for name in _list(store, part):
            if not holds(store, part, name, MARKER):
                continue
            if name in found:
                logger.warning("%s: %s is there twice; %s/%s is left out", store.name, found[name], part, name)
            else:
                found[name] = f"{part}/{name}"
    if not found:
        raise FileNotFoundError(
            f"{store.name}: no sequence folder with {MARKER} in {prefix}…; found: {store.list()[:10]}"
        )
    return dict(sorted(found.items()))


def _list(store: Store, folder: str) -> list[str]:
    try:
        return store.list(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a file


def _read(store: Store, folder: str) -> Sequence:
    frames = len(list_frames(store, f"{folder}/{FOLDERS[0]}"))
    rgb_boxes, aux_boxes = (_read_boxes(store, f"{folder}/{name}.txt", frames) for name in FOLDERS)
    return build_sequence(store, folder, "rgbt", FOLDERS, rgb_boxes, aux_boxes_xywh=aux_boxes)


def _read_boxes(store: Store, key: str, frames: int) -> np.ndarray:
    """One row in ten frames → one a frame, NaN where nothing is annotated."""
    rows, expected = read_numbers(store, key, (4,)), len(range(0, frames, EVERY))
    if len(rows) != expected:
        raise ValueError(
            f"{store.name}/{key}: {len(rows)} boxes for {frames} frames, expected one in {EVERY}, {expected}"
        )
    boxes = np.full((frames, 4), np.nan)
    boxes[::EVERY] = rows
    return boxes
