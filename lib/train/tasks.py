"""A task computes the losses of one training stage: model + losses. The Trainer calls nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.losses.reconstruction import is_flat, reconstruction_loss
from lib.losses.tracking import TrackingLoss, box_iou
from lib.models.mae import CMAE
from lib.models.masking import curriculum
from lib.structures import Sample, TrackOutput
from lib.train.balance import Balance

Terms = dict[str, Tensor]


class Task(nn.Module):
    """Base of the stages. `model` is saved as 'net', every other parameter or buffer of the task as 'task'.

    Args:
        freeze: parameters of the model whose names start with one of these are not trained. A module whose parameters
            are all frozen stays in eval mode, so that its batch statistics do not change either.

    Raises:
        ValueError: no parameter starts with one of the prefixes in `freeze`.
    """

    not_saved: tuple[str, ...] = ()  # parts that another run trained and this one does not change

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

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        """Returns the weighted loss terms by name, with gradients, and detached scalars to log.

        Args:
            progress: share of the training that is done, in [0, 1].
        """
        raise NotImplementedError

    def evaluate(self, sample: Sample) -> Terms:
        """Returns values by name, one per sample: (B,) each; the Trainer averages them by modality."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after every optimizer step, e.g. to update moving averages."""

    def train(self, mode: bool = True) -> Task:
        """As `nn.Module.train`; frozen modules stay in eval mode."""
        super().train(mode)
        for module in self.model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def own_state(self) -> dict[str, Tensor]:
        """What must be saved besides the model to go on training: a loss's projections, CMAE's decoder."""
        skipped = ("model.", *self.not_saved)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(skipped)}

    def restore(self, net: dict[str, Tensor], own: dict[str, Tensor]) -> None:
        """Loads the saved model and `own_state`. Raises RuntimeError where they do not fit."""
        saved = {**{f"model.{name}": value for name, value in net.items()}, **own}
        kept = {name: value for name, value in self.state_dict().items() if name.startswith(self.not_saved)}
        self.load_state_dict({**saved, **(kept if self.not_saved else {})})


class TrackTask(Task):
    """Supervised tracking: focal + GIoU + L1 on the annotated box.

    Args:
        weights: of "focal", "giou", "l1", and of "paths": the same loss on each fusion path, so that the head learns to
            decode every path.
    """

    def __init__(self, model: nn.Module, weights: dict[str, float], freeze: Sequence[str] = ()):
        super().__init__(model, freeze)
        self.loss = TrackingLoss()
        self.weights = weights

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        output = self.model(sample.template, sample.search, sample.modality)
        terms = tracking_terms(self.loss, output, sample, self.weights)
        logs = {"iou": box_iou(output.boxes.detach(), sample.search_box).mean()}
        for name, path in output.paths.items():
            logs[f"iou_{name}"] = box_iou(path.boxes.detach(), sample.search_box).mean()
        return terms, {**logs, **gate_size(self.model)}

    def evaluate(self, sample: Sample) -> Terms:
        return box_quality(self.model, sample)


class PretrainTask(Task):
    """CMAE: masks part of a pair and reconstructs it; fusion and head are not used and not trained."""

    def __init__(self, model: nn.Module, mae: CMAE, freeze: Sequence[str] = ()):
        super().__init__(model, freeze)
        for part in (model.fusion, model.head):
            part.requires_grad_(False)
        self.mae = mae

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        result = self.mae(self.model, sample, curriculum(progress))
        mask = result.masks.mask
        loss = reconstruction_loss(result.prediction, result.patches, mask).sum(dim=1).mean()
        logs = {
            "mask_overlap": result.masks.overlap.mean(),  # 0.5 for random masks
            "flat": (is_flat(result.patches) & mask).sum() / mask.sum().clamp(min=1),
        }
        return {"reconstruction": loss}, {**logs, **gate_size(self.model)}

    def evaluate(self, sample: Sample) -> Terms:
        """Error on masked patches, and the error with the other modality taken from another sample.

        The difference shows how much the other modality helps.
        """
        mae, inputs = self.mae, (sample.template, sample.search, sample.modality)
        result = mae(self.model, sample, exponent=1.0)
        error = reconstruction_loss(result.prediction, result.patches, result.masks.mask)
        errors = []
        for m, other in enumerate(
            ("aux", "rgb")
        ):  # m: modality whose error is measured; other: the one that is shuffled
            shuffled = [pair._replace(**{other: getattr(pair, other).roll(1, 0)}) for pair in inputs[:2]]
            prediction = mae.reconstruct(self.model, *shuffled, inputs[2], result.masks.mask)
            errors.append(reconstruction_loss(prediction, result.patches, result.masks.mask)[:, m])
        return {"reconstruction": error.sum(dim=1), "reconstruction_shuffled": torch.stack(errors).sum(dim=0)}

    def after_step(self) -> None:
        self.mae.update_scorer(self.model)


class DistillTask(Task):
    """Supervised tracking, and distillation from a frozen teacher.

    Args:
        weights: see `TrackTask`.
        losses: modules from DISTILL_LOSSES, by name. loss_weights: weight of each.
        balance: scales the losses once, early in training.
    """

    not_saved = ("teacher.",)

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        weights: dict[str, float],
        losses: dict[str, nn.Module],
        loss_weights: dict[str, float],
        balance: Balance,
        freeze: Sequence[str] = (),
    ):
        super().__init__(model, freeze)
        self.teacher = teacher.eval().requires_grad_(False)
        self.tracking = TrackingLoss()
        self.weights, self.loss_weights = weights, loss_weights
        self.losses = nn.ModuleDict(losses)
        self.balance = balance

    def train(self, mode: bool = True) -> Task:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        inputs = (sample.template, sample.search, sample.modality)
        output = self.model(*inputs)
        with torch.no_grad():
            teacher = self.teacher(*inputs)
        terms = tracking_terms(self.tracking, output, sample, self.weights)
        logs = {
            "iou": box_iou(output.boxes.detach(), sample.search_box).mean(),
            "iou_teacher": box_iou(teacher.boxes, sample.search_box).mean(),
        }
        distilled = {}
        for name, loss in self.losses.items():
            value, details = loss(output, teacher, sample, progress)
            distilled[name] = self.loss_weights[name] * value
            logs.update({key: detail.detach() for key, detail in details.items()})
        if self.training:
            shares = self.balance.observe(
                torch.stack(list(terms.values())).sum(), distilled, self._measured_parameters()
            )
            logs.update({f"share/{name}": share for name, share in shares.items()})
        return {**terms, **self.balance.scale(distilled)}, logs

    def evaluate(self, sample: Sample) -> Terms:
        return box_quality(self.model, sample)

    def after_step(self) -> None:
        self.balance.after_step()

    def _measured_parameters(self) -> list[nn.Parameter]:
        """Those that every loss acts on, at which `Balance` compares gradients."""
        return [p for p in self.model.streams[0].last_layer.parameters() if p.requires_grad]


def gate_size(model: nn.Module) -> Terms:
    """Mean absolute value of a teacher's gates, under "gates"; nothing for a student."""
    gates = [gate.detach().abs().mean() for gate in model.parameter_groups()["gates"]]
    return {"gates": torch.stack(gates).mean()} if gates else {}


def tracking_terms(loss: TrackingLoss, output: TrackOutput, sample: Sample, weights: dict[str, float]) -> Terms:
    """Weighted loss terms of the fused output, and "paths", one term for all fusion paths together."""
    terms = {name: weights[name] * value for name, value in loss(output, sample).items()}
    if output.paths:
        values = [weights[k] * v for path in output.paths.values() for k, v in loss(path, sample).items()]
        terms["paths"] = weights["paths"] * torch.stack(values).sum()
    return terms


def box_quality(model: nn.Module, sample: Sample) -> Terms:
    """IoU of the predicted box, its success rate averaged over the thresholds 0, 0.05, ..., 1 (AUC), and per-path IoU.

    Each (B,) in [0, 1].
    """
    output = model(sample.template, sample.search, sample.modality)
    iou = box_iou(output.boxes, sample.search_box)
    thresholds = torch.linspace(0, 1, 21, device=iou.device)
    paths = {f"iou_{name}": box_iou(path.boxes, sample.search_box) for name, path in output.paths.items()}
    return {"iou": iou, "auc": (iou[:, None] > thresholds).float().mean(dim=1), **paths}
