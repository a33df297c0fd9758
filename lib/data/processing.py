"""Turns a template frame and a search frame into a Sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lib.data.augment import Augmentation, jitter_box
from lib.data.crop import Cropper, CropSpec, box_to_crop, crop_pair
from lib.data.tensors import pair_tensors
from lib.structures import MAX_DISTRACTORS, Frame, Sample, modality_index


@dataclass(frozen=True)
class Processing:
    """Crops both frames around their jittered boxes, applies the same augmentation to both, and converts to tensors.

    A call raises ValueError if a box is not finite or has no area, or if the modality is unknown.
    """

    template: CropSpec
    search: CropSpec
    augmentation: Augmentation

    def __call__(
        self,
        template: Frame | Cropper,
        template_box: np.ndarray,
        search: Frame | Cropper,
        search_box: np.ndarray,
        modality: str,
        rng: np.random.Generator,
        present: bool = True,
        distractors: np.ndarray | None = None,
    ) -> Sample | None:
        """Returns one sample without a batch dimension, or None if the jitter moved the target's centre out of a crop.

        Args:
            template, search: the frames, or functions that cut or draw any crop of them.
            template_box, search_box: (4,) xywh in image pixels.
            modality: a key of MODALITIES.
            rng: source of the augmentation and the jitter.
            present: whether the template's target is in the search frame.
            distractors: (K, 4) xywh in pixels of the search frame, boxes of other things if they are known.

        Raises:
            ValueError: a box is not finite or has no area, or the modality is unknown.
        """
        augment = self.augmentation.draw(rng)
        if modality == "rgb":
            augment = augment.on_one_image()
        crops = []
        others = np.empty((0, 4))
        for source, box, spec in ((template, template_box, self.template), (search, search_box, self.search)):
            jittered_box = jitter_box(box, spec.center_jitter, spec.scale_jitter, rng)
            crop_source = source if callable(source) else partial(crop_pair, source)
            pair, crop = crop_source(jittered_box, spec)
            box_cxcywh = box_to_crop(box, crop)
            if not ((box_cxcywh[:2] > 0) & (box_cxcywh[:2] < 1)).all():
                return None
            if spec is self.search and distractors is not None:
                others = augment.boxes(box_to_crop(distractors, crop))
            crops.append(augment(pair, box_cxcywh, search=spec is self.search))
        (template_pair, template_cxcywh), (search_pair, search_cxcywh) = crops
        return Sample(
            template=pair_tensors(template_pair),
            search=pair_tensors(search_pair),
            template_box=torch.tensor(template_cxcywh, dtype=torch.float32),
            search_box=torch.tensor(search_cxcywh, dtype=torch.float32),
            modality=torch.tensor(modality_index(modality)),
            present=torch.tensor(present),
            distractors=torch.from_numpy(pad_distractors(others)),
        )


def pad_distractors(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """Returns the boxes that reach into the crop, (K, 4) → (MAX_DISTRACTORS, 4) float32 cxcywh, zeros for the rest.

    If there are more, those with the largest part in the crop are kept.
    """
    half = boxes_cxcywh[:, 2:] / 2
    low, high = ((boxes_cxcywh[:, :2] + sign * half).clip(0, 1) for sign in (-1, 1))
    area = (high - low).prod(axis=1)
    kept = np.argsort(-area, kind="stable")[: min(MAX_DISTRACTORS, int((area > 0).sum()))]
    padded = np.zeros((MAX_DISTRACTORS, 4), np.float32)
    padded[: len(kept)] = boxes_cxcywh[kept]
    return padded
