"""Response distillation (docs/method.md, "Response"). Published for the paper's predecessor by name; formula ours."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from lib.losses.common import FeatureSpec, Logs, in_float32, weighted
from lib.losses.tracking import giou_loss, to_xyxy, visible_iou
from lib.models.box_coder import decode
from lib.structures import Sample, TrackOutput


class Response(nn.Module):
    """Matches the score map, weighted by the difference of the two maps, and the box if the teacher's is better."""

    BOX_WEIGHT = 0.25

    layers = ()  # it needs no features of blocks

    def __init__(self, student: FeatureSpec, teacher: FeatureSpec):
        super().__init__()

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        """Returns the loss, a scalar, and values to log, scalars by name."""
        own, target = student.score_map.float().flatten(1), teacher.score_map.float().flatten(1)
        hardness = (own - target).abs().detach() + 0.05
        entropy = functional.binary_cross_entropy(target, target, reduction="none")
        excess = functional.binary_cross_entropy(own, target, reduction="none") - entropy
        score = weighted(excess, hardness)
        teacher_iou = visible_iou(teacher.boxes, sample)
        better = (teacher_iou > visible_iou(student.boxes, sample).clamp(min=0.5)).float() * sample.present
        at_peak = decode(teacher.score_map, student.size_map, student.offset_map).float()
        boxes, truth = to_xyxy(at_peak), to_xyxy(teacher.boxes.float())
        box = 2 * giou_loss(boxes, truth) + 5 * (boxes - truth).abs().mean(dim=1)
        return (score + self.BOX_WEIGHT * better * box).mean(), {"response/teacher_better": better.mean()}
