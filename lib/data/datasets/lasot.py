"""LaSOT (RGB, 1,400 videos), for pretraining: in folders of classes, as downloaded, or all in one."""

import numpy as np

from lib.data.datasets.folders import list_frames, read_numbers, read_text, rgb_sequence
from lib.data.sequence import Sequence
from lib.data.storage import Store

LIST = "training_set.txt"  # of the evaluation toolkit: one name a line


def lasot(store: Store, split: str) -> list[Sequence]:
    """Split "train": the videos that `training_set.txt` names where it is there, else all of them."""
    entries = store.list()
    listed = set(read_text(store, LIST).split()) if LIST in entries else None
    sequences = []
    for entry in entries:
        names = [] if "." in entry else store.list(entry)
        if "groundtruth.txt" in names:
            sequences.append(entry)
        else:
            sequences += [f"{entry}/{name}" for name in names if name.startswith(f"{entry}-")]
    names = {folder.rsplit("/", 1)[-1]: folder for folder in sequences}
    if listed and (missing := sorted(listed - set(names))):
        raise FileNotFoundError(f"{store.name}/{LIST} names {len(missing)} videos that are not there: {missing[:5]}")
    if not names:
        raise FileNotFoundError(f"{store.name}: no video with groundtruth.txt, directly or in a class's folder")
    return [_read(store, folder) for name, folder in names.items() if listed is None or name in listed]


def _read(store: Store, folder: str) -> Sequence:
    visible = None
    for name in ("full_occlusion", "out_of_view"):  # one line of 0 and 1, where 1 means hidden
        hidden = _read_flags(store, f"{folder}/{name}.txt")
        visible = ~hidden if visible is None else visible & ~hidden
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    return rgb_sequence(store, folder, list_frames(store, f"{folder}/img"), boxes_xywh, visible)


def _read_flags(store: Store, key: str) -> np.ndarray:
    words = read_text(store, key).replace(",", " ").split()
    if wrong := sorted(set(words) - {"0", "1"}):
        raise ValueError(f"{store.name}/{key}: expected 0 and 1, found '{wrong[0][:40]}'")
    return np.array(words) == "1"
