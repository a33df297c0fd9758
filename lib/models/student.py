"""The student: one backbone shared by both modalities, a small fusion, a centre head (docs/method.md, The student).

Published: one shared light stream and a simple fusion, 6.5 M parameters. Ours: joint attention at chosen layers, the
modality embeddings, the rank of the fusion and the width of the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.models.backbone import Backbone
from lib.models.network import PairNetwork, check_layers, embedding_rows
from lib.structures import Pair


class Student(PairNetwork):
    """A network in which both modalities run through one backbone, as two items of the batch.

    Args:
        encoder: the shared backbone.
        interaction_layers: blocks, counted from 1, in which the tokens of both modalities attend to each other; in the
            other blocks, a token attends to its own modality only. Interaction needs no additional parameters.
        fusion, head, normalize: see `PairNetwork`.

    Raises:
        ValueError: an interaction layer is not the number of a block.
    """

    def __init__(
        self,
        encoder: Backbone,
        interaction_layers: Sequence[int],
        fusion: nn.Module,
        head: nn.Module,
        normalize: nn.Module,
    ):
        check_layers(interaction_layers, encoder.depth)
        super().__init__({"encoder": encoder}, encoder.width, fusion, head, normalize)
        self.interaction_layers = frozenset(interaction_layers)

    @property
    def streams(self) -> tuple[Backbone, Backbone]:
        """The shared backbone, for both modalities."""
        return self.encoder, self.encoder

    @property
    def joint_layers(self) -> frozenset[int]:
        """Numbers of the interaction layers, counted from 1."""
        return self.interaction_layers

    def encode(
        self,
        template: Pair,
        search: Pair,
        modality: Tensor,
        mask: Tensor | None = None,
        mask_vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See `PairNetwork.encode`: two (B, N, D) tensors and the features of every block."""
        rows = embedding_rows(modality)  # (B, 2)
        images = [self.normalize(torch.stack(pair, dim=1).flatten(0, 1)) for pair in (template, search)]
        masked = (None, None) if mask is None else (mask.flatten(0, 1), mask_vectors[rows].flatten(0, 1))
        tokens = self.encoder.embed(*images, *masked).unflatten(0, (-1, 2)) + self.modality_embed[rows][:, :, None]
        batch, _, length, width = tokens.shape
        features, count = {}, self.encoder.tokens
        features["block00/rgb"], features["block00/aux"] = tokens[:, :, :count].unbind(1)
        for number, block in enumerate(self.encoder.blocks, start=1):
            # The memory layout is the same for two batch items per sample and for one sequence with the tokens of both.
            joint = number in self.interaction_layers
            shape = (batch, 2 * length, width) if joint else (batch * 2, length, width)
            tokens = block(tokens.reshape(shape)).reshape(batch, 2, length, width)
            features[f"block{number:02d}/rgb"], features[f"block{number:02d}/aux"] = tokens[:, :, :count].unbind(1)
        rgb, aux = self.encoder.norm(tokens[:, :, :count]).unbind(1)
        return rgb, aux, features
