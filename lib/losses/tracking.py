"""The supervised loss: focal + GIoU + L1. Published, for OSTrack, which the paper's code derives from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, generalized_box_iou_loss

from lib.models.box_coder import encode_score
from lib.structures import Sample, TrackOutput


class TrackingLoss(nn.Module):
    """Three terms, unweighted; each a mean over the batch of per-sample losses, in float32 under any autocast."""

    def forward(self, output: TrackOutput, sample: Sample) -> dict[str, Tensor]:
        """Returns scalars: focal (on the score map), giou and l1 (on the corners of the box at its peak,
        against the part of the true box inside the crop)."""
        with torch.autocast(output.score_map.device.type, enabled=False):
            score_map = output.score_map.float()
            target = encode_score(sample.search_box, *score_map.shape[-2:])
            boxes, truth = to_xyxy(output.boxes.float()), to_xyxy(sample.search_box).clamp(0, 1)
            return {
                "focal": focal_loss(score_map, target).mean(),
                "giou": generalized_box_iou_loss(boxes, truth).mean(),
                "l1": (boxes - truth).abs().mean(),
            }


def focal_loss(score_map: Tensor, target: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """CornerNet's penalty-reduced focal loss: (B, 1, h, w) twice → (B,), summed over cells, one positive a sample.

    Args:
        score_map: in (0, 1), clamped away from both ends.
        target: 1 at the centre, in [0, 1) elsewhere; the closer to 1, the less a high score costs.
    """
    positive = target == 1
    loss = torch.where(
        positive,
        -torch.log(score_map) * (1 - score_map) ** alpha,
        -torch.log(1 - score_map) * score_map**alpha * (1 - target) ** beta,
    )
    return loss.flatten(1).sum(dim=1) / positive.flatten(1).sum(dim=1).clamp(min=1)


def to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """(B, 4) centre and size → corners."""
    return box_convert(boxes_cxcywh, "cxcywh", "xyxy")


def box_iou(a_cxcywh: Tensor, b_cxcywh: Tensor) -> Tensor:
    """(B, 4) twice → (B,) overlap of paired boxes."""
    a, b = to_xyxy(a_cxcywh.float()), to_xyxy(b_cxcywh.float())
    side = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    intersection = side.prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)
