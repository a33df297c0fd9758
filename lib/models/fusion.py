"""The tokens of two modalities → one set."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SimpleFusion(nn.Module):
    """The student's fusion: the mean of both modalities plus a low-rank correction (METHOD.md B.2; ours).

    F = (S_rgb + S_aux) / 2 + W2 GELU(W1 LN([S_rgb ; S_aux])), with W2 zero at the start, so that training begins with
    the plain mean.
    """

    def __init__(self, width: int, template_tokens: int, rank: int):
        super().__init__()
        self.template_tokens = template_tokens
        self.norm = nn.LayerNorm(2 * width)
        self.down = nn.Linear(2 * width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N, D) twice, template tokens first → fused search tokens (B, hw, D), and no further paths."""
        rgb, aux = rgb[:, self.template_tokens :], aux[:, self.template_tokens :]
        correction = self.up(nn.functional.gelu(self.down(self.norm(torch.cat([rgb, aux], dim=-1)))))
        return (rgb + aux) / 2 + correction, {}


FUSIONS = {"simple": SimpleFusion}
