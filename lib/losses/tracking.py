"""The supervised loss: focal + GIoU + L1. Published for OSTrack, on which the paper's code is based."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from lib.models.box_coder import encode_score
from lib.structures import Sample, TrackOutput

GIOU_EPS = 1e-7  # as torchvision's; crops are 1 wide


class TrackingLoss(nn.Module):
    """Three unweighted terms; each is the mean over the batch of one loss per sample, in float32."""

    def forward(self, output: TrackOutput, sample: Sample) -> dict[str, Tensor]:
        """Returns three scalars: "focal" for the score map, "giou" and "l1" for the box at its peak.

        The boxes are compared by their corners. The true box is clipped to the crop. Where the target is absent, the
        score must be low everywhere, and the losses of the box are 0.
        """
        with torch.autocast(output.score_map.device.type, enabled=False):
            score_map = output.score_map.float()
            present = sample.present.float()
            target = encode_score(sample.search_box, *score_map.shape[-2:]) * present[:, None, None, None]
            boxes, truth = to_xyxy(output.boxes.float()), visible_part(sample)
            return {
                "focal": focal_loss(score_map, target).mean(),
                "giou": (present * giou_loss(boxes, truth)).mean(),
                "l1": (present * (boxes - truth).abs().mean(dim=1)).mean(),
            }


def focal_loss(score_map: Tensor, target: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Returns CornerNet's penalty-reduced focal loss, (B,), summed over cells; one cell per sample is positive.

    Args:
        score_map: (B, 1, h, w) in (0, 1), without 0 and 1.
        target: (B, 1, h, w), 1 at the centre, in [0, 1) elsewhere; near 1, a high score has a small loss.
    """
    positive = target == 1
    loss = torch.where(
        positive,
        -torch.log(score_map) * (1 - score_map) ** alpha,
        -torch.log(1 - score_map) * score_map**alpha * (1 - target) ** beta,
    )
    return loss.flatten(1).sum(dim=1) / positive.flatten(1).sum(dim=1).clamp(min=1)


def giou_loss(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Returns 1 - GIoU of paired boxes (B, 4) → (B,) in [0, 2]. A box whose size is not positive has no area.

    It has no boolean masks, which would make a GPU wait and break the graph of `torch.compile`.
    """
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a_xyxy, b_xyxy)]
    shared = torch.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - torch.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    around = torch.maximum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - torch.minimum(a_xyxy[:, :2], b_xyxy[:, :2])
    intersection, hull = shared.clamp(min=0).prod(dim=1), around.clamp(min=0).prod(dim=1)
    union = areas[0] + areas[1] - intersection
    return 1 - intersection / (union + GIOU_EPS) + (hull - union) / (hull + GIOU_EPS)


def visible_part(sample: Sample) -> Tensor:
    """Returns the true boxes in the search crops, cut to the crop, (B, 4) corners as fractions of the crop."""
    return to_xyxy(sample.search_box).clamp(0, 1)


def visible_iou(boxes_cxcywh: Tensor, sample: Sample) -> Tensor:
    """Returns the IoU of boxes (B, 4) with the part of the true boxes that the search crops show, (B,) in [0, 1]."""
    return box_iou(boxes_cxcywh, box_convert(visible_part(sample), "xyxy", "cxcywh"))


def to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Converts (B, 4) centre and size to corners x1, y1, x2, y2, in the same unit."""
    return box_convert(boxes_cxcywh, "cxcywh", "xyxy")


def box_iou(a_cxcywh: Tensor, b_cxcywh: Tensor) -> Tensor:
    """Returns the IoU of paired boxes, (B, 4) each → (B,) in [0, 1]."""
    a, b = to_xyxy(a_cxcywh.float()), to_xyxy(b_cxcywh.float())
    side = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    intersection = side.prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)
