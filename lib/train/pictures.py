"""Pictures of training samples: what the network sees, where the target is, and what it predicts."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.structures import MODALITIES, Sample, TrackOutput, take_rows, to_device
from lib.train.tasks import Task
from lib.utils.draw import PREDICTED, TRUTH, draw_box, overlay_score, write_label

SHOWN = 2  # samples of a batch


@torch.no_grad()
def sample_pictures(task: Task, sample: Sample, device: torch.device, autocast: torch.autocast) -> list[np.ndarray]:
    """Returns pictures of the first samples of a batch, (S, 4 S or 5 S, 3) uint8 RGB each; S: side of the search crop.

    The network is in evaluation mode meanwhile, so that its batch statistics do not change.

    Args:
        sample: a batch, on any device.
        autocast: context of the forward pass.
    """
    few = to_device(take_rows(sample, slice(SHOWN)), device)
    was_training = task.training
    task.eval()
    with autocast:
        output = task.predict(few)
    task.train(was_training)
    return [draw_sample(few, output, number) for number in range(len(few.modality))]


def draw_sample(sample: Sample, output: TrackOutput | None, number: int) -> np.ndarray:
    """Draws a sample of a batch: template and search crop of both modalities, then the score map on the RGB crop.

    The true boxes are green, the predicted box is red. Without a prediction, the score map is left out.
    """
    kind = list(MODALITIES)[int(sample.modality[number])]
    search = [_image(images[number]) for images in sample.search]
    size = len(search[0])
    panels = []
    for name, images in zip(("RGB", kind), sample.template, strict=True):
        panel = cv2.resize(_image(images[number]), (size, size))
        draw_box(panel, sample.template_box[number].tolist(), TRUTH)
        panels.append((f"template {name}", panel))
    for name, image in zip(("RGB", kind), search, strict=True):
        panel = image.copy()
        if sample.present[number]:
            draw_box(panel, sample.search_box[number].tolist(), TRUTH)
        if output is not None:
            draw_box(panel, output.boxes[number].tolist(), PREDICTED)
        panels.append((f"search {name}", panel))
    if output is not None:
        score_map = output.score_map[number, 0].float().cpu().numpy()
        panels.append((f"score {score_map.max():.2f}", overlay_score(search[0], score_map, at_corners=True)))
    for text, panel in panels:
        write_label(panel, text, (3, 13))
    return np.concatenate([panel for _, panel in panels], axis=1)


def _image(tensor: Tensor) -> np.ndarray:
    """(3, S, S) → (S, S, 3) uint8 RGB, contiguous."""
    return np.ascontiguousarray(tensor.permute(1, 2, 0).cpu().numpy())
