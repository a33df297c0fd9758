"""Videos of drones, birds, planes and helicopters in visible light or in thermal; the other modality is missing.

The videos are those of Drone-detection-dataset as small pictures: ir/<video> and visible/<video>, each with boxes.csv
(number of the picture, x, y, w, h; nan: absent).
"""

from __future__ import annotations

import numpy as np

from lib.data.datasets.folders import frame_number, list_frames, list_sequences, read_each, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.boxes import is_valid

BOXES = "boxes.csv"


def drones(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", or "val": the last tenth of the videos of either kind. The missing modality is black.

    Raises:
        FileNotFoundError: a folder or an annotation is missing.
        ValueError: an annotation is invalid or does not fit its pictures.
    """
    found = []
    for kind in ("ir", "visible"):
        names = list_sequences(store, kind, BOXES)
        held_out = max(1, len(names) // 10)
        names = names[-held_out:] if split == "val" else names[:-held_out]
        found += [f"{kind}/{name}" for name in names]
    return read_each(store, found, _read, _name_of)


def _name_of(folder: str) -> str:
    return folder.replace("/", "_", 1)


def _read(store: Store, folder: str) -> Sequence:
    keys, rows = list_frames(store, folder), read_numbers(store, f"{folder}/{BOXES}", (5,))
    if [frame_number(key) for key in keys] != rows[:, 0].astype(int).tolist():
        raise ValueError(
            f"{store.name}/{folder}: {BOXES} lists {len(rows)} pictures, expected the {len(keys)} of the folder in "
            "their order; fetch the video again"
        )
    missing = (None,) * len(keys)
    rgb_keys, aux_keys = (missing, keys) if folder.startswith("ir/") else (keys, missing)
    boxes = np.ascontiguousarray(rows[:, 1:])
    return Sequence(_name_of(folder), "rgbt", store, rgb_keys, aux_keys, boxes, is_valid(boxes))
