"""The vision transformer: the backbone of every published configuration.

Published: ViTs on template and search tokens, as in OSTrack. Ours: the sizes below `vit_tiny`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from lib.models.backbone import Backbone, ForeignTensor
from lib.models.weights.convert import KERNEL, convert_vit

MLP_RATIO = 4
LayerNorm = partial(nn.LayerNorm, eps=1e-6)  # as in timm's ViTs, whose weights training starts from


class Variant(NamedTuple):
    """Size of a ViT: channels of a token, number of blocks, attention heads per block."""

    width: int
    depth: int
    heads: int


VARIANTS = {
    "vit_micro": Variant(64, 2, 2),  # tests
    "vit_pico": Variant(64, 4, 2),  # the ablation: many runs on a CPU
    "vit_nano": Variant(128, 4, 2),  # the demo: minutes on a CPU
    "vit_tiny": Variant(192, 12, 3),
    "vit_small": Variant(384, 12, 6),
    "vit_base": Variant(768, 12, 12),
}


class ViT(nn.Module, Backbone):
    """A vision transformer: patch embedding, position embeddings, transformer blocks.

    Args:
        template_size, search_size, stride: pixels; both sizes are multiples of the stride.
        drop_path_rate: probability in the last block, in [0, 1]; it rises linearly from 0 in the first block.
        prefix_tokens: number of class and register tokens of pretrained weights; they follow all other tokens.
        layer_scale: initial value of the blocks' LayerScale, for weights that have LayerScale; 0: no LayerScale.
    """

    def __init__(
        self,
        variant: Variant,
        template_size: int,
        search_size: int,
        stride: int,
        drop_path_rate: float = 0.0,
        prefix_tokens: int = 0,
        layer_scale: float = 0.0,
    ):
        super().__init__()
        self.width, self.stride = variant.width, stride
        self.grid = search_size // stride
        self.template_grid = template_size // stride
        self.patch_embed = PatchEmbed(img_size=None, patch_size=stride, in_chans=3, embed_dim=variant.width)
        self.template_position = nn.Parameter(sincos_positions(self.template_grid, variant.width))
        self.search_position = nn.Parameter(sincos_positions(self.grid, variant.width))
        self.prefix = nn.Parameter(torch.zeros(1, prefix_tokens, variant.width)) if prefix_tokens else None
        rates = torch.linspace(0, drop_path_rate, variant.depth).tolist()
        self.blocks = nn.ModuleList(build_block(variant.width, variant.heads, layer_scale, rate) for rate in rates)
        self.norm = LayerNorm(variant.width)

    def embed(
        self, template: Tensor, search: Tensor, mask: Tensor | None = None, vector: Tensor | None = None
    ) -> Tensor:
        """Maps normalised crops (B, 3, S, S) to tokens (B, N + prefix, D): template, search, prefix, with positions.

        Args:
            mask: (B, N) bool; masked patches are replaced by `vector` (B, D) before positions are added.
        """
        tokens = torch.cat([self.patch_embed(template), self.patch_embed(search)], dim=1)
        if mask is not None:
            tokens = torch.where(mask[..., None], vector[:, None].to(tokens.dtype), tokens)
        tokens = tokens + torch.cat([self.template_position, self.search_position], dim=1)
        if self.prefix is None:
            return tokens
        return torch.cat([tokens, self.prefix.expand(len(tokens), -1, -1)], dim=1)

    @property
    def can_mask(self) -> bool:
        """True: `embed` accepts a mask and `attention_received` is implemented."""
        return True

    def attention_received(self, layer: int, tokens: Tensor, queries: Sequence[int]) -> Tensor:
        """See `Backbone.attention_received`, (B, N) float32. `forward` uses fused attention; here it is explicit."""
        block = self.blocks[layer - 1]
        attention = block.attn
        with torch.autocast(tokens.device.type, enabled=False):
            normed = block.norm1(tokens.float())
            batch, length, width = normed.shape
            qkv = attention.qkv(normed).view(batch, length, 3, attention.num_heads, width // attention.num_heads)
            query, key, _ = qkv.permute(2, 0, 3, 1, 4)
            weights = (query[:, :, list(queries)] @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
        return weights.mean(dim=(1, 2))

    def can_convert(self, names: Collection[str]) -> bool:
        """See `Backbone.can_convert`: a file with timm's patch embedding."""
        return KERNEL in names

    def convert(self, items: dict[str, ForeignTensor]) -> None:
        """See `Backbone.convert`: patch size and positions are resampled, LayerScale is folded into the weights.

        Raises:
            ValueError, RuntimeError, IndexError: the tensors do not fit together.
        """
        convert_vit(items, self)


class Normalize(nn.Module):
    """Normalises uint8 crops to about zero mean and unit variance.

    Args:
        mean, std: (3,), mean and standard deviation of the RGB channels of images in [0, 1], for both modalities.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, 3, S, S) uint8 to float32 of the same shape."""
        return (images - self.mean) / self.std


def build_block(width: int, heads: int, layer_scale: float = 0.0, drop_path: float = 0.0) -> Block:
    """Returns a transformer block on (B, N, width) with torch's fused attention. `layer_scale` 0: no LayerScale."""
    scale = layer_scale or None
    return Block(width, heads, MLP_RATIO, qkv_bias=True, init_values=scale, drop_path=drop_path, norm_layer=LayerNorm)


def center_tokens(grid: int) -> list[int]:
    """Returns the row-major indices of the central 2x2 cells of a square grid; for an odd grid, the central cell."""
    middle = sorted({(grid - 1) // 2, grid // 2})
    return [row * grid + column for row in middle for column in middle]


def sincos_positions(grid: int, width: int) -> Tensor:
    """Returns (1, grid * grid, width) sines and cosines of the cells' rows and columns, to initialise positions."""
    frequencies = 1.0 / 10000 ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(1, grid * grid, width)
