"""The student: one ViT that both modalities share, a small fusion, a centre head (docs/method.md, The student).

Published: one shared light stream and a simple fusion, 6.5 M parameters. Ours: joint attention at chosen layers, the
modality embeddings, the rank of the fusion and the width of the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.models.head import read_out
from lib.models.vit import Normalize, ViT
from lib.structures import MODALITIES, Pair, TrackOutput


class Student(nn.Module):
    """Normalise, encode, fuse, head.

    Args:
        interaction_layers: blocks, counted from 1, in which the tokens of both modalities attend to each other; in the
            others each modality sees itself alone. They cost no parameters.
        fusion: see `lib.models.fusion`. head: see `lib.models.head`.
    """

    def __init__(
        self, vit: ViT, interaction_layers: Sequence[int], fusion: nn.Module, head: nn.Module, normalize: Normalize
    ):
        super().__init__()
        check_layers(interaction_layers, vit.depth)
        self.interaction_layers = frozenset(interaction_layers)
        self.vit = vit
        self.modality_embed = nn.Parameter(torch.zeros(len(MODALITIES), vit.width))
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        self.fusion = fusion
        self.head = head
        self.normalize = normalize

    @property
    def streams(self) -> tuple[ViT, ViT]:
        """The networks that see RGB and the auxiliary modality: one and the same."""
        return self.vit, self.vit

    @property
    def grid(self) -> int:
        return self.vit.grid

    def forward(self, template: Pair, search: Pair, modality: Tensor) -> TrackOutput:
        """uint8 crops (B, 3, S, S) and modality (B,) int64 → maps and boxes."""
        rgb, aux, features = self.encode(template, search, modality)
        fused, paths = self.fusion(rgb, aux)
        return read_out(self.head, fused, paths, features, self.grid)

    def encode(
        self,
        template: Pair,
        search: Pair,
        modality: Tensor,
        mask: Tensor | None = None,
        mask_vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Returns the tokens of RGB and of the auxiliary modality, each (B, N, D), template first, after the last norm;
        and the output of every block under 'block03/rgb', 'block03/aux'; 'block00/…' is what the first one is given.

        Args:
            mask: (B, 2, N) bool, RGB first: tokens that are replaced by their modality's row of `mask_vectors` (4, D).
        """
        kinds = embedding_rows(modality)  # (B, 2)
        images = [self.normalize(torch.stack(pair, dim=1).flatten(0, 1)) for pair in (template, search)]
        masked = (None, None) if mask is None else (mask.flatten(0, 1), mask_vectors[kinds].flatten(0, 1))
        tokens = self.vit.embed(*images, *masked).unflatten(0, (-1, 2)) + self.modality_embed[kinds][:, :, None]
        batch, _, length, width = tokens.shape
        features, seen = {}, self.vit.tokens
        features["block00/rgb"], features["block00/aux"] = tokens[:, :, :seen].unbind(1)
        for number, block in enumerate(self.vit.blocks, start=1):
            # One memory layout serves both: the modalities as two batch items, or as one long row of tokens.
            joint = number in self.interaction_layers
            shape = (batch, 2 * length, width) if joint else (batch * 2, length, width)
            tokens = block(tokens.reshape(shape)).reshape(batch, 2, length, width)
            features[f"block{number:02d}/rgb"], features[f"block{number:02d}/aux"] = tokens[:, :, :seen].unbind(1)
        rgb, aux = self.vit.norm(tokens[:, :, :seen]).unbind(1)
        return rgb, aux, features


def embedding_rows(modality: Tensor) -> Tensor:
    """(B,) kind of the auxiliary images → (B, 2): the rows of a modality table for RGB and for them."""
    return torch.stack([torch.full_like(modality, MODALITIES["rgb"]), modality], dim=1)


def check_layers(layers: Sequence[int], depth: int) -> None:
    """Raises ValueError where an interaction layer is not there."""
    if wrong := [layer for layer in layers if not 1 <= layer <= depth]:
        raise ValueError(f"interaction layers {wrong}: expected numbers from 1 to {depth}, the depth")
