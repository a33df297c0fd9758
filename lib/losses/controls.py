"""Feature losses for comparison with SCFD in the ablation (docs/method.md, "SCFD")."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.losses.common import (
    FeatureLoss,
    Logs,
    block_features,
    cosine,
    in_float32,
    normalize,
    token_weights,
    weighted,
)
from lib.structures import Sample, TrackOutput


class PlainCosine(FeatureLoss):
    """Control of SCFD: matches the tokens of each modality by cosine, at the same layers with the same weights."""

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        """Returns the loss of each matched layer, (L,), and an empty dictionary."""
        weight = token_weights(sample.search_box, student, self.template_tokens)
        losses = []
        for (own, other), project in zip(self.layers, self.project, strict=True):
            pairs = zip(block_features(student, own), block_features(teacher, other), strict=True)
            distances = [weighted(1 - cosine(normalize(project(s)), normalize(t)), weight) for s, t in pairs]
            losses.append(torch.stack(distances).mean())
        return torch.stack(losses) / len(losses), {}


class ContentStyle(FeatureLoss):
    """Control of SCFD after CKD: content is instance-normalised tokens, style their mean and deviation per channel."""

    CONTENT_WEIGHT = 0.1  # as published for CKD

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        """Returns the loss of each matched layer, (L,), and an empty dictionary."""
        losses = []
        for (own, other), project in zip(self.layers, self.project, strict=True):
            distances = []
            for s, t in zip(block_features(student, own), block_features(teacher, other), strict=True):
                (s_content, s_style), (t_content, t_style) = (_content_style(normalize(f)) for f in (project(s), t))
                content = (s_content - t_content).square().mean()
                distances.append(self.CONTENT_WEIGHT * content + (s_style - t_style).square().mean())
            losses.append(torch.stack(distances).mean())
        return torch.stack(losses) / len(losses), {}


def _content_style(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, D) → instance-normalised tokens, and each channel's mean and deviation (B, 2, D)."""
    variance, mean = torch.var_mean(tokens, dim=1, keepdim=True, correction=0)
    deviation = (variance + 1e-5).sqrt()
    return (tokens - mean) / deviation, torch.cat([mean, deviation], dim=1)
