"""Maps features to score, size and offset maps. Published: OSTrack's head, which the paper uses; ours: its priors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lib.models.box_coder import decode
from lib.structures import TrackOutput

SCORE_EPS = 1e-4  # smallest distance of a score from 0 and from 1, so that the focal loss is finite
# Output of an untrained head: a low score, because nearly all cells are background; the size of a target in a search
# crop of factor 4.
SCORE_PRIOR, SIZE_PRIOR = 0.1, 0.25


class CenterHead(nn.Module):
    """OSTrack's centre head: three branches of four 3x3 convolutions, channels C, C/2, C/4, C/8, then 1x1.

    Args:
        width: D, channels of the feature map.
        channels: C, a multiple of 8.
    """

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.score = _branch(width, channels, 1)
        self.size = _branch(width, channels, 2)
        self.offset = _branch(width, channels, 2)
        nn.init.constant_(self.score[-1].bias, math.log(SCORE_PRIOR / (1 - SCORE_PRIOR)))
        nn.init.constant_(self.size[-1].bias, math.log(SIZE_PRIOR / (1 - SIZE_PRIOR)))
        nn.init.zeros_(self.offset[-1].bias)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns score (B, 1, h, w), size (B, 2, h, w) and offset (B, 2, h, w) for features (B, D, h, w).

        They are float32, also under autocast; see `TrackOutput`.
        """
        score, size, offset = (branch(feature_map).float() for branch in (self.score, self.size, self.offset))
        # An overflow in half precision is infinite; the sigmoid would hide it from the check of the loss.
        score, size = (torch.where(maps.isfinite(), maps, torch.nan).sigmoid() for maps in (score, size))
        return score.clamp(SCORE_EPS, 1 - SCORE_EPS), size, offset


HEADS = {"center": CenterHead}


def apply_head(
    head: nn.Module, fused: Tensor, paths: dict[str, Tensor], features: dict[str, Tensor], grid: int
) -> TrackOutput:
    """Applies the head to the fused search tokens and to those of each path, in one call.

    Args:
        head: maps (B, D, h, w) to score, size and offset map.
        fused: (B, hw, D).
        paths: the same for each fusion path, by name; may be empty.
        features: additional tensors for the output.
        grid: h = w, cells.
    """
    tokens = torch.cat([fused, *paths.values()])
    maps = head(tokens.transpose(1, 2).unflatten(2, (grid, grid)))
    parts = zip(*(part.chunk(1 + len(paths)) for part in (*maps, decode(*maps))), strict=True)
    fused_output, *path_outputs = (TrackOutput(*part, {}, {}) for part in parts)
    outputs = zip(paths.items(), path_outputs, strict=True)
    named = {name: output._replace(features={"fused": path}) for (name, path), output in outputs}
    return fused_output._replace(features={**features, "fused": fused}, paths=named)


def _branch(width: int, channels: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = width
    for divisor in (1, 2, 4, 8):
        layers += [nn.Conv2d(inputs, channels // divisor, 3, padding=1), nn.BatchNorm2d(channels // divisor), nn.ReLU()]
        inputs = channels // divisor
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, 1))
