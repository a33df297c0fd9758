"""MPSD, multi-path selection distillation (docs/method.md, "MPSD"). Published: name and aim; ours: the formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.losses.common import FeatureSpec, Logs, cosine, in_float32, normalize, token_weights, weighted
from lib.losses.tracking import visible_iou
from lib.structures import Sample, TrackOutput

PATH_TEMPERATURE, PATH_FLOOR, LEARNABILITY = 0.2, 0.15, 0.5  # tau_p; sum of the minimum path weights; initial eta
MIN_TEACHER_IOU = 0.3  # samples with a lower IoU of the teacher do not count


class MPSD(nn.Module):
    """Teaches a simple fusion which of the teacher's fusion paths to follow on each sample.

    Per sample, pi = softmax((per-path IoU + eta * learnability) / tau) with a floor, where the per-path IoU is the
    overlap of the true box with the box that the teacher's head predicts from the path. Samples with a teacher IoU
    below MIN_TEACHER_IOU have no loss.

    Args:
        selection: "reliability", or the controls "uniform" (equal weights) and "fused" (fused output only, no paths).

    Raises:
        ValueError: the teacher's fusion has no paths to select from.
    """

    def __init__(self, student: FeatureSpec, teacher: FeatureSpec, selection: str = "reliability"):
        super().__init__()
        if selection != "fused" and not teacher.paths:
            raise ValueError("MPSD needs a teacher whose fusion has paths, e.g. MODEL.FUSION.TYPE multi_path")
        self.paths = () if selection == "fused" else teacher.paths
        self.selection = selection
        self.project = nn.ModuleDict({k: nn.Linear(student.width, teacher.width) for k in ("fused", *self.paths)})
        self.template_tokens = student.template_tokens

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        """Returns the loss, a scalar, and values to log, scalars by name."""
        weight = token_weights(sample.search_box, student, self.template_tokens)[:, self.template_tokens :]
        targets = {"fused": teacher.features["fused"], **{k: teacher.paths[k].features["fused"] for k in self.paths}}
        own = student.features["fused"].float()
        distance = {
            name: weighted(1 - cosine(normalize(self.project[name](own)), normalize(target)), weight)
            for name, target in targets.items()
        }
        reliable = (visible_iou(teacher.boxes, sample) >= MIN_TEACHER_IOU).float() * sample.present
        loss, logs = distance["fused"], {"mpsd/trusted": reliable.mean()}
        if self.paths:
            path_distance = torch.stack([distance[name] for name in self.paths], dim=1)
            path_iou = torch.stack([visible_iou(teacher.paths[k].boxes, sample) for k in self.paths], dim=1)
            if self.selection == "uniform":
                pi = torch.full_like(path_iou, 1 / len(self.paths))
            else:
                pi = select_paths(path_iou, path_distance.detach(), progress)
            loss = loss + (pi * path_distance).sum(dim=1)
            logs["mpsd/entropy"] = -(pi * pi.log()).sum(dim=1).mean()  # log 3 = 1.10 for equal weights
            logs.update({f"mpsd/pi_{name}": share for name, share in zip(self.paths, pi.mean(dim=0), strict=True)})
        return (reliable * loss).mean(), logs


def select_paths(path_iou: Tensor, distance: Tensor, progress: float) -> Tensor:
    """Returns the weights of the K paths, (B, K), at least PATH_FLOOR / K each, sum 1.

    Args:
        path_iou: (B, K) per-path IoU in [0, 1].
        distance: (B, K) distance of each path to the student.
        progress: completed share of the training, in [0, 1]; the distance counts in the first half only.
    """
    eta = LEARNABILITY * max(0.0, 1 - 2 * progress)
    pi = ((path_iou + eta * (1 - distance)) / PATH_TEMPERATURE).softmax(dim=1)
    return (1 - PATH_FLOOR) * pi + PATH_FLOOR / path_iou.shape[1]
