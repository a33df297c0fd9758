"""The vision transformer: the backbone of every published configuration.

Published: ViTs on template and search tokens, as in OSTrack. Ours: the sizes below `vit_tiny`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn
from torch.nn import functional

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
        count = self.template_tokens
        first, second = (None, None) if mask is None else (mask[:, :count], mask[:, count:])
        parts = self.embed_template(template, first, vector), self.embed_search(search, second, vector)
        return torch.cat(parts, dim=1)

    def embed_template(self, template: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        """The part of `embed` for the template, (B, Nt, D). `mask`: (B, Nt)."""
        return self._embed(template, self.template_position, mask, vector)

    def embed_search(self, search: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        """The part of `embed` for the search crop and the prefix, (B, hw + prefix, D). `mask`: (B, hw)."""
        tokens = self._embed(search, self.search_position, mask, vector)
        if self.prefix is None:
            return tokens
        return torch.cat([tokens, self.prefix.expand(len(tokens), -1, -1)], dim=1)

    def _embed(self, images: Tensor, positions: Tensor, mask: Tensor | None, vector: Tensor | None) -> Tensor:
        tokens = self.patch_embed(images)
        if mask is not None:
            tokens = torch.where(mask[..., None], vector[:, None].to(tokens.dtype), tokens)
        return tokens + positions

    @property
    def can_split(self) -> bool:
        """True: `template_block` and `search_block` are implemented."""
        return True

    def template_block(self, layer: int, tokens: Tensor, ranked: bool = False) -> tuple[Tensor, Tensor]:
        """See `Backbone.template_block`: tokens (B, Nt, D), keys and values (B, 2, heads, Nt, D / heads); `ranked`: and
        queries, (B, 3, …)."""
        block = self.blocks[layer - 1]
        query, key, value = _project(block.attn, block.norm1(tokens))
        known = [key, value, query] if ranked else [key, value]
        return _complete(block, tokens, query, key, value), torch.stack(known, dim=1)

    def search_block(self, layer: int, tokens: Tensor, memory: Tensor) -> Tensor:
        """See `Backbone.search_block`, (B, hw + prefix, D)."""
        block = self.blocks[layer - 1]
        query, key, value = _project(block.attn, block.norm1(tokens))
        known_key, known_value = memory.to(key.dtype).unbind(dim=1)
        return _complete(
            block, tokens, query, torch.cat([known_key, key], dim=2), torch.cat([known_value, value], dim=2)
        )

    @property
    def can_eliminate(self) -> bool:
        """True: `attend_ranked` and `finish_block` are implemented."""
        return True

    def attend_ranked(
        self, layer: int, tokens: Tensor, queries: Sequence[int], memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Backbone.attend_ranked`, (B, N, D) and (B, N) float32."""
        block = self.blocks[layer - 1]
        query, key, value = _project(block.attn, block.norm1(tokens))
        known_query = query
        if memory is not None:
            known_key, known_value, known_query = memory.to(key.dtype).unbind(dim=1)
            key, value = torch.cat([known_key, key], dim=2), torch.cat([known_value, value], dim=2)
        asking = known_query[:, :, list(queries)]
        weights = (asking.float() @ key.float().mT / math.sqrt(key.shape[-1])).softmax(dim=-1)
        received = weights.mean(dim=(1, 2))[:, -tokens.shape[1] :]
        return _attend(block, tokens, query, key, value), received

    def finish_block(self, layer: int, tokens: Tensor) -> Tensor:
        """See `Backbone.finish_block`, (B, N, D)."""
        return _finish(self.blocks[layer - 1], tokens)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters that are no matrices of weights: positions and prefix tokens."""
        return {"template_position", "search_position", *(["prefix"] if self.prefix is not None else [])}

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


class SeparateAttention(nn.Module):
    """The attention of a block of a ViT, with three products for queries, keys and values in place of one.

    The result is the same. Exports of large networks are a little faster with it: OpenVINO copies the parts of a single
    product.
    """

    def __init__(self, attention: Attention):
        super().__init__()
        self.num_heads, self.proj = attention.num_heads, attention.proj
        self.parts = nn.ModuleList()
        for weight, bias in zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True):
            part = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
            part.weight, part.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
            self.parts.append(part)

    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Maps (B, N, D) to the same shape. The arguments are those of timm's attention."""
        mixed = functional.scaled_dot_product_attention(*_project(self, tokens), attn_mask, is_causal=is_causal)
        return self.proj(mixed.transpose(1, 2).flatten(2))


@contextlib.contextmanager
def separate_attention(model: nn.Module) -> Iterator[None]:
    """While it is entered, every block of a ViT in a model has a `SeparateAttention`."""
    blocks = [(module, module.attn) for module in model.modules() if isinstance(module, Block)]
    for block, attention in blocks:
        block.attn = SeparateAttention(attention)
    try:
        yield
    finally:
        for block, attention in blocks:
            block.attn = attention


def _project(attention: nn.Module, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries, keys and values, (B, heads, N, D / heads) each, of (B, N, D)."""
    batch, length, width = normed.shape
    heads = attention.num_heads
    if isinstance(attention, SeparateAttention):
        return tuple(part(normed).view(batch, length, heads, -1).transpose(1, 2) for part in attention.parts)
    return attention.qkv(normed).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)


def _complete(block: nn.Module, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Does the rest of a block: attention with these keys and values, and the MLP."""
    return _finish(block, _attend(block, tokens, query, key, value))


def _attend(block: nn.Module, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    return tokens + block.drop_path1(block.ls1(block.attn.proj(mixed)))


def _finish(block: nn.Module, tokens: Tensor) -> Tensor:
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


def build_block(width: int, heads: int, layer_scale: float = 0.0, drop_path: float = 0.0) -> Block:
    """Returns a transformer block on (B, N, width) with torch's fused attention. `layer_scale` 0: no LayerScale."""
    scale = layer_scale or None
    return Block(width, heads, MLP_RATIO, qkv_bias=True, init_values=scale, drop_path=drop_path, norm_layer=LayerNorm)


def sincos_positions(grid: int, width: int) -> Tensor:
    """Returns (1, grid * grid, width) sines and cosines of the cells' rows and columns, to initialise positions."""
    frequencies = 1.0 / 10000 ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(1, grid * grid, width)
