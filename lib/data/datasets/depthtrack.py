"""RGB-depth data sets with one layout: DepthTrack, RGBD1K, CDTB, VOT-RGBD2022 and, presumably, STC.

DepthTrack has 152 training and 50 test videos, RGBD1K has 1,000 and 50, CDTB has 80 test videos. Depth is 16-bit, in
millimetres. A box is NaN if the target is absent.
"""

import numpy as np

from lib.data.datasets.folders import build_sequence, find_folder, list_sequences, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store

MIN_TRAIN_SIDE = 10  # pixels: in training, boxes up to this side count as annotation noise, as in DeT and ViPT
SHORT_ANNOTATIONS = {"toy07_indoor_320"}  # published with fewer rows than frames: the other frames count as absent


def depthtrack(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (6 training videos, as in DeT and ViPT) or "test". Raises as `load_split`."""
    return _load(store, split, "depthtrack_val.txt")


def rgbd1k(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (a fixed tenth of the training set, ours) or "test". Raises as `load_split`."""
    return _load(store, split, None)


def vot_rgbd(store: Store, split: str) -> list[Sequence]:
    """Reads split "test" from the VOT toolkit's folder of sequences, or from its subfolder `sequences/`.

    Raises as `load_split`.
    """
    folder = "sequences" if "sequences" in store.list() else ""
    names = list_sequences(store, folder, "groundtruth.txt", "list.txt")
    return [_read(store, f"{folder}/{name}" if folder else name) for name in names]


def stc(store: Store, split: str) -> list[Sequence]:
    """Reads split "test". We found no description of the layout; the file names are those of similar data sets.

    Raises:
        FileNotFoundError: there is no sequence, or a sequence has no colour or depth folder.
        ValueError: an annotation is invalid.
    """
    sequences = []
    for name in store.list():
        files = store.list(name) if "." not in name else []
        annotation = next(
            (file for file in ("groundtruth.txt", "groundtruth_rect.txt", "init.txt") if file in files), None
        )
        if annotation:
            folders = find_folder(store, f"{name}/color", f"{name}/rgb").rsplit("/", 1)[1], "depth"
            boxes = read_numbers(store, f"{name}/{annotation}", (4,))
            sequences.append(build_sequence(store, name, "rgbd", folders, boxes))
    if not sequences:
        raise FileNotFoundError(
            f"{store.name}: no sequence folder with groundtruth.txt; check the path and the download"
        )
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
