"""LaSOT (RGB, 1,400 videos), for pretraining. The videos are in one folder, or in one folder per class as published."""

import logging

import numpy as np

from lib.data.datasets.folders import (
    check_flags,
    folder_contains,
    list_frames,
    read_each,
    read_numbers,
    read_text,
    rgb_sequence,
    without_missing,
)
from lib.data.sequence import Sequence
from lib.data.storage import Store

MARKER = "groundtruth.txt"
LIST = "training_set.txt"  # from the evaluation toolkit: one name per line

logger = logging.getLogger(__name__)


def lasot(store: Store, split: str) -> list[Sequence]:
    """Reads split "train": the videos listed in `training_set.txt`, or all videos if there is no such file.

    Raises:
        FileNotFoundError: there is no video, or a listed video or a file is missing.
        ValueError: an annotation is invalid.
    """
    folders = {}
    for entry in store.list():
        if folder_contains(store, "", entry, MARKER):
            folders[entry] = entry
        else:
            names = [name for name in _list(store, entry) if folder_contains(store, entry, name, MARKER)]
            folders.update((name, f"{entry}/{name}") for name in names)
    if not folders:
        raise FileNotFoundError(f"{store.name}: no video folder with {MARKER}; check the path and the download")
    if LIST not in store.list():
        logger.warning("%s: no %s; trains on all %d videos, including the test set", store.name, LIST, len(folders))
        return read_each(store, folders.values(), _read)
    listed = without_missing(store, LIST, read_text(store, LIST).split(), folders)
    return read_each(store, [folders[name] for name in listed], _read)


def _list(store: Store, entry: str) -> list[str]:
    try:
        return store.list(entry)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a file


def _read(store: Store, folder: str) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder}/{MARKER}", (4,))
    hidden = [_read_flags(store, f"{folder}/{name}.txt", len(boxes_xywh)) for name in ("full_occlusion", "out_of_view")]
    visible = ~(hidden[0] | hidden[1])
    return rgb_sequence(store, folder, list_frames(store, f"{folder}/img"), boxes_xywh, visible)


def _read_flags(store: Store, key: str, frames: int) -> np.ndarray:
    """Reads one line of 0 and 1 as (frames,) bool; 1 means that the target is hidden."""
    words = read_text(store, key).replace(",", " ").split()
    if wrong := sorted(set(words) - {"0", "1"}):
        raise ValueError(f"{store.name}/{key}: expected 0 or 1, got '{wrong[0][:40]}'")
    return check_flags(np.array(words) == "1", frames, f"{store.name}/{key}")
