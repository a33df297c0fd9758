"""VTUAV (RGB-thermal from drones, 250 training, 176 short-term and 74 long-term test videos).

Every tenth frame is annotated, in both modalities.
"""

import logging

import numpy as np

from lib.data.datasets.folders import build_sequence, folder_contains, list_frames, read_numbers, split_names
from lib.data.sequence import Sequence
from lib.data.storage import Store

EVERY = 10  # frames between two annotations
FOLDERS = ("rgb", "ir")
MARKER = "rgb.txt"

logger = logging.getLogger(__name__)


def vtuav(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (a fixed tenth of the training set, ours), "test_ST" or "test_LT".

    Raises as `load_split`.
    """
    if split in ("test_ST", "test_LT"):
        return [_read(store, folder) for folder in _find_sequences(store, split).values()]
    folders = _find_sequences(store, "train")
    return [_read(store, folders[name]) for name in split_names(list(folders), split, None)]


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
    frames = len(list_frames(store, f"{folder}/{FOLDERS[0]}"))
    rgb_boxes, aux_boxes = (_read_boxes(store, f"{folder}/{name}.txt", frames) for name in FOLDERS)
    return build_sequence(store, folder, "rgbt", FOLDERS, rgb_boxes, aux_boxes_xywh=aux_boxes)


def _read_boxes(store: Store, key: str, frames: int) -> np.ndarray:
    """Reads one row per ten frames. Returns (frames, 4) boxes, NaN for frames without annotation."""
    rows, expected = read_numbers(store, key, (4,)), len(range(0, frames, EVERY))
    if len(rows) != expected:
        raise ValueError(
            f"{store.name}/{key}: {len(rows)} boxes for {frames} frames, expected {expected}, one per {EVERY} frames"
        )
    boxes = np.full((frames, 4), np.nan)
    boxes[::EVERY] = rows
    return boxes
