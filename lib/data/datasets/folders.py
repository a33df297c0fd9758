"""Functions shared by the readers: list frames, read annotations, find folders, split training from validation data."""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from pathlib import Path

import numpy as np

from lib.data.sequence import Sequence
from lib.data.storage import ScreenedStore, Store
from lib.utils.boxes import is_valid
from lib.utils.files import decode_text, parse_rows
from lib.utils.texts import one_line, shorten

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
    return tuple(f"{folder}/{name}" for name in sort_frames(names))


def sort_frames(names: list[str]) -> list[str]:
    """Returns file names in the order of their frames, see `list_frames`."""
    numbers = {name: frame_number(name) for name in names}
    if None not in numbers.values() and len(set(numbers.values())) == len(names):
        return sorted(names, key=numbers.__getitem__)
    return sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )


def frame_number(key: str) -> int | None:
    """Returns the last number in the stem of a file name, or None if there is no number."""
    stem = key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    if stem.isdecimal():  # most names, and millions of them
        return int(stem)
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else None


def replace_number(key: str, number: int) -> str:
    """Returns the file name that an image with another number would have: 43 for rgb/000042.jpg gives 000043.jpg."""
    stem, dot, suffix = key.rsplit("/", 1)[-1].rpartition(".")
    return re.sub(r"\d+(?=\D*$)", lambda digits: f"{number:0{len(digits[0])}d}", stem) + dot + suffix


def frame_numbers(keys: SequenceOf[str]) -> list[int] | None:
    """Returns the number of each image, or None if an image has no number or two have the same."""
    numbers = [frame_number(key) for key in keys]
    return None if None in numbers or len(set(numbers)) < len(numbers) else numbers


def skipped_images(keys: SequenceOf[str]) -> tuple[int, list[str]]:
    """Returns how many numbers between the first and the last image have no image, and the gaps as file names.

    Some data sets, e.g. VisEvent, were published with gaps. Images without numbers give (0, []).

    Args:
        keys: of the images, in the order of their numbers.
    """
    numbers = frame_numbers(keys) or []
    gaps = []
    for key, (before, after) in zip(keys, itertools.pairwise(numbers), strict=False):
        if after > before + 1:
            first, last = replace_number(key, before + 1), replace_number(key, after - 1)
            gaps.append(first if first == last else f"{first} to {last}")
    return (numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0), gaps


def lone_images(rgb_keys: SequenceOf[str], aux_keys: SequenceOf[str]) -> list[str]:
    """Returns the images whose number exists in one modality only; empty if the images are not numbered.

    The two modalities may count from different numbers: numbers are compared as they are and from the first image on,
    and the comparison that fits better decides.
    """
    numbers = frame_numbers(rgb_keys), frame_numbers(aux_keys)
    if not all(numbers):
        return []
    found = []
    for firsts in ((0, 0), (numbers[0][0], numbers[1][0])):
        rgb, aux = (
            {number - first: key for number, key in zip(own, keys, strict=True)}
            for own, keys, first in zip(numbers, (rgb_keys, aux_keys), firsts, strict=True)
        )
        found.append([{**rgb, **aux}[number] for number in sorted(rgb.keys() ^ aux.keys())])
    return min(found, key=len)


def pair_frames(store: Store, rgb_folder: str, aux_folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the image keys of both modalities. Warns if they are equal in number but skip different frame numbers.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: images of one modality are missing; names them.
    """
    rgb_keys, aux_keys = list_frames(store, rgb_folder), list_frames(store, aux_folder)
    difference = abs(len(rgb_keys) - len(aux_keys))
    if difference and len(lone := lone_images(rgb_keys, aux_keys)) == difference:  # the numbers explain it
        folder = rgb_folder.rsplit("/", 1)[0]
        raise ValueError(
            f"{store.name}/{folder}: {len(rgb_keys)} RGB images but {len(aux_keys)} auxiliary images, "
            f"without a counterpart: {shorten(lone)}; fetch the missing files"
        )
    check_pairing(store, rgb_folder, rgb_keys, aux_keys)
    return rgb_keys, aux_keys


def check_pairing(store: Store, folder: str, rgb_keys: tuple[str, ...], aux_keys: tuple[str, ...]) -> None:
    """Warns if the images of both modalities are equal in number but skip different frame numbers."""
    steps = [np.diff([frame_number(key) or 0 for key in keys]) for keys in (rgb_keys, aux_keys)]
    if len(rgb_keys) == len(aux_keys) and not np.array_equal(*steps):
        logger.warning(
            "%s/%s: the two modalities skip different frame numbers; images are paired in sorted order",
            store.name,
            folder,
        )


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
    check_frames(rgb_keys, len(boxes_xywh), f"{store.name}/{folder}")
    valid = _visible(boxes_xywh, visible, f"{store.name}/{folder}")
    name = last_part(folder)
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
    check_frames(keys, len(boxes_xywh), f"{store.name}/{folder}")
    valid = _visible(boxes_xywh, visible, f"{store.name}/{folder}")
    return Sequence(last_part(folder), "rgb", store, keys, keys, boxes_xywh, valid)


def check_frames(keys: SequenceOf[str], boxes: int, where: str) -> None:
    """Raises ValueError, naming the missing images, if there are as many boxes too many as numbers without an image.

    `Sequence` refuses every other difference.
    """
    if boxes <= len(keys):
        return
    skipped, gaps = skipped_images(keys)
    if boxes == len(keys) + skipped:
        raise ValueError(
            f"{where}: {boxes} boxes for {len(keys)} frames; these images are missing: {shorten(gaps)}; "
            "fetch the sequence again"
        )


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
    found = shorten(store.list()) or "an empty folder"
    raise FileNotFoundError(
        f"{store.name}: none of the folders {', '.join(candidates)} exists; found {found}; "
        "correct the folder of this data set (DATA.ROOTS) or of all (DATA.ROOT)"
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
        names = without_missing(store, key, names, entries)
    else:
        names = [name for name in entries if not name.startswith(".") and folder_contains(store, folder, name, marker)]
    if not names:
        where = f"{store.name}/{folder}" if folder else store.name
        raise FileNotFoundError(f"{where}: no sequence folder with {marker}; check the path and the download")
    return names


def without_missing(store: Store, key: str, names: list[str], present: Iterable[str]) -> list[str]:
    """Returns the names of a list file that are present, if the others are left out (see `ScreenedStore`).

    Args:
        key: the list file, for the error text.

    Raises:
        FileNotFoundError: sequences are missing and not left out.
    """
    missing = sorted(set(names) - set(present))
    if isinstance(store, ScreenedStore):
        missing = [name for name in missing if name not in store.skip]
        if store.failed is not None:
            text = f"{store.name}/{key} lists it, but its folder is missing; complete the download or edit the list"
            store.failed.update(dict.fromkeys(missing, text))
            missing = []
    if missing:
        raise FileNotFoundError(
            f"{store.name}/{key} lists {len(missing)} sequences that are missing: {shorten(missing)}; "
            "complete the download or remove them from the list"
        )
    present = set(present)
    return [name for name in names if name in present]


def last_part(folder: str) -> str:
    """Returns the last part of a path in a store, by default the name of the sequence in this folder."""
    return folder.rsplit("/", 1)[-1]


def read_each(
    store: Store,
    folders: Iterable[str],
    read: Callable[[Store, str], Sequence],
    name_of: Callable[[str], str] = last_part,
) -> list[Sequence]:
    """Reads the sequences in `folders`, except those that are left out (see `ScreenedStore`).

    Args:
        read: function (store, folder of a sequence) → sequence.
        name_of: folder → name of the sequence, before it is read.

    Raises:
        FileNotFoundError: an image folder or an annotation is missing.
        ValueError: an annotation is invalid, or images, boxes and flags differ in number.
    """
    if not isinstance(store, ScreenedStore):
        return [read(store, folder) for folder in folders]
    sequences = []
    for folder in (folder for folder in folders if name_of(folder) not in store.skip):
        try:
            sequences.append(read(store.store, folder))
        except (OSError, ValueError) as error:
            if store.failed is None:
                raise
            store.failed[name_of(folder)] = one_line(error)
    return sequences


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
    return read_each(store, [f"{folder}/{name}" for name in names], read)
