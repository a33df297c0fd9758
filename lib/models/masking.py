"""Scores of locations → which tokens of which modality are masked (docs/method.md, CMAE).

Published: chosen patches inside a modality are masked. Ours: how they are chosen. Pure functions of their arguments and
torch's random numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Gumbel noise has a standard deviation of 1.28. With scores of unit deviation divided by this, about 80 % of the true
# top half are masked (50 % at random): 1/2 + asin(rho) / pi, with rho^2 = s^2 / (s^2 + 1.28^2) and s = 1 / T.
TEMPERATURE = 0.567
MIN_SCORE = 1e-6  # under the logarithm


class Masks(NamedTuple):
    """Which tokens are masked, and how far the scores decided it."""

    mask: Tensor  # (B, 2, N) bool: RGB first; template tokens, then search tokens
    overlap: Tensor  # (B,): share of the locations with the highest scores that are masked in the masked modality


def complementarity(saliency: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor]) -> Tensor:
    """kappa = sqrt(s_rgb * s_aux) * (1 - cos): high where both modalities say something, and something different.

    Args:
        saliency: (B, hw) twice, of any scale. tokens: (B, hw, D) twice.
    """
    return _joint_saliency(saliency) * (1 - _agreement(tokens)).clamp(min=0)


def redundancy(saliency: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor]) -> Tensor:
    """High where both modalities say the same: the opposite reading of what is worth masking."""
    return _joint_saliency(saliency) ** 2 * _agreement(tokens).clamp(min=0)


def random_scores(saliency: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor]) -> Tensor:
    """The same everywhere, so that noise alone decides."""
    return torch.ones_like(saliency[0])


STRATEGIES = {"complementarity": complementarity, "random": random_scores, "redundancy": redundancy}


def curriculum(progress: float) -> float:
    """Exponent on the scores: 0 (random masks) in the first third of training, then up to 1 at two thirds."""
    return min(1.0, max(0.0, 3 * progress - 1))


def choose_masks(
    scores: Tensor, template_tokens: int, exponent: float, mask_ratio: float, other_ratio: float, template_ratio: float
) -> Masks:
    """Picks one modality per sample by a coin; masks `mask_ratio` of its search tokens by noisy rank, and a few of the
    other's where the first is still visible: no location is lost in both.

    Args:
        scores: (B, hw), at least 0. exponent: on them; 0 makes the choice random.
        other_ratio: of the locations still visible in the chosen modality, masked in the other one.
        template_ratio: of the template tokens, masked at random in the chosen modality.
    """
    batch, cells = scores.shape
    count = round(mask_ratio * cells)
    logarithm = scores.float().clamp(min=MIN_SCORE).log()
    spread = logarithm.std(dim=1, keepdim=True)
    # Equal scores have no spread but that of rounding, which must not be blown up to an order.
    standardized = (logarithm - logarithm.mean(dim=1, keepdim=True)) / spread.clamp(min=1e-3)
    rank = exponent * standardized / TEMPERATURE - torch.empty_like(standardized).exponential_().log()
    chosen = _top(rank, count)
    other = _top(torch.rand_like(rank).masked_fill(chosen, -1), round(other_ratio * (cells - count)))
    template = _top(torch.rand(batch, template_tokens, device=scores.device), round(template_ratio * template_tokens))
    first = torch.cat([template, chosen], dim=1)
    second = torch.cat([torch.zeros_like(template), other], dim=1)
    coin = torch.rand(batch, 1, 1, device=scores.device) < 0.5
    mask = torch.where(coin, torch.stack([first, second], dim=1), torch.stack([second, first], dim=1))
    best = _top(logarithm, count)
    return Masks(mask, (chosen & best).float().sum(dim=1) / max(count, 1))


def _top(values: Tensor, count: int) -> Tensor:
    """(B, N) → bool, true at the `count` largest of each row."""
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, values.topk(count, dim=1).indices, True)


def _joint_saliency(saliency: tuple[Tensor, Tensor]) -> Tensor:
    rgb, aux = (s.float() / s.float().mean(dim=1, keepdim=True).clamp(min=1e-12) for s in saliency)
    return (rgb * aux).clamp(min=0).sqrt()


def _agreement(tokens: tuple[Tensor, Tensor]) -> Tensor:
    """Cosine of the layer-normalised tokens, (B, hw)."""
    rgb, aux = (functional.layer_norm(t.float(), t.shape[-1:]) for t in tokens)
    return functional.cosine_similarity(rgb, aux, dim=-1)
