"""MPSD, multi-path selection distillation (docs/method.md, "MPSD"). Published: name and aim; ours: the formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.losses.common import FeatureSpec, Logs, cosine, in_float32, normalize, token_weights, weighted
from lib.losses.tracking import visible_iou
from lib.structures import Sample, TrackOutput

PATH_TEMPERATURE, PATH_FLOOR = 0.1, 0.05  # tau_p; sum of the minimum path weights
LEAST_SPREAD = 0.02  # of the per-path IoU, below which paths count as equal: it limits what the z-score magnifies
MIN_TEACHER_IOU = 0.3  # samples with a lower IoU of the teacher do not count
LEAST_ADVANTAGE = 0.1  # weight of a sample on which the teacher is not better than the student
FUSED = "fused"


class MPSD(nn.Module):
    """Teaches a simple fusion which of the teacher's fusion paths to follow on each sample.

    Per sample, pi = softmax(z / tau) with a floor, where z is the z-score within the sample of the per-path IoU: the
    overlap of the true box with the box that the teacher's head predicts from the path. The fused output is one more
    path. A sample's weight grows with the teacher's advantage over the student. Samples with a teacher IoU below
    MIN_TEACHER_IOU have no loss.

    Args:
        selection: "reliability", or the controls "uniform" (equal weights) and "fused" (fused output only, no paths).

    Raises:
        ValueError: the teacher's fusion has no paths to select from.
    """

    places = (FUSED,)
    layers = ()  # it needs no features of blocks

    def __init__(self, student: FeatureSpec, teacher: FeatureSpec, selection: str = "reliability"):
        super().__init__()
        if selection != "fused" and not teacher.paths:
            raise ValueError("MPSD needs a teacher whose fusion has paths, e.g. MODEL.FUSION.TYPE multi_path")
        self.paths = (FUSED,) if selection == "fused" else (*teacher.paths, FUSED)
        self.selection = selection
        self.project = nn.ModuleDict({k: nn.Linear(student.width, teacher.width) for k in self.paths})
        self.template_tokens = student.template_tokens

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        """Returns the loss, a scalar, and values to log, scalars by name."""
        weight = token_weights(sample.search_box, student, self.template_tokens)[:, self.template_tokens :]
        outputs = [teacher if name == FUSED else teacher.paths[name] for name in self.paths]
        own = student.features["fused"].float()
        distance = torch.stack(
            [
                weighted(1 - cosine(normalize(self.project[name](own)), normalize(output.features["fused"])), weight)
                for name, output in zip(self.paths, outputs, strict=True)
            ],
            dim=1,
        )  # (B, K)
        path_iou = torch.stack([visible_iou(output.boxes, sample) for output in outputs], dim=1)
        uniform = self.selection != "reliability"
        pi = torch.full_like(path_iou, 1 / len(self.paths)) if uniform else select_paths(path_iou)
        teacher_iou = visible_iou(teacher.boxes, sample)
        reliable = (teacher_iou >= MIN_TEACHER_IOU).float() * sample.present
        advantage = (teacher_iou - visible_iou(student.boxes, sample)).clamp(0, 1).detach()
        logs = {
            "mpsd/trusted": reliable.mean(),
            "mpsd/advantage": advantage.mean(),
            "mpsd/entropy": -(pi * pi.log()).sum(dim=1).mean(),  # log 4 = 1.39 for equal weights of 4 paths
            **{f"mpsd/pi_{name}": share for name, share in zip(self.paths, pi.mean(dim=0), strict=True)},
        }
        return (reliable * (advantage + LEAST_ADVANTAGE) * (pi * distance).sum(dim=1)).mean(), logs


def select_paths(path_iou: Tensor) -> Tensor:
    """Returns the weights of the K paths, (B, K), at least PATH_FLOOR / K each, sum 1, from (B, K) IoU in [0, 1]."""
    spread = path_iou.std(dim=1, correction=0, keepdim=True).clamp(min=LEAST_SPREAD)
    z_score = (path_iou - path_iou.mean(dim=1, keepdim=True)) / spread
    return (1 - PATH_FLOOR) * (z_score / PATH_TEMPERATURE).softmax(dim=1) + PATH_FLOOR / path_iou.shape[1]
