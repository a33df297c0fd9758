"""The reconstruction losses of masked patches and masked tokens (docs/method.md, CMAE; ours)."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.losses.common import cosine

FLAT = 0.02  # spatial standard deviation in [0, 1] below which a patch shows only noise


def reconstruction_loss(prediction: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of masked patches, each normalised by its mean and deviation; flat patches do not count.

    Args:
        prediction, patches: (B, 2, N, 3 * stride**2); patches in [0, 1].
        mask: (B, 2, N) bool.

    Returns:
        (B, 2), mean over the masked patches of each sample and modality; 0 if no patch counts.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        weight = (mask & ~is_flat(patches)).float()
        error = (prediction.float() - patch_targets(patches)).square().mean(dim=-1)
        return (error * weight).sum(dim=-1) / weight.sum(dim=-1).clamp(min=1)


def token_loss(prediction: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """1 - cosine of masked tokens. `prediction` and `tokens`: (B, 2, N, D); `mask`: (B, 2, N) bool. Returns (B, 2)."""
    with torch.autocast(prediction.device.type, enabled=False):
        error = 1 - cosine(prediction.float(), tokens.float())
        return (error * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)


def patch_targets(patches: Tensor) -> Tensor:
    """Normalises each patch, (..., pixels), to zero mean and unit variance. Returns float32."""
    variance, mean = torch.var_mean(patches.float(), dim=-1, keepdim=True, correction=0)
    return (patches - mean) / (variance + 1e-6).sqrt()


def is_flat(patches: Tensor) -> Tensor:
    """Returns whether no channel varies within the patch: (..., pixels) → (...) bool.

    A patch of constant depth differs between channels only.
    """
    return (patches.float().unflatten(-1, (3, -1)).std(dim=-1, correction=0) < FLAT).all(dim=-1)


RECONSTRUCTION_LOSSES = {"pixels": reconstruction_loss, "features": token_loss}  # TRAIN.PRETRAIN.TARGET → loss
