"""Renders whole sequences of version 2 for `lib.data.synthetic.write`, so that tests have files of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lib.data.synthetic.render import ATTRIBUTES, Rendered
from lib.data.synthetic.scene import DATASETS, sequence_name
from lib.data.synthetic.v2.render import WHOLE
from lib.data.synthetic.v2.scene import MODALITIES, VERSION, make_scene
from lib.data.synthetic.v2.sequence import draw_raw
from lib.data.synthetic.v2.textures import Textures


class DrawnRecord(NamedTuple):
    """What the writers of files ask of a scene."""

    name: str
    frames: int
    key: tuple[int, ...]


class TextureRenderer:
    """Renders the sequences of `write_datasets` from textures.

    Args:
        textures: those of "train" sequences and of "test" sequences.
    """

    version = VERSION

    def __init__(self, textures: dict[str, Textures]):
        self.textures = textures

    def arguments(self) -> dict:
        """Returns what the data depend on, for the manifest."""
        return {"textures": {split: textures.index for split, textures in self.textures.items()}}

    def __call__(self, dataset: str, seed: int, split: str, index: int, frames: int) -> tuple[DrawnRecord, Rendered]:
        """Renders one sequence. Boxes are rounded to whole pixels; no attribute is annotated."""
        number = index * len(MODALITIES) + DATASETS.index(dataset)
        scene = make_scene(self.textures[split], seed, number)
        pairs = [draw_raw(scene, t, WHOLE) for t in range(frames)]
        boxes = np.rint(scene.boxes_xywh(np.arange(frames)))
        rgb, aux = (np.stack(images) for images in zip(*pairs, strict=True))
        rendered = Rendered(
            rgb, aux, boxes, np.ones(frames, bool), np.zeros((frames, len(ATTRIBUTES)), np.uint8), np.zeros(0, bool)
        )
        return DrawnRecord(sequence_name(dataset, seed, split, index), frames, scene.key), rendered
