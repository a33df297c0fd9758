"""A contact sheet: rows of frames, RGB above the auxiliary modality, with boxes and attribute flags."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lib.data.synthetic.render import ATTRIBUTES, render_scene
from lib.data.synthetic.scene import DATASETS, make_scene
from lib.utils.files import atomic_path

SHOWN_FLAGS = ("LI", "HI", "BC", "TC", "PO", "TO", "OV", "FM", "SA")
COLUMNS, FRAMES = 10, 60  # images per row, frames per sequence


def write_preview(path: str | Path, seed: int = 0, datasets: tuple[str, ...] = DATASETS, indices=range(3)) -> None:
    """Writes a contact sheet with some test sequences of every data set, COLUMNS frames of each.

    Args:
        indices: numbers of the test sequences.

    Raises:
        OSError: the file cannot be written, or its suffix is not an image format.
    """
    rows = []
    for dataset in datasets:
        for index in indices:
            rendered = render_scene(make_scene(dataset, seed, "test", index, FRAMES))
            times = np.linspace(0, FRAMES - 1, COLUMNS).astype(int)
            rows.append(np.hstack([_cell(rendered, t, f"{dataset} {index}") for t in times]))
    with atomic_path(path) as temporary:
        try:
            written = cv2.imwrite(str(temporary), np.vstack(rows)[..., ::-1])
        except cv2.error as error:
            raise OSError(f"{path}: cannot be written as an image") from error
        if not written:
            raise OSError(f"{path}: cannot be written as an image")


def _cell(rendered, t: int, title: str) -> np.ndarray:
    """Returns both modalities of one frame, (2H, W, 3) uint8."""
    aux = rendered.aux[t]
    if aux.dtype == np.uint16:
        aux = np.clip(aux.astype(np.float64) / 20, 0, 255).astype(np.uint8)  # 0 to 5.1 m
    aux = np.repeat(aux[..., None], 3, axis=2) if aux.ndim == 2 else aux.copy()
    flags = [name for name, on in zip(ATTRIBUTES, rendered.flags[t], strict=True) if on and name in SHOWN_FLAGS]
    x, y, w, h = rendered.boxes_xywh[t].astype(int).tolist()
    images = [np.ascontiguousarray(rendered.rgb[t]), np.ascontiguousarray(aux)]
    for image, text in zip(images, (f"{title} t{t}", " ".join(flags)), strict=True):
        cv2.rectangle(image, (x - 1, y - 1), (x + w, y + h), (0, 255, 0), 1)
        cv2.putText(image, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
        cv2.putText(image, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1)
        image[[0, -1]] = image[:, [0, -1]] = 0
    return np.vstack(images)
