"""The trained tracker: crop, forward, postprocess. The template is not updated (docs/method.md, Tracking)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lib.data.crop import CropSpec, box_from_crop, crop_pair
from lib.data.tensors import pair_tensors
from lib.structures import Frame, Pair, Prediction, modality_index, to_device
from lib.tracker.base import check_frame, check_init_box
from lib.tracker.postprocess import decode_peak, hann_window
from lib.utils.boxes import clip_xywh

CLIP_MARGIN = 10  # pixels of a predicted box that stay inside the image, and its smallest side
LOW_SCORE = 0.2  # below it, the network hardly sees the target, and its size is not believed
LOW_CHANGE = 1.02  # largest factor of width and height per frame while the score is low
BLANK = 2  # largest difference of grey levels in a crop that shows nothing


class TransCMDTracker:
    """Tracks with a network that maps (template, search, modality) to a `TrackOutput`.

    Args:
        template, search: geometry of the crops; jitter is ignored.
        modality: a key of MODALITIES, the kind of the auxiliary images.
        size_rate: share of the predicted change of size that is taken over per frame, times the score, in (0, 1]; 1:
            the predicted size, whatever the score.

    Raises:
        ValueError: the modality is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        template: CropSpec,
        search: CropSpec,
        modality: str,
        device: torch.device,
        size_rate: float = 1.0,
    ):
        self.model = model.to(device).eval()
        self.template_spec, self.search_spec = template, search
        self.modality = torch.tensor([modality_index(modality)], device=device)
        self.device, self.size_rate = device, size_rate
        self.template: Pair | None = None
        self.last_search: Frame | None = None  # both search crops of the last frame, for display
        self.last_score_map: np.ndarray | None = None  # (h, w)

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """See `Tracker.initialize`. Raises ValueError if the (4,) box is empty or outside the image."""
        self.box_xywh = check_init_box(box_xywh, frame)
        self.template = self._tensors(crop_pair(frame, self.box_xywh, self.template_spec)[0])

    @torch.inference_mode()
    def track(self, frame: Frame) -> Prediction:
        """See `Tracker.track`. The box, (4,) in image pixels, is clipped to the image.

        If both crops show nothing, the box stays where it was and the score is 0.

        Raises:
            ValueError: `initialize` was not called, an image is not (H, W, 3) uint8, or the images differ in size.
        """
        if self.template is None:
            raise ValueError("track() was called before initialize(); initialize the tracker with a box first")
        height, width = check_frame(frame)
        search, crop = crop_pair(frame, self.box_xywh, self.search_spec)
        if all(np.ptp(image) <= BLANK for image in search):
            self.last_search, self.last_score_map = search, np.zeros((1, 1), np.float32)
            return Prediction(self.box_xywh.copy(), 0.0)
        output = self.model(self.template, self._tensors(search), self.modality)
        maps = torch.cat([output.score_map, output.size_map, output.offset_map], dim=1)[0].cpu().numpy()
        box_cxcywh, score = decode_peak(maps[0], maps[1:3], maps[3:5], hann_window(*maps.shape[1:]))
        box = limit_size(box_from_crop(box_cxcywh, crop), self.box_xywh, score, self.size_rate)
        self.box_xywh = clip_xywh(box, height, width, margin=CLIP_MARGIN)
        self.last_search, self.last_score_map = search, maps[0]
        return Prediction(self.box_xywh.copy(), score)

    def _tensors(self, crops: Frame) -> Pair:
        """Converts two (S, S, 3) images to a batch with one item on the device."""
        return to_device(Pair(*(image[None] for image in pair_tensors(crops))), self.device)


def limit_size(box_xywh: np.ndarray, last_xywh: np.ndarray, score: float, rate: float) -> np.ndarray:
    """Returns the predicted box (4,) with a size that changes less from the last box (4,), around the same centre.

    Args:
        score: of the prediction; below LOW_SCORE, the size changes by at most LOW_CHANGE.
        rate: see `TransCMDTracker`.
    """
    last, size = last_xywh[2:], box_xywh[2:]
    limited = size if rate == 1 else last ** (1 - rate * score) * np.maximum(size, 1e-6) ** (rate * score)
    if score < LOW_SCORE:
        limited = np.clip(limited, last / LOW_CHANGE, last * LOW_CHANGE)
    return box_xywh if limited is size else np.concatenate([box_xywh[:2] + (size - limited) / 2, limited])
