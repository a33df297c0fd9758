"""A task computes the losses of one training stage: model + losses. The Trainer calls nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.losses.reconstruction import RECONSTRUCTION_LOSSES, is_flat
from lib.losses.tracking import TrackingLoss, box_iou
from lib.models.features import encode_apart
from lib.models.head import apply_head
from lib.models.mae import CMAE, Reconstruction
from lib.models.masking import curriculum
from lib.models.network import embedding_rows, network_inputs
from lib.structures import Pair, Sample, TrackOutput
from lib.train.balance import Balance

Terms = dict[str, Tensor]


class Task(nn.Module):
    """Base class of the training stages.

    A checkpoint contains `model` as 'net' and all other parameters and buffers of the task as 'task'.

    Args:
        freeze: prefixes of the names of model parameters that are not trained. A module whose parameters
            are all frozen stays in eval mode, so that its batch statistics do not change.

    Raises:
        ValueError: no parameter starts with one of the prefixes in `freeze`.
    """

    not_saved: tuple[str, ...] = ()  # prefixes of parts that this run does not train
    metric, higher_is_better = "auc", True  # the value of `evaluate` by which the best epoch is chosen

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
            sample: a batch of B samples.
            progress: completed share of the training, in [0, 1].
        """
        raise NotImplementedError

    def evaluate(self, sample: Sample) -> Terms:
        """Returns values by name, (B,) each; the Trainer averages them per modality."""
        raise NotImplementedError

    def predict(self, sample: Sample) -> TrackOutput | None:
        """Returns the network's output for pictures of a batch; None if this stage does not train the head."""
        return None

    def after_step(self) -> None:
        """Called after every optimizer step, e.g. to update moving averages."""

    def train(self, mode: bool = True) -> Task:
        """Like `nn.Module.train`, but frozen modules stay in eval mode."""
        super().train(mode)
        for module in self.model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def own_state(self) -> dict[str, Tensor]:
        """Returns the state, besides the model, that resuming needs: projections of losses, CMAE's decoder."""
        skipped = ("model.", *self.not_saved)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(skipped)}

    def restore(self, net: dict[str, Tensor], own: dict[str, Tensor]) -> None:
        """Loads the saved model and `own_state`. Raises RuntimeError if names or shapes do not fit."""
        saved = {**{f"model.{name}": value for name, value in net.items()}, **own}
        kept = {name: value for name, value in self.state_dict().items() if name.startswith(self.not_saved)}
        self.load_state_dict({**saved, **(kept if self.not_saved else {})})


class TrackTask(Task):
    """Supervised tracking: focal + GIoU + L1 on the annotated box.

    Args:
        weights: weights of "focal", "giou", "l1" and "paths". "paths" is the same loss on each fusion path, so that the
            head learns to decode every path.
    """

    def __init__(self, model: nn.Module, weights: dict[str, float], freeze: Sequence[str] = ()):
        super().__init__(model, freeze)
        self.loss = TrackingLoss()
        self.weights = weights

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        """See `Task.forward`. Also logs the mean IoU in [0, 1] and the per-path IoU."""
        output = self.model(*network_inputs(sample))
        terms = tracking_terms(self.loss, output, sample, self.weights)
        logs = {"iou": mean_iou(output, sample)}
        logs.update({f"iou_{name}": mean_iou(path, sample) for name, path in output.paths.items()})
        return terms, {**logs, **gate_size(self.model)}

    def predict(self, sample: Sample) -> TrackOutput:
        """See `Task.predict`."""
        return self.model(*network_inputs(sample))

    def evaluate(self, sample: Sample) -> Terms:
        """See `Task.evaluate` and `box_quality`: (B,) each in [0, 1]."""
        return box_quality(self.model, sample)


class PretrainTask(Task):
    """CMAE: masks parts of a pair and reconstructs them; fusion and head are neither used nor trained."""

    metric, higher_is_better = "reconstruction", False

    def __init__(self, model: nn.Module, mae: CMAE, freeze: Sequence[str] = ()):
        super().__init__(model, freeze)
        for part in (model.fusion, model.head):
            part.requires_grad_(False)
        self.mae = mae

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        """See `Task.forward`. Also logs how much of the mask follows the scores, and the share of flat patches."""
        result = self.mae(self.model, sample, curriculum(progress))
        mask = result.masks.mask
        loss = self._loss(result.prediction, result).sum(dim=1).mean()
        logs = {
            "mask_overlap": result.masks.overlap.mean(),  # 0.5 for random masks
            "flat": (is_flat(result.patches) & mask).sum() / mask.sum().clamp(min=1),
        }
        return {"reconstruction": loss}, {**logs, **gate_size(self.model)}

    def evaluate(self, sample: Sample) -> Terms:
        """Returns the error on masked patches, (B,), and the error with the other modality of another sample, (B,).

        The other sample is of the same kind of data. The difference shows how much the other modality helps.
        """
        mae, inputs = self.mae, network_inputs(sample)
        result, rows = mae(self.model, sample, exponent=1.0), roll_within(sample.modality)
        error = self._loss(result.prediction, result)
        errors = []
        for m, other in enumerate(("aux", "rgb")):  # m: index of the measured modality; other: the shuffled modality
            shuffled = [pair._replace(**{other: getattr(pair, other)[rows]}) for pair in inputs[:2]]
            prediction = mae.reconstruct(self.model, *shuffled, *inputs[2:], result.masks.mask)
            errors.append(self._loss(prediction, result)[:, m])
        return {"reconstruction": error.sum(dim=1), "reconstruction_shuffled": torch.stack(errors).sum(dim=0)}

    def _loss(self, prediction: Tensor, result: Reconstruction) -> Tensor:
        return RECONSTRUCTION_LOSSES[self.mae.target](prediction, result.target, result.masks.mask)

    def after_step(self) -> None:
        """Updates the moving average that scores locations."""
        self.mae.update_scorer(self.model)


class FeaturesTask(Task):
    """The tokens of each stream, for single images, learn those of a frozen encoder; fusion and head are not used.

    Args:
        encoder: maps crops to target tokens, see `FeatureEncoder`.
        width: channels of a target token.
    """

    not_saved = ("encoder.",)
    metric = "cosine"

    def __init__(self, model: nn.Module, encoder: nn.Module, width: int, freeze: Sequence[str] = ()):
        super().__init__(model, freeze)
        for part in (model.fusion, model.head):
            part.requires_grad_(False)
        self.encoder = encoder
        self.project = nn.Linear(model.streams[0].width, width)  # thrown away after this stage

    def forward(self, sample: Sample, progress: float) -> tuple[Terms, Terms]:
        """See `Task.forward`. The loss is 1 - cosine; 0 for copied features."""
        cosine, shown = self._cosine(sample)
        return {"features": 1 - (cosine * shown).sum() / shown.sum().clamp(min=1)}, {}

    def evaluate(self, sample: Sample) -> Terms:
        """Returns the mean cosine of the tokens with those of the encoder, (B,)."""
        cosine, shown = self._cosine(sample)
        return {"cosine": (cosine * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1)}

    def _cosine(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """Returns the mean cosine of each image pair, (B, 2), RGB first, and 1 where the image is not black, (B, 2)."""
        rows = embedding_rows(sample.modality)
        found, shown = [], []
        for number, backbone in enumerate(self.model.streams):
            template, search = sample.template[number], sample.search[number]
            target = self.encoder(template, search)
            tokens = backbone.embed(self.model.normalize(template), self.model.normalize(search))
            tokens = tokens + self.model.modality_embed[rows[:, number], None]
            tokens = self.project(backbone.norm(encode_apart(backbone, tokens, backbone.depth)))
            found.append(functional.cosine_similarity(tokens.float(), target, dim=-1).mean(dim=1))
            shown.append(search.flatten(1).bool().any(dim=1).float())
        return torch.stack(found, dim=1), torch.stack(shown, dim=1)


class DistillTask(Task):
    """Supervised tracking, and distillation from a frozen teacher.

    Args:
        weights: see `TrackTask`.
        losses: modules from DISTILL_LOSSES, by name.
        loss_weights: weight of each loss, by name.
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
        """See `Task.forward`. Also logs the mean IoU of student and teacher in [0, 1], and values of the losses."""
        inputs = network_inputs(sample)
        output = self.model(*inputs)
        with torch.no_grad():
            teacher = self.teacher(*inputs)
        terms = tracking_terms(self.tracking, output, sample, self.weights)
        logs = {
            "iou": mean_iou(output, sample),
            "iou_teacher": mean_iou(teacher, sample),
        }
        distilled = {}
        for name, loss in self.losses.items():
            value, details = loss(output, teacher, sample, progress)
            parts = part_names(name, loss)
            weighted = self.loss_weights[name] * value.reshape(-1)
            distilled.update(zip(parts, weighted, strict=True))
            logs.update({key: detail.detach() for key, detail in details.items()})
        if self.training:
            shares = self.balance.observe(
                torch.stack(list(terms.values())).sum(), distilled, self._measured_parameters()
            )
            logs.update({f"share/{name}": share for name, share in shares.items()})
        scaled = self.balance.scale(distilled)
        for name, loss in self.losses.items():
            terms[name] = torch.stack([scaled[part] for part in part_names(name, loss)]).sum()
        return terms, logs

    def predict(self, sample: Sample) -> TrackOutput:
        """See `Task.predict`."""
        return self.model(*network_inputs(sample))

    def evaluate(self, sample: Sample) -> Terms:
        """See `Task.evaluate` and `box_quality`: (B,) each in [0, 1]."""
        return box_quality(self.model, sample)

    def after_step(self) -> None:
        """Counts the step; sets the factors of the losses at the end of the window."""
        self.balance.after_step()

    def _measured_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Returns for each part of a loss the parameters where it acts; `Balance` compares the gradients there."""
        found = {}
        for name, loss in self.losses.items():
            places = getattr(loss, "places", (LAST_LAYER,))
            for part, place in zip(part_names(name, loss), places, strict=True):
                found[part] = [p for p in parameters_at(self.model, place) if p.requires_grad]
        return found


LAST_LAYER = "last"  # the place of a loss that names none


def part_names(name: str, loss: nn.Module) -> tuple[str, ...]:
    """Returns the names of a loss's parts: 'MPSD', or 'SCFD/block01', … if it acts in several places."""
    places = getattr(loss, "places", (LAST_LAYER,))
    return (name,) if len(places) == 1 else tuple(f"{name}/{place}" for place in places)


def parameters_at(model: nn.Module, place: str) -> list[nn.Parameter]:
    """Returns the student's parameters at a place of a loss: "block03", "fused" or "last".

    A fusion without parameters is measured at the last layer of the backbone, whose tokens it fuses.
    """
    backbone = model.streams[0]
    if place.startswith("block"):
        return list(backbone.blocks[int(place.removeprefix("block")) - 1].parameters())
    module = {"fused": model.fusion, LAST_LAYER: backbone.last_layer}[place]
    return list(module.parameters()) or list(backbone.last_layer.parameters())


def gate_size(model: nn.Module) -> Terms:
    """Returns the mean absolute value of a teacher's gates as "gates", a scalar; empty for a student."""
    gates = [gate.detach().abs().mean() for gate in model.parameter_groups()["gates"]]
    return {"gates": torch.stack(gates).mean()} if gates else {}


def tracking_terms(loss: TrackingLoss, output: TrackOutput, sample: Sample, weights: dict[str, float]) -> Terms:
    """Returns the weighted loss terms, scalars by name: of the fused output, and "paths", the sum over all paths."""
    terms = {name: weights[name] * value for name, value in loss(output, sample).items()}
    if output.paths:
        values = [weights[k] * v for path in output.paths.values() for k, v in loss(path, sample).items()]
        terms["paths"] = weights["paths"] * torch.stack(values).sum()
    return terms


@torch.no_grad()
def mean_iou(output: TrackOutput, sample: Sample) -> Tensor:
    """Returns the mean IoU over the samples whose target is present, a scalar; 0 if there is none."""
    present = sample.present.float()
    return (box_iou(output.boxes, sample.search_box) * present).sum() / present.sum().clamp(min=1)


def box_quality(model: nn.Module, sample: Sample) -> Terms:
    """Returns the quality of the predicted boxes and how much the template matters, (B,) each.

    Returns:
        "iou", "auc": of the predicted box, in [0, 1]; the AUC is the mean success rate at the thresholds 0, 0.05, …, 1.
        "iou_PATH": IoU of each fusion path, in [0, 1]. "iou_best_path": of the best of them for each sample, the most
            that a selection can reach; "iou_mean_path": of the mean of their tokens, without any selection.
        "on_distractor": 1 if the predicted centre lies on another thing and not on the target, else 0.
        "score": peak of the score map, in (0, 1).
        "iou_drop", "score_drop": how much IoU and score fall when the template shows the target of another sample of
            the same modality. About 0: the network finds things, not this thing.
    """
    output = model(*network_inputs(sample))
    iou = box_iou(output.boxes, sample.search_box)
    thresholds = torch.linspace(0, 1, 21, device=iou.device)
    paths = {f"iou_{name}": box_iou(path.boxes, sample.search_box) for name, path in output.paths.items()}
    if paths:
        best = torch.stack(list(paths.values())).amax(dim=0)
        tokens = torch.stack([path.features["fused"] for path in output.paths.values()]).mean(dim=0)
        mean = apply_head(model.head, tokens, {}, {}, model.streams[0].grid)
        paths |= {"iou_best_path": best, "iou_mean_path": box_iou(mean.boxes, sample.search_box)}
    rows = roll_within(sample.modality)
    other = sample._replace(
        template=Pair(*(images[rows] for images in sample.template)), template_box=sample.template_box[rows]
    )
    swapped = model(*network_inputs(other))
    score, other_score = (o.score_map.flatten(1).amax(dim=1) for o in (output, swapped))
    centre = output.boxes[:, None, :2]
    on_target = is_inside(centre, sample.search_box[:, None])[:, 0]
    on_distractor = is_inside(centre, sample.distractors).any(dim=1) & ~on_target
    return {
        "iou": iou,
        "auc": (iou[:, None] > thresholds).float().mean(dim=1),
        **paths,
        "on_distractor": on_distractor.float(),
        "score": score,
        "iou_drop": iou - box_iou(swapped.boxes, sample.search_box),
        "score_drop": score - other_score,
    }


def roll_within(kinds: Tensor) -> Tensor:
    """Returns for each sample the index of the next sample of the same kind, in a cycle: (B,) int64 → (B,) int64."""
    order = kinds.argsort(stable=True)
    following = order.clone()
    for kind in kinds.unique():
        members = kinds[order] == kind
        following[members] = order[members].roll(-1)
    rows = torch.empty_like(order)
    rows[order] = following
    return rows


def is_inside(points: Tensor, boxes_cxcywh: Tensor) -> Tensor:
    """Returns whether points (..., 2) lie in boxes (..., 4), both in the same unit. An empty box has no points."""
    half = boxes_cxcywh[..., 2:] / 2
    return (((points - boxes_cxcywh[..., :2]).abs() <= half) & (half > 0)).all(dim=-1)
