"""The student: one ViT that both modalities share, a small fusion, a centre head (METHOD.md B.2).

Published: one shared light stream and a simple fusion, 6.5 M parameters. Ours: joint attention at chosen layers, the
modality embeddings, the rank of the fusion and the width of the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.models.box_coder import decode
from lib.models.vit import CropEmbedding, LayerNorm, Variant, build_blocks, build_patch_embed
from lib.structures import MODALITIES, Pair, TrackOutput


class Student(nn.Module):
    """Normalise, encode, fuse, head.

    Args:
        interaction_layers: blocks, counted from 1, in which the tokens of both modalities attend to each other; in the
            others each modality sees itself alone. They cost no parameters.
        fusion: see `lib.models.fusion`. head: see `lib.models.head`.
        mean, std: of RGB in [0, 1]; used for both modalities.
    """

    def __init__(
        self,
        variant: Variant,
        template_size: int,
        search_size: int,
        stride: int,
        interaction_layers: Sequence[int],
        fusion: nn.Module,
        head: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        if wrong := [layer for layer in interaction_layers if not 1 <= layer <= variant.depth]:
            raise ValueError(f"interaction layers {wrong}: expected numbers from 1 to {variant.depth}, the depth")
        self.interaction_layers = frozenset(interaction_layers)
        self.patch_embed = build_patch_embed(variant.width, stride)
        self.template_embed = CropEmbedding(variant.width, template_size, stride)
        self.search_embed = CropEmbedding(variant.width, search_size, stride)
        self.modality_embed = nn.Parameter(torch.zeros(len(MODALITIES), variant.width))
        self.blocks = build_blocks(variant, drop_path_rate)
        self.norm = LayerNorm(variant.width)
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        self.fusion = fusion
        self.head = head
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, template: Pair, search: Pair, modality: Tensor) -> TrackOutput:
        """uint8 crops (B, 3, S, S) and modality (B,) int64 → maps and boxes."""
        rgb, aux, features = self.encode(template, search, modality)
        fused, paths = self.fusion(rgb, aux)
        grid = self.search_embed.grid
        feature_map = fused.transpose(1, 2).unflatten(2, (grid, grid))
        score_map, size_map, offset_map = self.head(feature_map)
        boxes = decode(score_map, size_map, offset_map)
        return TrackOutput(score_map, size_map, offset_map, boxes, {**features, "fused": fused}, paths)

    def encode(self, template: Pair, search: Pair, modality: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Returns the tokens of RGB and of the auxiliary modality, each (B, N, D), template first, after the last norm;
        and the output of every block under 'block03/rgb', 'block03/aux'.
        """
        tokens = self._embed(template, search, modality)  # (B, 2, N, D)
        batch, _, length, width = tokens.shape
        features = {}
        for number, block in enumerate(self.blocks, start=1):
            # One memory layout serves both: the modalities as two batch items, or as one long row of tokens.
            joint = number in self.interaction_layers
            shape = (batch, 2 * length, width) if joint else (batch * 2, length, width)
            tokens = block(tokens.reshape(shape)).reshape(batch, 2, length, width)
            features[f"block{number:02d}/rgb"], features[f"block{number:02d}/aux"] = tokens.unbind(1)
        rgb, aux = self.norm(tokens).unbind(1)
        return rgb, aux, features

    def _embed(self, template: Pair, search: Pair, modality: Tensor) -> Tensor:
        crops = []
        for pair, embed in ((template, self.template_embed), (search, self.search_embed)):
            images = (torch.stack(pair, dim=1).flatten(0, 1) - self.mean) / self.std
            crops.append(embed(images, self.patch_embed).unflatten(0, (-1, 2)))
        kinds = torch.stack([torch.full_like(modality, MODALITIES["rgb"]), modality], dim=1)
        return torch.cat(crops, dim=2) + self.modality_embed[kinds][:, :, None]
