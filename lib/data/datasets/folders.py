"""What the readers share: listing frames, reading annotations, splitting training data from validation data."""

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
from lib.utils.files import parse_rows

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
SPLITS = Path(__file__).parent / "splits"

logger = logging.getLogger(__name__)


def list_frames(store: Store, folder: str) -> tuple[str, ...]:
    """Keys of the images in `folder`, by the last number in their names, whatever the prefix, digits, start or gaps.

    By all numbers and words in the name where some have no number or two have the same one.
    """
    names = [name for name in store.list(folder) if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")]
    numbers = {name: frame_number(name) for name in names}
    if None not in numbers.values() and len(set(numbers.values())) == len(names):
        names.sort(key=numbers.__getitem__)
    else:
        names.sort(key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)])
    return tuple(f"{folder}/{name}" for name in names)


def frame_number(key: str) -> int | None:
    """The last run of digits in the file's stem, or None."""
    digits = re.findall(r"\d+", key.rsplit("/", 1)[-1].rsplit(".", 1)[0])
    return int(digits[-1]) if digits else None


def pair_frames(store: Store, rgb_folder: str, aux_folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The frames of both modalities; warns where equal counts hide different frame numbers."""
    rgb_keys, aux_keys = list_frames(store, rgb_folder), list_frames(store, aux_folder)
    steps = [np.diff([frame_number(key) or 0 for key in keys]) for keys in (rgb_keys, aux_keys)]
    if len(rgb_keys) == len(aux_keys) and not np.array_equal(*steps):
        logger.warning(
            "%s/%s: the two modalities skip different frame numbers; paired in order", store.name, rgb_folder
        )
    return rgb_keys, aux_keys


def read_numbers(store: Store, key: str, columns: tuple[int, ...]) -> np.ndarray:
    """Annotation rows as (N, columns) float64. Raises FileNotFoundError or ValueError, naming the file."""
    return parse_rows(read_text(store, key), f"{store.name}/{key}", columns)


def read_text(store: Store, key: str) -> str:
    """A UTF-8 file, without the mark that Windows editors put first. Raises ValueError, naming the file."""
    try:
        return store.read(key).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{store.name}/{key}: expected text, found bytes that are none") from None


def build_sequence(
    store: Store,
    folder: str,
    modality: str,
    image_folders: tuple[str, str],
    boxes_xywh: np.ndarray,
    visible: np.ndarray | None = None,
    aux_boxes_xywh: np.ndarray | None = None,
) -> Sequence:
    """A sequence from `folder`; visible where the box is valid, and the given flags agree."""
    rgb_keys, aux_keys = pair_frames(store, *(f"{folder}/{name}" for name in image_folders))
    valid = _visible(boxes_xywh, visible, f"{store.name}/{folder}")
    name = folder.rsplit("/", 1)[-1]
    return Sequence(name, modality, store, rgb_keys, aux_keys, boxes_xywh, valid, aux_boxes_xywh)


def rgb_sequence(
    store: Store, folder: str, keys: SequenceOf[str], boxes_xywh: np.ndarray, visible: np.ndarray | None = None
) -> Sequence:
    """A sequence of RGB alone, as `build_sequence`."""
    valid = _visible(boxes_xywh, visible, f"{store.name}/{folder}")
    return Sequence(folder.rsplit("/", 1)[-1], "rgb", store, keys, keys, boxes_xywh, valid)


def _visible(boxes_xywh: np.ndarray, flags: np.ndarray | None, where: str) -> np.ndarray:
    valid = is_valid(boxes_xywh)
    return valid if flags is None else valid & check_flags(flags, len(valid), where)


def check_flags(flags: np.ndarray, frames: int, where: str) -> np.ndarray:
    """The flags. Raises ValueError where there is not one for each box."""
    if len(flags) != frames:
        raise ValueError(f"{where}: {len(flags)} visibility flags for {frames} boxes")
    return flags


def find_folder(store: Store, *candidates: str) -> str:
    """The first of the folders, as different downloads call it, that is there."""
    for candidate in candidates:
        try:
            store.list(candidate)
            return candidate
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(f"{store.name}: none of the folders {', '.join(candidates)}; found: {store.list()[:10]}")


def list_sequences(store: Store, folder: str, marker: str, list_file: str | None = None) -> list[str]:
    """Names of the sequence folders in `folder` ("": the data set's own): those that hold `marker`, or those that
    `list_file` names.

    Raises:
        FileNotFoundError: no sequence at all, or some of the list are missing; names them.
    """
    entries = store.list(folder)
    if list_file in entries:
        key = f"{folder}/{list_file}" if folder else list_file
        names = [line.strip() for line in read_text(store, key).splitlines() if line.strip()]
        if missing := sorted(set(names) - set(entries)):
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise FileNotFoundError(
                f"{store.name}/{key} names {len(missing)} sequences that are not there: {shown}; "
                "complete the download or take their lines out"
            )
    else:
        names = [name for name in entries if not name.startswith(".") and holds(store, folder, name, marker)]
    if not names:
        where = f"{store.name}/{folder}" if folder else store.name
        raise FileNotFoundError(f"{where}: no sequence folder with {marker} in it")
    return names


def holds(store: Store, folder: str, name: str, marker: str) -> bool:
    """Whether `name` in `folder` ("": the data set's own) is a folder that holds `marker`."""
    try:
        return marker in store.list(f"{folder}/{name}" if folder else name)
    except (FileNotFoundError, NotADirectoryError):
        return False


def split_names(names: list[str], split: str, list_name: str | None) -> list[str]:
    """The "train" or "val" part of a training set.

    The published validation list decides; where there is none, or none of it is present (an own or synthetic set), a
    tenth does, fixed by a hash of the names.
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
    """Reads the sequences of "test", or of the "train" or "val" part of a training set.

    Args:
        folders: what the split's folder is called in different downloads; see `find_folder`.
        marker, list_file: see `list_sequences`. val_list: see `split_names`.
        read: (store, folder of a sequence) → sequence.
    """
    folder = find_folder(store, *folders)
    names = list_sequences(store, folder, marker, list_file)
    if split != "test":
        names = split_names(names, split, val_list)
    return [read(store, f"{folder}/{name}") for name in names]
