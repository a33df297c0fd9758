"""LaSOT (RGB, 1,400 videos), for pretraining: in folders of classes, as downloaded, or all in one."""

import logging

import numpy as np

from lib.data.datasets.folders import check_flags, holds, list_frames, read_numbers, read_text, rgb_sequence
from lib.data.sequence import Sequence
from lib.data.storage import Store

MARKER = "groundtruth.txt"
LIST = "training_set.txt"  # of the evaluation toolkit: one name a line

logger = logging.getLogger(__name__)


def lasot(store: Store, split: str) -> list[Sequence]:
    """Split "train": the videos that `training_set.txt` names where it is there, else all of them."""
    folders = {}
    for entry in store.list():
        if holds(store, "", entry, MARKER):
            folders[entry] = entry
        else:
            inside = _list(store, entry)
            folders.update((name, f"{entry}/{name}") for name in inside if holds(store, entry, name, MARKER))
    if not folders:
        raise FileNotFoundError(f"{store.name}: no video with {MARKER}, directly or in a class's folder")
    if LIST not in store.list():
        logger.warning("%s: no %s; all %d videos are for training, the test set's too", store.name, LIST, len(folders))
        return [_read(store, folder) for folder in folders.values()]
    listed = read_text(store, LIST).split()
    if missing := sorted(set(listed) - set(folders)):
        raise FileNotFoundError(f"{store.name}/{LIST} names {len(missing)} videos that are not there: {missing[:5]}")
    return [_read(store, folders[name]) for name in listed]


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
    """One line of 0 and 1, where 1 means hidden."""
    words = read_text(store, key).replace(",", " ").split()
    if wrong := sorted(set(words) - {"0", "1"}):
        raise ValueError(f"{store.name}/{key}: expected 0 and 1, found '{wrong[0][:40]}'")
    return check_flags(np.array(words) == "1", frames, f"{store.name}/{key}")
