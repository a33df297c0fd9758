"""The vision transformer that both modalities share: patch and position embedding, blocks, sizes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

MLP_RATIO = 4
LayerNorm = partial(nn.LayerNorm, eps=1e-6)  # as the ViTs whose weights one starts from


class Variant(NamedTuple):
    """Size of a ViT."""

    width: int
    depth: int
    heads: int


VARIANTS = {
    "vit_micro": Variant(64, 2, 2),  # tests
    "vit_nano": Variant(128, 6, 4),  # the demo: minutes on a CPU
    "vit_tiny": Variant(192, 12, 3),
    "vit_small": Variant(384, 12, 6),
    "vit_base": Variant(768, 12, 12),
}


class CropEmbedding(nn.Module):
    """Crops of one size → tokens: a patch embedding that is handed in, because all crops share it, and positions."""

    def __init__(self, width: int, size: int, stride: int):
        super().__init__()
        self.grid = size // stride
        self.position = nn.Parameter(sincos_positions(self.grid, width))

    def forward(self, images: Tensor, patch_embed: PatchEmbed) -> Tensor:
        """(B, 3, S, S) normalised → (B, h*w, D)."""
        return patch_embed(images) + self.position


def build_blocks(variant: Variant, drop_path_rate: float) -> nn.ModuleList:
    """The transformer blocks, with stochastic depth that grows linearly from zero; attention is torch's fused one."""
    rates = torch.linspace(0, drop_path_rate, variant.depth).tolist()
    return nn.ModuleList(
        Block(variant.width, variant.heads, MLP_RATIO, qkv_bias=True, drop_path=rate, norm_layer=LayerNorm)
        for rate in rates
    )


def build_patch_embed(width: int, stride: int) -> PatchEmbed:
    """Cuts images of any size into patches of `stride` pixels and maps each to `width` numbers."""
    return PatchEmbed(img_size=None, patch_size=stride, in_chans=3, embed_dim=width)


def sincos_positions(grid: int, width: int) -> Tensor:
    """(1, grid * grid, width) sines and cosines of a cell's row and column: where learned positions start from."""
    frequencies = 1.0 / 10000 ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(1, grid * grid, width)
