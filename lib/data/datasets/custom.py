"""Own videos, described by an entry of DATA.CUSTOM instead of a reader. data/README.md shows the folders."""

from __future__ import annotations

import fnmatch
import logging
import re
from functools import partial
from typing import NamedTuple

import numpy as np

from lib.data.datasets.folders import (
    IMAGE_SUFFIXES,
    check_pairing,
    folder_contains,
    frame_number,
    last_part,
    read_each,
    read_text,
    sort_frames,
    split_names,
)
from lib.data.events import SUFFIXES, share_keys, time_keys
from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.boxes import TO_XYWH, is_valid
from lib.utils.files import parse_rows
from lib.utils.texts import shorten

SPLIT_FOLDERS = ("train", "val", "test")
NUMBER_WORDS = re.compile(r"(?i)\b[+-]?(?:nan|inf)\b|\de[+-]?\d")  # letters that are part of numbers

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """Where the files of a sequence are, relative to its folder. Only the last part of a pattern has wildcards."""

    modality: str  # a key of MODALITIES
    rgb: str  # pattern of the RGB images, e.g. "rgb/*.jpg"
    aux: str  # pattern of the auxiliary images; "" for modality "rgb"
    boxes: str  # annotation file, e.g. "boxes.csv"
    form: str  # a key of TO_XYWH: what the four numbers of a box are
    times: str = ""  # file with the time of each RGB image in microseconds, for files of events


def read_custom(layout: Layout, store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" or "test" of own data.

    With the folders train/ and test/, and optionally val/, these are the splits. Otherwise all sequences are in the
    folder of the data set: "test" is all of them, and "train" and "val" are its parts. Without val/, a tenth of the
    training sequences is held out by name.

    Raises:
        FileNotFoundError: there is no sequence, or no file matches a pattern.
        ValueError: an annotation is invalid, or images and boxes differ in number.
    """
    found = {part: _list_sequences(store, part, layout.boxes) for part in ("", *SPLIT_FOLDERS)}
    if found["train"] or found["test"]:
        part = "train" if split == "val" and not found["val"] else split
        names = found[part]
        if part == "train" and not found["val"]:
            names = split_names(names, split, None)
    else:
        part, names = "", found[""]
        if split != "test":
            names = split_names(names, split, None)
        elif names:
            text = "%s: has no folder test; all %d sequences are used, also those that %s_train has"
            logger.warning(text, store.name, len(names), store.name)
    if not names:
        where = f"{store.name}/{part}" if part else store.name
        counts = ", ".join(f"{len(found[key])} in {key or 'the folder itself'}" for key in found)
        raise FileNotFoundError(
            f"{where}: no sequence for split '{split}', a folder that contains {layout.boxes}; found {counts}; "
            f"see data/README.md for the folders of DATA.CUSTOM.{store.name}"
        )
    return read_each(store, [f"{part}/{name}" if part else name for name in names], partial(read_sequence, layout))


def _list_sequences(store: Store, part: str, boxes: str) -> list[str]:
    """Returns the names of the folders in `part` that contain the annotation file."""
    try:
        entries = store.list(part)
    except (FileNotFoundError, NotADirectoryError):
        return []
    folder, _, file = boxes.rpartition("/")
    inside = f"/{folder}" if folder else ""
    return [name for name in entries if folder_contains(store, part, f"{name}{inside}", file)]


def read_sequence(layout: Layout, store: Store, folder: str) -> Sequence:
    """Reads one sequence. Raises as `read_custom`."""
    rgb_keys = _match(store, folder, layout.rgb, "RGB")
    aux_keys = rgb_keys
    if layout.aux.lower().endswith(SUFFIXES):
        aux_keys = _event_keys(layout, store, folder, rgb_keys)
    elif layout.modality != "rgb":
        aux_keys = _match(store, folder, layout.aux, "AUX")
        check_pairing(store, folder, rgb_keys, aux_keys)
    boxes_xywh = _read_boxes(store, f"{folder}/{layout.boxes}", layout.form, rgb_keys)
    name, visible = last_part(folder), is_valid(boxes_xywh)
    return Sequence(name, layout.modality, store, rgb_keys, aux_keys, boxes_xywh, visible)


def _match(store: Store, folder: str, pattern: str, key: str) -> tuple[str, ...]:
    """Returns the images of a sequence that match a pattern, in the order of their numbers."""
    inside, _, file = pattern.rpartition("/")
    place = f"{folder}/{inside}" if inside else folder
    hint = f"set DATA.CUSTOM.{store.name}.{key} to the pattern of the images, e.g. {key.lower()}/*.jpg"
    try:
        entries = store.list(place)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{store.name}/{place}: no such folder, from {key} '{pattern}'; {hint}") from None
    images = [name for name in entries if name.lower().endswith((*IMAGE_SUFFIXES, *SUFFIXES))]
    names = [name for name in images if fnmatch.fnmatchcase(name, file)]
    if not names:
        found = f"found {shorten(entries)}" if entries else "the folder is empty"
        raise FileNotFoundError(f"{store.name}/{place}: no image matches {key} '{pattern}', {found}; {hint}")
    return tuple(f"{place}/{name}" for name in sort_frames(names))


def _event_keys(layout: Layout, store: Store, folder: str, rgb_keys: tuple[str, ...]) -> tuple[str, ...]:
    """Returns keys for the images of one file of events, or of one file per image."""
    files = _match(store, folder, layout.aux, "AUX")
    if len(files) > 1:
        return tuple(key for file in files for key in share_keys(file, 1))
    if not layout.times:
        return share_keys(files[0], len(rgb_keys))
    key = f"{folder}/{layout.times}"
    times = parse_rows(read_text(store, key), f"{store.name}/{key}", (1,))[:, 0]
    if len(times) != len(rgb_keys) or not (np.diff(times) > 0).all():
        raise ValueError(
            f"{store.name}/{key}: expected {len(rgb_keys)} increasing times, one per RGB image, got {len(times)} rows"
        )
    return time_keys(files[0], times)


def _read_boxes(store: Store, key: str, form: str, keys: tuple[str, ...]) -> np.ndarray:
    """Reads the rows of an annotation: four numbers for each image, or the number of an image and four numbers.

    Returns:
        (N, 4) float64 xywh; NaN for images without a row.
    """
    source, text = f"{store.name}/{key}", read_text(store, key)
    first, newline, rest = text.partition("\n")
    if re.search("[A-Za-z]", NUMBER_WORDS.sub("", first)):  # names of the columns
        text = newline + rest
    rows = parse_rows(text, source, (4, 5))
    convert = TO_XYWH[form]
    if rows.shape[1] == 4:
        if len(rows) != len(keys):
            raise ValueError(
                f"{source}: {len(rows)} boxes for {len(keys)} images; write one row per image, or five columns: the "
                "number in the name of the image, then its box"
            )
        return convert(rows)
    return convert(_by_number(rows, keys, source))


def _by_number(rows: np.ndarray, keys: tuple[str, ...], source: str) -> np.ndarray:
    """Sorts (M, 5) rows by the images that their first column names. Returns (N, 4), NaN for images without a row."""
    places = {frame_number(key): place for place, key in enumerate(keys)}
    if len(places) < len(keys):
        raise ValueError(f"{source}: has five columns, but two images have the same number in their names; use four")
    unknown = [f"{number:g}" for number in rows[:, 0] if number not in places]
    if unknown:
        raise ValueError(
            f"{source}: {len(unknown)} rows name images that do not exist: {shorten(unknown)}; the first column is the "
            f"last number in the name of an image, e.g. {frame_number(keys[0])} for {keys[0]}"
        )
    if len(set(rows[:, 0])) < len(rows):
        raise ValueError(f"{source}: two rows have the same number in the first column; keep one box per image")
    boxes = np.full((len(keys), 4), np.nan)
    boxes[[places[int(number)] for number in rows[:, 0]]] = rows[:, 1:]
    return boxes
