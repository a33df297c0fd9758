"""Functions shared by the readers: list frames, read annotations, find folders, split training from validation data."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from pathlib import Path

import numpy as np

from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.boxes import is_valid
from lib.utils.files import decode_text, parse_rows

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
SPLITS = Path(__file__).parent / "splits"

logger = logging.getLogger(__name__)


def list_frames(store: Store, folder: str) -> tuple[str, ...]:
    """Returns the keys of the images in `folder`, sorted by the last number in their names.

    Prefixes, zero padding, the first number and gaps do not matter. If a name has no number, or two names have the same
    last number, the images are sorted by all words and numbers in their names. Raises FileNotFoundError if the folder
    is missing.
    """
    names = [name for name in store.list(folder) if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")]
    numbers = {name: frame_number(name) for name in names}
    if None not in numbers.values() and len(set(numbers.values())) == len(names):
        names.sort(key=numbers.__getitem__)
    else:
        names.sort(key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)])
    return tuple(f"{folder}/{name}" for name in names)


def frame_number(key: str) -> int | None:
    """Returns the last number in the stem of a file name, or None if there is no number."""
    digits = re.findall(r"\d+", key.rsplit("/", 1)[-1].rsplit(".", 1)[0])
    return int(digits[-1]) if digits else None


def pair_frames(store: Store, rgb_folder: str, aux_folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the image keys of both modalities. Warns if they are equal in number but skip different frame numbers.

    Raises:
        FileNotFoundError: a folder is missing.
    """
    rgb_keys, aux_keys = list_frames(store, rgb_folder), list_frames(store, aux_folder)
    steps = [np.diff([frame_number(key) or 0 for key in keys]) for keys in (rgb_keys, aux_keys)]
    if len(rgb_keys) == len(aux_keys) and not np.array_equal(*steps):
        logger.warning(
            "%s/%s: the two modalities skip different frame numbers; images are paired in sorted order",
            store.name,
            rgb_folder,
        )
    return rgb_keys, aux_keys


def read_numbers(store: Store, key: str, columns: tuple[int, ...]) -> np.ndarray:
    """Reads the rows of an annotation file as (N, columns) float64.

    Args:
        columns: accepted numbers of columns.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not text, or a row is invalid; names the line.
    """
    return parse_rows(read_text(store, key), f"{store.name}/{key}", columns)


def read_text(store: Store, key: str) -> str:
    """Reads a UTF-8 file without its byte order mark. Raises FileNotFoundError, or ValueError if it is not UTF-8."""
    return decode_text(store.read(key), f"{store.name}/{key}")


def build_sequence(
    store: Store,
    folder: str,
    modality: str,
    image_folders: tuple[str, str],
    boxes_xywh: np.ndarray,
    visible: np.ndarray | None = None,
    aux_boxes_xywh: np.ndarray | None = None,
) -> Sequence:
    """Builds a two-modality sequence from `folder`.

    Args:
        modality: a key of MODALITIES.
        image_folders: names of the RGB and the auxiliary folder inside `folder`.
        boxes_xywh, aux_boxes_xywh: (N, 4).
        visible: (N,) bool. A frame is visible if its flag is set and its box is valid.

    Raises:
        FileNotFoundError: an image folder is missing.
        ValueError: images, boxes and flags differ in number.
    """
    rgb_keys, aux_keys = pair_frames(store, *(f"{folder}/{name}" for name in image_folders))
    valid = _visible(boxes_xywh, visible, f"{store.name}/{folder}")
    name = folder.rsplit("/", 1)[-1]
    return Sequence(name, modality, store, rgb_keys, aux_keys, boxes_xywh, valid, aux_boxes_xywh)


def rgb_sequence(
    store: Store, folder: str, keys: SequenceOf[str], boxes_xywh: np.ndarray, visible: np.ndarray | None = None
) -> Sequence:
    """Builds an RGB sequence of N frames from the image keys.

    Args:
        folder: path of the sequence in the store; its last part is the name of the sequence.
        boxes_xywh: (N, 4).
        visible: (N,) bool. A frame is visible if its flag is set and its box is valid.

    Raises:
        ValueError: keys, boxes and flags differ in number.
    """
    valid = _visible(boxes_xywh, visible, f"{store.name}/{folder}")
    return Sequence(folder.rsplit("/", 1)[-1], "rgb", store, keys, keys, boxes_xywh, valid)


def _visible(boxes_xywh: np.ndarray, flags: np.ndarray | None, where: str) -> np.ndarray:
    valid = is_valid(boxes_xywh)
    return valid if flags is None else valid & check_flags(flags, len(valid), where)


def check_flags(flags: np.ndarray, frames: int, where: str) -> np.ndarray:
    """Returns the flags, (frames,) bool. Raises ValueError if their number differs from the number of boxes."""
    if len(flags) != frames:
        raise ValueError(f"{where}: {len(flags)} visibility flags for {frames} boxes")
    return flags


def find_folder(store: Store, *candidates: str) -> str:
    """Returns the first candidate that exists, since downloads differ in folder names.

    Raises:
        FileNotFoundError: no candidate exists.
    """
    for candidate in candidates:
        try:
            store.list(candidate)
            return candidate
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(
        f"{store.name}: none of the folders {', '.join(candidates)} exists; found {store.list()[:5]}"
    )


def list_sequences(store: Store, folder: str, marker: str, list_file: str | None = None) -> list[str]:
    """Returns the names of the sequence folders in `folder`.

    These are the names in `list_file` if that file exists, else the folders that contain `marker`.

    Args:
        folder: path in the store; "" for the root of the data set.

    Raises:
        FileNotFoundError: there is no sequence, or sequences of the list are missing.
    """
    entries = store.list(folder)
    if list_file in entries:
        key = f"{folder}/{list_file}" if folder else list_file
        names = [line.strip() for line in read_text(store, key).splitlines() if line.strip()]
        if missing := sorted(set(names) - set(entries)):
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise FileNotFoundError(
                f"{store.name}/{key} lists {len(missing)} sequences that are missing: {shown}; "
                "complete the download or remove them from the list"
            )
    else:
        names = [name for name in entries if not name.startswith(".") and folder_contains(store, folder, name, marker)]
    if not names:
        where = f"{store.name}/{folder}" if folder else store.name
        raise FileNotFoundError(f"{where}: no sequence folder with {marker}; check the path and the download")
    return names


def folder_contains(store: Store, folder: str, name: str, marker: str) -> bool:
    """Returns whether <folder>/<name> is a folder that contains `marker`; `folder` is "" for the data set's root."""
    try:
        return marker in store.list(f"{folder}/{name}" if folder else name)
    except (FileNotFoundError, NotADirectoryError):
        return False


def split_names(names: list[str], split: str, list_name: str | None) -> list[str]:
    """Returns the names of the "train" or the "val" part of a training set.

    The validation part is the published list in `splits/<list_name>`. If there is no list, or none of its sequences is
    present (in a private or synthetic data set), it is a tenth of the names, selected by a hash of each name (ours).
    """
    listed = set((SPLITS / list_name).read_text(encoding="utf-8").split()) if list_name else set()
    held_out = listed & set(names)
    if not held_out:
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        held_out = set(ranked[: max(1, round(len(names) / 10))])
    return [name for name in names if (name in held_out) == (split == "val")]


def load_split(
    store: Store,
    split: str,
    folders: tuple[str, ...],
    marker: str,
    read: Callable[[Store, str], Sequence],
    list_file: str | None = None,
    val_list: str | None = None,
) -> list[Sequence]:
    """Reads the sequences of the test set, or of the "train" or "val" part of the training set.

    Args:
        folders: possible names of the folder of this split; see `find_folder`.
        marker, list_file: see `list_sequences`.
        read: function (store, folder of a sequence) → sequence.
        val_list: see `split_names`.

    Raises:
        FileNotFoundError: a folder, a sequence or an annotation is missing.
        ValueError: an annotation is invalid, or images, boxes and flags differ in number.
    """
    folder = find_folder(store, *folders)
    names = list_sequences(store, folder, marker, list_file)
    if split != "test":
        names = split_names(names, split, val_list)
    return [read(store, f"{folder}/{name}") for name in names]
