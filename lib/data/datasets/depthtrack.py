"""RGB-depth sets of one layout: DepthTrack (152 + 50 videos), RGBD1K (1,000 + 50), CDTB (80), VOT-RGBD2022.

16-bit depth in millimetres, NaN boxes where the target is absent.
"""

import numpy as np

from lib.data.datasets.folders import build_sequence, find_folder, list_sequences, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store

MIN_TRAIN_SIDE = 10  # pixels: smaller boxes are taken for annotation noise in training, as DeT and ViPT do
SHORT_ANNOTATIONS = {"toy07_indoor_320"}  # published with fewer rows than frames: the rest counts as absent


def depthtrack(store: Store, split: str) -> list[Sequence]:
    """Splits "train", "val" (6 of the training set, as DeT and ViPT hold out) and "test"."""
    return _load(store, split, "depthtrack_val.txt")


def rgbd1k(store: Store, split: str) -> list[Sequence]:
    """Splits "train", "val" (a fixed tenth of the training set; none is published) and "test"."""
    return _load(store, split, None)


def vot_rgbd(store: Store, split: str) -> list[Sequence]:
    """Split "test": the VOT toolkit's folder of sequences, or what is in its `sequences/`."""
    folder = "sequences" if "sequences" in store.list() else ""
    names = list_sequences(store, folder, "groundtruth.txt", "list.txt")
    return [_read(store, f"{folder}/{name}" if folder else name) for name in names]


def stc(store: Store, split: str) -> list[Sequence]:
    """Split "test". Its layout is not described where we looked: names of folders and files as found in such sets."""
    sequences = []
    for name in store.list():
        inside = store.list(name) if "." not in name else []
        annotation = next(
            (file for file in ("groundtruth.txt", "groundtruth_rect.txt", "init.txt") if file in inside), None
        )
        if annotation:
            folders = find_folder(store, f"{name}/color", f"{name}/rgb").rsplit("/", 1)[1], "depth"
            boxes = read_numbers(store, f"{name}/{annotation}", (4,))
            sequences.append(build_sequence(store, name, "rgbd", folders, boxes))
    if not sequences:
        raise FileNotFoundError(f"{store.name}: no sequence folder with groundtruth.txt in it")
    return sequences


def _load(store: Store, split: str, val_list: str | None) -> list[Sequence]:
    if split == "test":
        return load_split(store, split, ("test", "sequences"), "groundtruth.txt", _read, "list.txt")
    return load_split(store, split, ("train",), "groundtruth.txt", _read_for_training, "list.txt", val_list=val_list)


def _read(store: Store, folder: str, min_side: float = 0) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    if folder.rsplit("/", 1)[-1] in SHORT_ANNOTATIONS:
        frames = sum(name.endswith((".jpg", ".png")) for name in store.list(f"{folder}/color"))
        boxes_xywh = np.concatenate([boxes_xywh, np.full((max(0, frames - len(boxes_xywh)), 4), np.nan)])
    visible = (boxes_xywh[:, 2:] > min_side).all(axis=1)
    return build_sequence(store, folder, "rgbd", ("color", "depth"), boxes_xywh, visible)


def _read_for_training(store: Store, folder: str) -> Sequence:
    return _read(store, folder, MIN_TRAIN_SIDE)
