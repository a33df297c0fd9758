"""RGB-depth data sets with one layout: DepthTrack, RGBD1K, CDTB, VOT-RGBD2022 and, presumably, STC.

DepthTrack has 152 training and 50 test videos, RGBD1K has 1,000 and 50, CDTB has 80 test videos. Depth is 16-bit, in
millimetres. A box is NaN if the target is absent.
"""

import numpy as np

from lib.data.datasets.folders import (
    build_sequence,
    find_folder,
    list_frames,
    list_sequences,
    load_split,
    read_each,
    read_numbers,
    skipped_images,
)
from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.texts import shorten

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
    return read_each(store, [f"{folder}/{name}" if folder else name for name in names], _read)


def stc(store: Store, split: str) -> list[Sequence]:
    """Reads split "test". We found no description of the layout; the file names are those of similar data sets.

    Raises:
        FileNotFoundError: there is no sequence, or a sequence has no colour or depth folder.
        ValueError: an annotation is invalid.
    """
    names = [name for name in store.list() if "." not in name and _stc_annotation(store, name)]
    if not names:
        raise FileNotFoundError(
            f"{store.name}: no sequence folder with groundtruth.txt; check the path and the download"
        )
    return read_each(store, names, _read_stc)


def _stc_annotation(store: Store, name: str) -> str | None:
    files = store.list(name)
    return next((file for file in ("groundtruth.txt", "groundtruth_rect.txt", "init.txt") if file in files), None)


def _read_stc(store: Store, name: str) -> Sequence:
    folders = find_folder(store, f"{name}/color", f"{name}/rgb").rsplit("/", 1)[1], "depth"
    return build_sequence(
        store, name, "rgbd", folders, read_numbers(store, f"{name}/{_stc_annotation(store, name)}", (4,))
    )


def _load(store: Store, split: str, val_list: str | None) -> list[Sequence]:
    if split == "test":
        return load_split(store, split, ("test", "sequences"), "groundtruth.txt", _read, "list.txt")
    return load_split(store, split, ("train",), "groundtruth.txt", _read_for_training, "list.txt", val_list=val_list)


def _read(store: Store, folder: str, min_side: float = 0) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    if folder.rsplit("/", 1)[-1] in SHORT_ANNOTATIONS:
        boxes_xywh = _fill_up(boxes_xywh, list_frames(store, f"{folder}/color"), f"{store.name}/{folder}")
    visible = (boxes_xywh[:, 2:] > min_side).all(axis=1)
    return build_sequence(store, folder, "rgbd", ("color", "depth"), boxes_xywh, visible)


def _fill_up(boxes_xywh: np.ndarray, keys: tuple[str, ...], where: str) -> np.ndarray:
    """Returns one box per image, NaN after the last row. Raises ValueError if an image between them is missing."""
    if gaps := skipped_images(keys)[1]:  # the number of rows cannot show it
        raise ValueError(f"{where}/color: these images are missing: {shorten(gaps)}; fetch the sequence again")
    return np.concatenate([boxes_xywh, np.full((max(0, len(keys) - len(boxes_xywh)), 4), np.nan)])


def _read_for_training(store: Store, folder: str) -> Sequence:
    return _read(store, folder, MIN_TRAIN_SIDE)
