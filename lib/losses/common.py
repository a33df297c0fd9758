"""Functions shared by the distillation losses: matched layers, token weights, distances.

Each distillation loss is the mean over the batch of one loss per sample, computed in float32, also under autocast.
The projections belong to the loss: they are trained and saved with the run, but are not exported with the student.
"""

from __future__ import annotations

from functools import wraps
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.structures import Sample, TrackOutput

Logs = dict[str, Tensor]


def in_float32(forward):
    """Switches autocast off for a loss: 1 - cos of nearly equal vectors rounds to 0 in half precision."""

    @wraps(forward)
    def run(self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float) -> tuple[Tensor, Logs]:
        with torch.autocast(student.score_map.device.type, enabled=False):
            return forward(self, student, teacher, sample, progress)

    return run


class FeatureSpec(NamedTuple):
    """The properties of a network that a loss needs to match features; see `lib.models.backbone.Backbone`."""

    width: int  # D, channels of a token
    depth: int  # number of blocks
    template_tokens: int  # number of template tokens
    matched_layers: tuple[int, ...]  # blocks, counted from 1, whose output is compared
    paths: tuple[str, ...] = ()  # names of the paths of its fusion


class FeatureLoss(nn.Module):
    """Base of the losses on block features: pairs of layers, and a projection from student to teacher width for each.

    The networks return only the features of the blocks in `layers`; see DISTILL_LOSSES.

    The forward returns the loss of each layer, (L,), whose sum is the loss. Each is balanced at its own block.

    Raises:
        ValueError: the teacher has too few blocks, see `pair_layers`.
    """

    def __init__(self, student: FeatureSpec, teacher: FeatureSpec):
        super().__init__()
        self.layers = pair_layers(student, teacher)
        self.places = tuple(f"block{own:02d}" for own, _ in self.layers)
        self.template_tokens = student.template_tokens
        self.project = nn.ModuleList(nn.Linear(student.width, teacher.width) for _ in self.layers)


def pair_layers(student: FeatureSpec, teacher: FeatureSpec) -> list[tuple[int, int]]:
    """Returns the student's matched layers, each with the teacher's block at the same relative depth, counted from 1.

    Raises:
        ValueError: the teacher has no block at the relative depth of the student's first matched layer.
    """
    pairs = [(layer, round(layer * teacher.depth / student.depth)) for layer in student.matched_layers]
    if pairs[0][1] < 1:
        raise ValueError(
            f"a teacher of {teacher.depth} blocks has no block to match block {pairs[0][0]} of a student of "
            f"{student.depth}; take a deeper teacher"
        )
    return pairs


def block_features(output: TrackOutput, layer: int) -> tuple[Tensor, Tensor]:
    """Returns RGB and auxiliary tokens after block `layer`, (B, N, D) float32 each, template tokens first."""
    return output.features[f"block{layer:02d}/rgb"].float(), output.features[f"block{layer:02d}/aux"].float()


def normalize(tokens: Tensor) -> Tensor:
    """Applies layer normalisation without parameters, (..., D) → (..., D) float32."""
    return functional.layer_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Returns the cosine similarity of two (..., D) tensors, (...) in [-1, 1]; gradients are finite at zero vectors."""
    lengths = [x.norm(dim=-1).clamp(min=1e-3) for x in (a, b)]
    return (a * b).sum(dim=-1) / (lengths[0] * lengths[1])


def weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Returns the weighted mean over tokens, (B,), of values and weights (B, N); 0 if all weights are 0."""
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-6)


def token_weights(search_box: Tensor, output: TrackOutput, template_tokens: int) -> Tensor:
    """Returns the weight of each token, (B, N): 1 for template tokens, 1 + 4 * Gaussian for search tokens.

    The Gaussian is centred on the true box; its standard deviation is half the width and height of the box.

    Args:
        search_box: (B, 4) cxcywh, fractions of the search crop.
        output: the size of its score map is the feature grid.
        template_tokens: number of template tokens.
    """
    height, width = output.score_map.shape[-2:]
    box = search_box.float()
    ys = (torch.arange(height, device=box.device) + 0.5) / height
    xs = (torch.arange(width, device=box.device) + 0.5) / width
    sigma = (box[:, 2:] / 2).clamp(min=0.5 / max(height, width))
    dx = (xs[None] - box[:, :1]) / sigma[:, :1]
    dy = (ys[None] - box[:, 1:2]) / sigma[:, 1:]
    search = 1 + 4 * torch.exp(-(dx[:, None] ** 2 + dy[:, :, None] ** 2) / 2).flatten(1)
    return torch.cat([search.new_ones(len(search), template_tokens), search], dim=1)
