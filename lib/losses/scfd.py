"""SCFD, specific-common feature distillation (docs/method.md, "SCFD"). Published: name and aim; ours: the formula."""

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

SPATIAL_TEMPERATURE = 0.2  # at 1 the channel-wise KL is about a mean squared error
RELATION_WEIGHT, ENERGY_WEIGHT, SPECIFIC_WEIGHT = 0.5, 0.5, 0.5  # gamma, beta, lambda_spe in docs/method.md


class SCFD(FeatureLoss):
    """Matches the common part c = (v + x) / 2 and the specific part d = (v - x) / 2 of RGB and auxiliary tokens v, x.

    After layer normalisation, c and d of each token are orthogonal. The common part is matched in direction and in its
    cosine similarity to the template tokens. The specific part is matched where the teacher's specific part is strong.
    """

    @in_float32
    def forward(
        self, student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float
    ) -> tuple[Tensor, Logs]:
        """Returns the loss of each matched layer, (L,), and values to log, scalars by name."""
        start = self.template_tokens
        weight = token_weights(sample.search_box, student, start)
        losses, logs = [], {}
        for (own, other), project in zip(self.layers, self.project, strict=True):
            raw = [normalize(f) for f in block_features(student, own)]
            s_common, s_specific = split(*(normalize(project(f)) for f in block_features(student, own)))
            t_common, t_specific = split(*(normalize(f) for f in block_features(teacher, other)))
            common = weighted(1 - cosine(s_common, t_common), weight)
            relation = self._relation(split(*raw)[0]) - self._relation(t_common)
            common = common + RELATION_WEIGHT * relation.abs().mean(dim=(1, 2))
            location = spatial_divergence(s_specific[:, start:], t_specific[:, start:])
            power = [t.square().sum(dim=-1) for t in (t_specific, t_common)]
            energy = power[0] / (power[0] + power[1]).clamp(min=1e-6)
            direction = weighted(1 - cosine(s_specific, t_specific), weight * energy)
            losses.append((common + SPECIFIC_WEIGHT * (location + ENERGY_WEIGHT * direction)).mean())
            logs[f"scfd/specific_to_common{other:02d}"] = (power[0].mean() / power[1].mean().clamp(min=1e-6)).sqrt()
            peaks = (t_specific[:, start:] / SPATIAL_TEMPERATURE).softmax(dim=1).amax(dim=1)
            logs[f"scfd/peakedness{other:02d}"] = peaks.mean()
        return torch.stack(losses) / len(losses), logs

    def _relation(self, common: Tensor) -> Tensor:
        """(B, N, D) → (B, hw, N_template): cosine of each search token with each template token."""
        unit = common / common.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        return unit[:, self.template_tokens :] @ unit[:, : self.template_tokens].mT


def split(rgb: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the common and the specific part of layer-normalised tokens, (..., D) like the inputs."""
    return (rgb + aux) / 2, (rgb - aux) / 2


def spatial_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns the KL divergence between the spatial distributions of each channel, for the channel and its negative.

    Maps two (B, hw, D) tensors to (B,), the mean over channels and signs.
    """
    total = student.new_zeros(len(student))
    for sign in (1, -1):
        target, own = ((sign * x / SPATIAL_TEMPERATURE).log_softmax(dim=1) for x in (teacher, student))
        divergence = torch.nn.functional.kl_div(own, target, reduction="none", log_target=True).sum(dim=1)
        total = total + divergence.mean(dim=1) / 2 * SPATIAL_TEMPERATURE**2
    return total
