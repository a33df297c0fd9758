"""COESOT (RGB-event, 827 training and 528 test videos). In `absent.txt`, 1 means that the target is present."""

import numpy as np

from lib.data.datasets.folders import build_sequence, check_flags, list_frames, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store


def coesot(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (a fixed tenth of the training set) or "test". Raises as `load_split`."""
    part = "test" if split == "test" else "train"
    folders = (part, f"{part}ing_subset", f"{part}_subset", f"{part}ing")
    return load_split(store, split, folders, "groundtruth.txt", _read, f"{part}list.txt")


def _read(store: Store, folder: str) -> Sequence:
    name, where = folder.rsplit("/", 1)[-1], f"{store.name}/{folder}"
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    files = store.list(folder)
    visible = np.ones(len(boxes_xywh), bool)
    if "absent.txt" in files:
        visible = check_flags(read_numbers(store, f"{folder}/absent.txt", (1,))[:, 0] > 0, len(boxes_xywh), where)
    images = tuple(f"{name}_{kind}" for kind in ("aps", "dvs"))
    frames = len(list_frames(store, f"{folder}/{images[0]}"))
    if frames != len(boxes_xywh) and "start_end_index.txt" in files:
        # Some videos were published with a part of their frames but with the annotation of all. The file contains the
        # numbers of the first and the last published frame, counted from 1.
        ((start, end),) = read_numbers(store, f"{folder}/start_end_index.txt", (2,)).astype(int)
        boxes_xywh, visible = boxes_xywh[start - 1 : end], visible[start - 1 : end]
    return build_sequence(store, folder, "rgbe", images, boxes_xywh, visible)
