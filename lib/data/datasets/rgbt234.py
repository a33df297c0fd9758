"""RGBT234, RGBT210 and GTOT (RGB-thermal test sets). RGBT234 and GTOT have separate boxes for each modality."""

from lib.data.datasets.folders import build_sequence, list_sequences, read_each, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.boxes import xyxy_to_xywh

FOLDERS = ("visible", "infrared")


def rgbt234(store: Store, split: str) -> list[Sequence]:
    """Reads split "test" with the boxes of both modalities, which differ by some pixels. Raises as `load_split`."""
    return read_each(store, list_sequences(store, "", "visible"), _read_rgbt234)


def rgbt210(store: Store, split: str) -> list[Sequence]:
    """Reads split "test" with one box for both modalities. Raises as `load_split`."""
    return read_each(store, list_sequences(store, "", "visible"), _read_rgbt210)


def gtot(store: Store, split: str) -> list[Sequence]:
    """Reads split "test" with the boxes of both modalities; the files contain corners. Raises as `load_split`."""
    return read_each(store, list_sequences(store, "", "v"), _read_gtot)


def _read_rgbt234(store: Store, name: str) -> Sequence:
    rgb_boxes, aux_boxes = (read_numbers(store, f"{name}/{part}.txt", (4,)) for part in FOLDERS)
    return build_sequence(store, name, "rgbt", FOLDERS, rgb_boxes, aux_boxes_xywh=aux_boxes)


def _read_rgbt210(store: Store, name: str) -> Sequence:
    return build_sequence(store, name, "rgbt", FOLDERS, read_numbers(store, f"{name}/init.txt", (4,)))


def _read_gtot(store: Store, name: str) -> Sequence:
    corners = (read_numbers(store, f"{name}/groundTruth_{part}.txt", (4,)) for part in ("v", "i"))
    rgb_boxes, aux_boxes = map(xyxy_to_xywh, corners)
    return build_sequence(store, name, "rgbt", ("v", "i"), rgb_boxes, aux_boxes_xywh=aux_boxes)
