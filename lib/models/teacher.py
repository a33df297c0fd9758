"""The teacher: two streams with exchange stages, and a fusion along several paths (docs/method.md, The teacher).

Published: a stronger network with a stream for each modality and a sophisticated fusion, whose paths the student learns
to choose from. Ours: everything else, i.e. the exchange stages and their gates, the three paths and their weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.models.fusion import CrossBlock
from lib.models.head import read_out
from lib.models.student import check_layers, embedding_rows
from lib.models.vit import Normalize, ViT
from lib.structures import MODALITIES, Pair, TrackOutput


class Teacher(nn.Module):
    """Normalise, encode in two streams, fuse along several paths, one head on each of them.

    Args:
        vit: the stream of RGB; that of the auxiliary modality starts as its copy, so that both speak of the same
            features in the same basis.
        interaction_layers: blocks, counted from 1, after which the streams exchange.
        fusion: see `lib.models.fusion`. head: see `lib.models.head`.
    """

    def __init__(
        self, vit: ViT, interaction_layers: Sequence[int], fusion: nn.Module, head: nn.Module, normalize: Normalize
    ):
        super().__init__()
        check_layers(interaction_layers, vit.depth)
        self.rgb, self.aux = vit, copy.deepcopy(vit)
        self.exchanges = nn.ModuleDict({f"{n:02d}": ExchangeStage(vit.width) for n in sorted(interaction_layers)})
        self.modality_embed = nn.Parameter(torch.zeros(len(MODALITIES), vit.width))
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        self.fusion = fusion
        self.head = head
        self.normalize = normalize

    @property
    def streams(self) -> tuple[ViT, ViT]:
        """The networks that see RGB and the auxiliary modality."""
        return self.rgb, self.aux

    @property
    def interaction_layers(self) -> frozenset[int]:
        """No block sees both modalities: they meet between blocks."""
        return frozenset()

    @property
    def grid(self) -> int:
        return self.rgb.grid

    def forward(self, template: Pair, search: Pair, modality: Tensor) -> TrackOutput:
        """uint8 crops (B, 3, S, S) and modality (B,) int64 → maps and boxes, for the fused features and each path."""
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
        """As `Student.encode`; the features of a block are those after the exchange that follows it."""
        kinds = embedding_rows(modality)
        states = []
        for m, stream in enumerate(self.streams):
            masked = (None, None) if mask is None else (mask[:, m], mask_vectors[kinds[:, m]])
            tokens = stream.embed(self.normalize(template[m]), self.normalize(search[m]), *masked)
            states.append(tokens + self.modality_embed[kinds[:, m]][:, None])
        features, seen = {}, self.rgb.tokens
        features["block00/rgb"], features["block00/aux"] = (tokens[:, :seen] for tokens in states)
        for number, blocks in enumerate(zip(self.rgb.blocks, self.aux.blocks, strict=True), start=1):
            states = [block(tokens) for block, tokens in zip(blocks, states, strict=True)]
            if (name := f"{number:02d}") in self.exchanges:
                states = self.exchanges[name](*states)
            features[f"block{name}/rgb"], features[f"block{name}/aux"] = (tokens[:, :seen] for tokens in states)
        rgb, aux = (s.norm(tokens[:, :seen]) for s, tokens in zip(self.streams, states, strict=True))
        return rgb, aux, features


class ExchangeStage(nn.Module):
    """Each stream looks at the other one, as it was before the stage, through gates that start closed.

    Y = H + g1 * Attention(LN(H), LN(other)), H' = Y + g2 * FFN(LN(Y)).
    """

    def __init__(self, width: int):
        super().__init__()
        self.to_rgb = CrossBlock(width, gated=True)
        self.to_aux = CrossBlock(width, gated=True)

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, D) twice → the same, after the exchange."""
        return self.to_rgb(rgb, aux), self.to_aux(aux, rgb)
