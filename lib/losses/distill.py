"""What the student learns from the teacher: features (SCFD), fusion paths (MPSD), answers; and controls.

Every loss is a mean over the batch of per-sample losses, in float32 under any autocast, and returns values to log with
it. It owns its projections: trained and resumed with the run, never shipped. Published: the names and aims of SCFD and
MPSD; the formulas are ours (METHOD.md B.5 to B.7, B.11).
"""

from __future__ import annotations

from functools import partial, wraps
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from lib.losses.tracking import box_iou, to_xyxy
from lib.models.box_coder import decode
from lib.models.fusion import PATHS
from lib.models.vit import quarter_ends
from lib.structures import Sample, TrackOutput

Logs = dict[str, Tensor]
SPATIAL_TEMPERATURE = 0.2  # at 1 the channel-wise KL is no more than a mean squared error
RELATION_WEIGHT, ENERGY_WEIGHT, SPECIFIC_WEIGHT = 0.5, 0.5, 0.5  # gamma, beta, lambda_spe of METHOD.md B.5
PATH_TEMPERATURE, PATH_FLOOR, LEARNABILITY = 0.2, 0.15, 0.5  # tau_p; shared floor of pi; eta at the start
RELIABLE = 0.3  # IoU of the teacher below which a sample teaches nothing about fusion


def in_float32(forward):
    """Switches autocast off for a loss: 1 - cos of nearly equal vectors rounds to 0 in half precision."""

    @wraps(forward)
    def run(self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float) -> tuple[Tensor, Logs]:
        with torch.autocast(student.score_map.device.type, enabled=False):
            return forward(self, student, teacher, sample, progress)

    return run


class Network(NamedTuple):
    """What a loss must know of a network to match its features."""

    width: int
    depth: int
    template_tokens: int


class SCFD(nn.Module):
    """Specific-common feature distillation (B.5): what both modalities say, and by how much they differ, apart.

    After layer normalisation c = (v + x) / 2 and d = (v - x) / 2 are orthogonal, token by token. The common part is
    matched in direction and in its relation to the template; the specific one in where it is strong.
    """

    def __init__(self, student: Network, teacher: Network):
        super().__init__()
        self.layers = pair_layers(student.depth, teacher.depth)
        self.start = student.template_tokens
        self.project = nn.ModuleList(nn.Linear(student.width, teacher.width) for _ in self.layers)

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        weight = token_weights(sample.search_box, student, self.start)
        losses, logs = [], {}
        for (own, other), project in zip(self.layers, self.project, strict=True):
            raw = [normalize(f) for f in block_features(student, own)]
            s_common, s_specific = split(*(normalize(project(f)) for f in block_features(student, own)))
            t_common, t_specific = split(*(normalize(f) for f in block_features(teacher, other)))
            common = weighted(1 - cosine(s_common, t_common), weight)
            relation = self._relation(split(*raw)[0]) - self._relation(t_common)
            common = common + RELATION_WEIGHT * relation.abs().mean(dim=(1, 2))
            place = spatial_divergence(s_specific[:, self.start :], t_specific[:, self.start :])
            power = [t.square().sum(dim=-1) for t in (t_specific, t_common)]
            energy = power[0] / (power[0] + power[1]).clamp(min=1e-6)
            direction = weighted(1 - cosine(s_specific, t_specific), weight * energy)
            losses.append(common + SPECIFIC_WEIGHT * (place + ENERGY_WEIGHT * direction))
            logs[f"scfd/specific_to_common{other:02d}"] = (power[0].mean() / power[1].mean().clamp(min=1e-6)).sqrt()
            peaks = (t_specific[:, self.start :] / SPATIAL_TEMPERATURE).softmax(dim=1).amax(dim=1)
            logs[f"scfd/peakedness{other:02d}"] = peaks.mean()
        return torch.stack(losses).mean(), logs

    def _relation(self, common: Tensor) -> Tensor:
        """(B, N, D) → (B, hw, N_template): cosine of each search token with each template token."""
        unit = common / common.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        return unit[:, self.start :] @ unit[:, : self.start].mT


class PlainCosine(nn.Module):
    """Control of SCFD: each modality's tokens matched by cosine, at the same layers with the same weights."""

    def __init__(self, student: Network, teacher: Network):
        super().__init__()
        self.layers = pair_layers(student.depth, teacher.depth)
        self.start = student.template_tokens
        self.project = nn.ModuleList(nn.Linear(student.width, teacher.width) for _ in self.layers)

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        weight = token_weights(sample.search_box, student, self.start)
        losses = [
            weighted(1 - cosine(normalize(project(s)), normalize(t)), weight)
            for (own, other), project in zip(self.layers, self.project, strict=True)
            for s, t in zip(block_features(student, own), block_features(teacher, other), strict=True)
        ]
        return torch.stack(losses).mean(), {}


class ContentStyle(nn.Module):
    """Control of SCFD after CKD: content is what instance normalisation leaves of the tokens, style the rest."""

    CONTENT_WEIGHT = 0.1  # as published there

    def __init__(self, student: Network, teacher: Network):
        super().__init__()
        self.layers = pair_layers(student.depth, teacher.depth)
        self.project = nn.ModuleList(nn.Linear(student.width, teacher.width) for _ in self.layers)

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        losses = []
        for (own, other), project in zip(self.layers, self.project, strict=True):
            for s, t in zip(block_features(student, own), block_features(teacher, other), strict=True):
                (s_content, s_style), (t_content, t_style) = (_content_style(normalize(f)) for f in (project(s), t))
                content = (s_content - t_content).square().mean()
                losses.append(self.CONTENT_WEIGHT * content + (s_style - t_style).square().mean())
        return torch.stack(losses).mean(), {}


class MPSD(nn.Module):
    """Multi-path selection distillation (B.6): a simple fusion is told which of the teacher's paths to trust here.

    Per sample, pi = softmax((reliability + eta * learnability) / tau), floored; reliability is the IoU that the
    teacher's head reaches on that path. Samples in which the teacher fails as a whole add nothing.

    Args:
        selection: "reliability"; "uniform" and "fused" (no paths at all) are controls.
    """

    def __init__(self, student: Network, teacher: Network, selection: str = "reliability"):
        super().__init__()
        self.paths = () if selection == "fused" else PATHS
        self.selection = selection
        self.project = nn.ModuleDict({k: nn.Linear(student.width, teacher.width) for k in ("fused", *self.paths)})
        self.template_tokens = student.template_tokens

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        weight = token_weights(sample.search_box, student, self.template_tokens)[:, self.template_tokens :]
        targets = {"fused": teacher.features["fused"], **{k: teacher.paths[k].features["fused"] for k in self.paths}}
        own = student.features["fused"].float()
        distance = {
            name: weighted(1 - cosine(normalize(self.project[name](own)), normalize(target)), weight)
            for name, target in targets.items()
        }
        trusted = (box_iou(teacher.boxes, sample.search_box) >= RELIABLE).float()
        loss, logs = distance["fused"], {"mpsd/trusted": trusted.mean()}
        if self.paths:
            apart = torch.stack([distance[name] for name in self.paths], dim=1)
            reach = torch.stack([box_iou(teacher.paths[k].boxes, sample.search_box) for k in self.paths], dim=1)
            if self.selection == "uniform":
                pi = torch.full_like(reach, 1 / len(self.paths))
            else:
                pi = select_paths(reach, apart.detach(), progress)
            loss = loss + (pi * apart).sum(dim=1)
            logs["mpsd/entropy"] = -(pi * pi.log()).sum(dim=1).mean()  # log 3 = 1.10 where nothing is selected
            logs.update({f"mpsd/pi_{name}": share for name, share in zip(self.paths, pi.mean(dim=0), strict=True)})
        return (trusted * loss).mean(), logs


class Response(nn.Module):
    """Response distillation (B.7): the score map where both differ, and the box where the teacher's is better.

    Named, hard-focused, in what is said of the paper's predecessor; the formula is ours.
    """

    BOX_WEIGHT = 0.25

    def __init__(self, student: Network, teacher: Network):
        super().__init__()

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        own, target = student.score_map.float().flatten(1), teacher.score_map.float().flatten(1)
        hard = (own - target).abs().detach() + 0.05
        entropy = functional.binary_cross_entropy(target, target, reduction="none")
        excess = functional.binary_cross_entropy(own, target, reduction="none") - entropy
        score = weighted(excess, hard)
        reach = box_iou(teacher.boxes, sample.search_box)
        better = (reach > box_iou(student.boxes, sample.search_box).clamp(min=0.5)).float()
        at_peak = decode(teacher.score_map, student.size_map, student.offset_map).float()
        boxes, truth = to_xyxy(at_peak), to_xyxy(teacher.boxes.float())
        box = 2 * generalized_box_iou_loss(boxes, truth) + 5 * (boxes - truth).abs().mean(dim=1)
        return (score + self.BOX_WEIGHT * better * box).mean(), {"response/teacher_better": better.mean()}


DISTILL_LOSSES = {
    "SCFD": SCFD,
    "MPSD": MPSD,
    "RESPONSE": Response,
    "COSINE": PlainCosine,
    "CONTENT_STYLE": ContentStyle,
    "MPSD_UNIFORM": partial(MPSD, selection="uniform"),
    "FUSED": partial(MPSD, selection="fused"),
}


def select_paths(reach: Tensor, distance: Tensor, progress: float) -> Tensor:
    """(B, K) IoU of each path and the student's distance to it → (B, K) weights that sum to 1, each >= 0.15 / K."""
    eta = LEARNABILITY * max(0.0, 1 - 2 * progress)
    pi = ((reach + eta * (1 - distance)) / PATH_TEMPERATURE).softmax(dim=1)
    return (1 - PATH_FLOOR) * pi + PATH_FLOOR / reach.shape[1]


def pair_layers(student_depth: int, teacher_depth: int) -> list[tuple[int, int]]:
    """The student's last block of each quarter, and the teacher's block at the same share of its depth.

    Raises:
        ValueError: the teacher is so much shallower that a block of the student would have none.
    """
    pairs = [(layer, round(layer * teacher_depth / student_depth)) for layer in quarter_ends(student_depth)]
    if pairs[0][1] < 1:
        raise ValueError(f"a teacher of {teacher_depth} blocks has none for the first of a student of {student_depth}")
    return pairs


def block_features(output: TrackOutput, layer: int) -> tuple[Tensor, Tensor]:
    """Tokens of both modalities after a block."""
    return output.features[f"block{layer:02d}/rgb"].float(), output.features[f"block{layer:02d}/aux"].float()


def split(rgb: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
    """The common and the specific part of two layer-normalised sets of tokens."""
    return (rgb + aux) / 2, (rgb - aux) / 2


def normalize(tokens: Tensor) -> Tensor:
    """Layer normalisation without parameters, in float32."""
    return functional.layer_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(..., D) twice → (...); near a vector of zeros its gradient stays finite."""
    lengths = [x.norm(dim=-1).clamp(min=1e-3) for x in (a, b)]
    return (a * b).sum(dim=-1) / (lengths[0] * lengths[1])


def spatial_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, hw, D) twice → (B,): per channel, how differently the two spread over the image, for both signs."""
    total = student.new_zeros(len(student))
    for sign in (1, -1):
        target, own = ((sign * x / SPATIAL_TEMPERATURE).log_softmax(dim=1) for x in (teacher, student))
        divergence = functional.kl_div(own, target, reduction="none", log_target=True).sum(dim=1)
        total = total + divergence.mean(dim=1) / 2 * SPATIAL_TEMPERATURE**2
    return total


def weighted(values: Tensor, weight: Tensor) -> Tensor:
    """(B, N) twice → (B,): weighted mean, 0 where all weights are."""
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-6)


def token_weights(search_box: Tensor, output: TrackOutput, template_tokens: int) -> Tensor:
    """(B, N): 1 for template tokens, 1 + 4 * Gaussian of the true box, half of it one deviation, for search tokens."""
    height, width = output.score_map.shape[-2:]
    box = search_box.float()
    ys = (torch.arange(height, device=box.device) + 0.5) / height
    xs = (torch.arange(width, device=box.device) + 0.5) / width
    sigma = (box[:, 2:] / 2).clamp(min=0.5 / max(height, width))
    dx = (xs[None] - box[:, :1]) / sigma[:, :1]
    dy = (ys[None] - box[:, 1:2]) / sigma[:, 1:]
    search = 1 + 4 * torch.exp(-(dx[:, None] ** 2 + dy[:, :, None] ** 2) / 2).flatten(1)
    return torch.cat([search.new_ones(len(search), template_tokens), search], dim=1)


def _content_style(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, D) → instance-normalised tokens, and each channel's mean and deviation (B, 2, D)."""
    variance, mean = torch.var_mean(tokens, dim=1, keepdim=True, correction=0)
    deviation = (variance + 1e-5).sqrt()
    return (tokens - mean) / deviation, torch.cat([mean, deviation], dim=1)
