"""Turns a template frame and a search frame into a Sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lib.data.augment import Augmentation, jitter_box
from lib.data.crop import Cropper, CropSpec, box_to_crop, crop_pair
from lib.data.tensors import pair_tensors
from lib.structures import Frame, Sample, modality_index


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
    ) -> Sample | None:
        """Returns one sample without a batch dimension, or None if the jitter moved the target's centre out of a crop.

        Args:
            template, search: the frames, or functions that cut or draw any crop of them.
            template_box, search_box: (4,) xywh in image pixels.
            modality: a key of MODALITIES.
            rng: source of the augmentation and the jitter.

        Raises:
            ValueError: a box is not finite or has no area, or the modality is unknown.
        """
        augment = self.augmentation.draw(rng)
        crops = []
        for source, box, spec in ((template, template_box, self.template), (search, search_box, self.search)):
            jittered_box = jitter_box(box, spec.center_jitter, spec.scale_jitter, rng)
            crop_source = source if callable(source) else partial(crop_pair, source)
            pair, crop = crop_source(jittered_box, spec)
            box_cxcywh = box_to_crop(box, crop)
            if not ((box_cxcywh[:2] > 0) & (box_cxcywh[:2] < 1)).all():
                return None
            crops.append(augment(pair, box_cxcywh))
        (template_pair, template_cxcywh), (search_pair, search_cxcywh) = crops
        return Sample(
            template=pair_tensors(template_pair),
            search=pair_tensors(search_pair),
            template_box=torch.tensor(template_cxcywh, dtype=torch.float32),
            search_box=torch.tensor(search_cxcywh, dtype=torch.float32),
            modality=torch.tensor(modality_index(modality)),
        )
