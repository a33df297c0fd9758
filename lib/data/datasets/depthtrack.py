"""DepthTrack (RGB-depth, 152 + 50 videos): 16-bit depth in millimetres, NaN boxes where the target is absent."""

import numpy as np

from lib.data.datasets.folders import build_sequence, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store

MIN_TRAIN_SIDE = 10  # pixels: smaller boxes are taken for annotation noise in training, as DeT and ViPT do
SHORT_ANNOTATIONS = {"toy07_indoor_320"}  # published with fewer rows than frames: the rest counts as absent


def depthtrack(store: Store, split: str) -> list[Sequence]:
    """Splits "train", "val" (6 of the training set, as DeT and ViPT hold out) and "test"."""
    if split == "test":
        return load_split(store, split, ("test", "sequences"), "groundtruth.txt", _read, "list.txt")
    return load_split(
        store, split, ("train",), "groundtruth.txt", _read_for_training, "list.txt", val_list="depthtrack_val.txt"
    )


def _read(store: Store, folder: str, min_side: float = 0) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    if folder.rsplit("/", 1)[-1] in SHORT_ANNOTATIONS:
        frames = sum(name.endswith((".jpg", ".png")) for name in store.list(f"{folder}/color"))
        boxes_xywh = np.concatenate([boxes_xywh, np.full((max(0, frames - len(boxes_xywh)), 4), np.nan)])
    visible = (boxes_xywh[:, 2:] > min_side).all(axis=1)
    return build_sequence(store, folder, "rgbd", ("color", "depth"), boxes_xywh, visible)


def _read_for_training(store: Store, folder: str) -> Sequence:
    return _read(store, folder, MIN_TRAIN_SIDE)
