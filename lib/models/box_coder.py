"""Encodes boxes as training maps and decodes maps to boxes."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_OVERLAP = 0.7  # nominal IoU of a box with itself after its corners moved by the Gaussian's radius


def encode_score(boxes_cxcywh: Tensor, height: int, width: int) -> Tensor:
    """Encodes boxes as target score maps, (B, 1, h, w) in [0, 1].

    A map is 1 in the cell whose corner is nearest to the centre of the box, with a Gaussian around it. As in OSTrack,
    offsets lie in [-0.5, 0.5]. Unlike in OSTrack, a centre at the last column or row keeps its cell.

    Args:
        boxes_cxcywh: (B, 4), fractions of the crop.
        height, width: size h, w of the maps in cells.
    """
    scale = boxes_cxcywh.new_tensor([width, height])
    center = (boxes_cxcywh[:, :2] * scale).round().clamp(min=0).minimum(scale - 1)
    radius = gaussian_radius(boxes_cxcywh[:, 2:] * scale).floor().clamp(min=0)
    sigma = (2 * radius + 1) / 6
    ys = torch.arange(height, device=boxes_cxcywh.device, dtype=torch.float32)
    xs = torch.arange(width, device=boxes_cxcywh.device, dtype=torch.float32)
    dy = (ys[None] - center[:, 1:2]).abs()[:, :, None]  # (B, h, 1)
    dx = (xs[None] - center[:, 0:1]).abs()[:, None, :]  # (B, 1, w)
    target = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2)[:, None, None])
    inside = (dx <= radius[:, None, None]) & (dy <= radius[:, None, None])
    return (target * inside)[:, None]


def gaussian_radius(size: Tensor) -> Tensor:
    """Maps (B, 2) width and height in cells to the (B,) radius in cells that CornerNet's code computes.

    The three quadratics are for both corners moved in the same direction, both inwards, both outwards. CornerNet's code
    omits the division by their leading coefficients, so the overlap can fall below MIN_OVERLAP. The radius is
    kept because CenterNet-style heads are trained with it.
    """
    total, area, o = size.sum(dim=1), size.prod(dim=1), MIN_OVERLAP

    def root(a: float, b: Tensor, c: Tensor) -> Tensor:
        return (b + (b**2 - 4 * a * c).clamp(min=0).sqrt()) / 2

    radii = (
        root(1, total, area * (1 - o) / (1 + o)),
        root(4, 2 * total, (1 - o) * area),
        root(4 * o, -2 * o * total, (o - 1) * area),
    )
    return torch.stack(radii).amin(dim=0)


def decode(score_map: Tensor, size_map: Tensor, offset_map: Tensor) -> Tensor:
    """Decodes maps (B, 1 or 2, h, w) to the box at the peak of the score map, (B, 4) cxcywh, fractions of the crop."""
    height, width = score_map.shape[-2:]
    cell = score_map.flatten(1).argmax(dim=1)  # row-major
    index = cell[:, None, None].expand(-1, 2, 1)
    size = size_map.flatten(2).gather(2, index)[:, :, 0]
    offset = offset_map.flatten(2).gather(2, index)[:, :, 0]
    corner = torch.stack([cell % width, cell.div(width, rounding_mode="floor")], dim=1)
    return torch.cat([(corner + offset) / offset.new_tensor([width, height]), size], dim=1)
