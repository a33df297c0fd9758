"""A task is what one stage of training does with a batch: model + losses. The Trainer knows nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.losses.tracking import TrackingLoss, to_xyxy
from lib.models.build import build_model
from lib.structures import Sample


class Task(nn.Module):
    """Base of the stages. `model` is saved as 'net', every other parameter or buffer of the task as 'helpers'.

    Args:
        freeze: parameters of the model whose names start with one of these are not trained; modules that are frozen
            whole stay in eval mode, so that their batch statistics do not move either.
    """

    def __init__(self, model: nn.Module, freeze: Sequence[str] = ()):
        super().__init__()
        self.model = model
        for prefix in freeze:
            frozen = [parameter for name, parameter in model.named_parameters() if name.startswith(prefix)]
            if not frozen:
                known = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
                raise ValueError(f"TRAIN.FREEZE: no parameter starts with '{prefix}'; the model has {', '.join(known)}")
            for parameter in frozen:
                parameter.requires_grad_(False)

    def forward(self, sample: Sample, progress: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Returns the weighted loss terms by name, attached, and detached scalars to log.

        Args:
            progress: share of the training that is done, in [0, 1].
        """
        raise NotImplementedError

    def evaluate(self, sample: Sample) -> dict[str, Tensor]:
        """Returns one value per sample, (B,), under each name; the Trainer averages them by modality."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after every optimizer step, e.g. to move averages."""

    def train(self, mode: bool = True) -> Task:
        super().train(mode)
        for module in self.model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def helpers_state(self) -> dict[str, Tensor]:
        """What must be saved besides the model to go on training."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("model.")}


class TrackTask(Task):
    """Supervised tracking: focal + GIoU + L1 on the annotated box."""

    def __init__(self, model: nn.Module, weights: dict[str, float], freeze: Sequence[str] = ()):
        super().__init__(model, freeze)
        self.loss = TrackingLoss()
        self.weights = weights

    def forward(self, sample: Sample, progress: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        output = self.model(sample.template, sample.search, sample.modality)
        terms = {name: self.weights[name] * value for name, value in self.loss(output, sample).items()}
        return terms, {"iou": box_iou(output.boxes.detach(), sample.search_box).mean()}

    def evaluate(self, sample: Sample) -> dict[str, Tensor]:
        """IoU of the predicted box, and its success averaged over the thresholds 0, 0.05, ..., 1 (AUC)."""
        output = self.model(sample.template, sample.search, sample.modality)
        iou = box_iou(output.boxes, sample.search_box)
        thresholds = torch.linspace(0, 1, 21, device=iou.device)
        return {"iou": iou, "auc": (iou[:, None] > thresholds).float().mean(dim=1)}


TASKS = {"track": TrackTask}


def build_task(cfg) -> Task:
    """The task of TRAIN.STAGE with its freshly initialised model."""
    weights = {"focal": cfg.TRAIN.FOCAL_WEIGHT, "giou": cfg.TRAIN.GIOU_WEIGHT, "l1": cfg.TRAIN.L1_WEIGHT}
    return TASKS[cfg.TRAIN.STAGE](build_model(cfg), weights, cfg.TRAIN.FREEZE)


def box_iou(a_cxcywh: Tensor, b_cxcywh: Tensor) -> Tensor:
    """(B, 4) twice → (B,) overlap of paired boxes."""
    a, b = to_xyxy(a_cxcywh.float()), to_xyxy(b_cxcywh.float())
    side = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    intersection = side.prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)
