"""Chooses the tokens that CMAE masks, from a score for each search location (docs/method.md, CMAE).

Published: selected patches of one modality are masked. Ours: how they are selected. All functions are pure, except for
torch's random numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Standardised scores are divided by this before Gumbel noise (standard deviation 1.28) is added. About 80 % of the top
# half are then masked (50 % at random): 1/2 + asin(rho) / pi, with rho^2 = s^2 / (s^2 + 1.28^2) and s = 1 / T.
TEMPERATURE = 0.567
MIN_SCORE = 1e-6  # scores are clamped to it before their logarithm is taken


class Masks(NamedTuple):
    """The masked tokens, and how much of the mask follows the scores, for B samples."""

    mask: Tensor  # (B, 2, N) bool: RGB first; template tokens, then search tokens
    overlap: Tensor  # (B,) in [0, 1]: share of the highest-scored locations that the mask covers


def complementarity(saliency: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor]) -> Tensor:
    """kappa = sqrt(s_rgb * s_aux) * (1 - cos): high where both modalities are salient and their tokens differ.

    Args:
        saliency: saliency in RGB and in the auxiliary modality, (B, hw) each, at least 0, on any scale.
        tokens: tokens of both modalities, (B, hw, D) each.

    Returns:
        (B, hw), at least 0.
    """
    return _joint_saliency(saliency) * (1 - _agreement(tokens)).clamp(min=0)


def redundancy(saliency: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor]) -> Tensor:
    """s_rgb * s_aux * cos: high where both modalities are salient and agree; a control.

    Arguments and shapes as in `complementarity`. Returns (B, hw), at least 0.
    """
    return _joint_saliency(saliency) ** 2 * _agreement(tokens).clamp(min=0)


def random_scores(saliency: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor]) -> Tensor:
    """Equal scores (B, hw), so that the mask is random; a control. Arguments as in `complementarity`."""
    return torch.ones_like(saliency[0])


STRATEGIES = {"complementarity": complementarity, "random": random_scores, "redundancy": redundancy}


def curriculum(progress: float) -> float:
    """Returns the exponent of the scores: 0 (random masks) in the first third of training, linear to 1 at two thirds.

    Args:
        progress: completed share of the training, in [0, 1].
    """
    return min(1.0, max(0.0, 3 * progress - 1))


def choose_masks(
    scores: Tensor, template_tokens: int, exponent: float, mask_ratio: float, other_ratio: float, template_ratio: float
) -> Masks:
    """Masks search tokens of one modality by noisy rank of their scores, and a few tokens of the other modality.

    The first modality is drawn at random for each sample. The other one is masked only where the first is visible: no
    location is masked in both.

    Args:
        scores: (B, hw), at least 0.
        template_tokens: number of template tokens.
        exponent: exponent of the scores; 0 gives random masks.
        mask_ratio: share of the first modality's search tokens that is masked.
        other_ratio: share of the locations visible in the first modality that is masked in the other one.
        template_ratio: share of the first modality's template tokens that is masked, at random.
    """
    batch, cells = scores.shape
    count = round(mask_ratio * cells)
    logarithm = scores.float().clamp(min=MIN_SCORE).log()
    spread = logarithm.std(dim=1, keepdim=True)
    # Equal scores differ by rounding only, which must not decide their order.
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
    """(B, N) → (B, N) bool, True at the `count` largest values of each row."""
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, values.topk(count, dim=1).indices, True)


def _joint_saliency(saliency: tuple[Tensor, Tensor]) -> Tensor:
    rgb, aux = (s.float() / s.float().mean(dim=1, keepdim=True).clamp(min=1e-12) for s in saliency)
    return (rgb * aux).clamp(min=0).sqrt()


def _agreement(tokens: tuple[Tensor, Tensor]) -> Tensor:
    """Cosine of the layer-normalised tokens, (B, hw)."""
    rgb, aux = (functional.layer_norm(t.float(), t.shape[-1:]) for t in tokens)
    return functional.cosine_similarity(rgb, aux, dim=-1)
