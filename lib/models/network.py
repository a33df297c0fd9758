"""The common part of student and teacher: modality embeddings, fusion, head, and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.models.backbone import Backbone
from lib.models.head import apply_head
from lib.structures import MODALITIES, Pair, TrackOutput, modality_index


class PairNetwork(nn.Module):
    """Base of the networks that track in a pair of images: normalise, encode, fuse, head.

    Args:
        encoders: the modules that `encode` uses, by attribute name, including the backbones.
        width: D, channels of a token.
        fusion: see `lib.models.fusion`.
        head: see `lib.models.head`.
        normalize: maps uint8 crops to normalised crops.
    """

    def __init__(
        self, encoders: dict[str, nn.Module], width: int, fusion: nn.Module, head: nn.Module, normalize: nn.Module
    ):
        super().__init__()
        for name, module in encoders.items():
            self.add_module(name, module)
        self.modality_embed = nn.Parameter(torch.zeros(len(MODALITIES), width))
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        self.fusion = fusion
        self.head = head
        self.normalize = normalize

    @property
    def streams(self) -> tuple[Backbone, Backbone]:
        """The backbones of RGB and of the auxiliary modality; they may be the same object."""
        raise NotImplementedError

    @property
    def joint_layers(self) -> frozenset[int]:
        """Numbers of the blocks, counted from 1, in which tokens of both modalities attend to each other."""
        raise NotImplementedError

    def forward(self, template: Pair, search: Pair, modality: Tensor) -> TrackOutput:
        """Predicts maps and boxes from uint8 crops (B, 3, S, S) and the modality, (B,) int64."""
        rgb, aux, features = self.encode(template, search, modality)
        fused, paths = self.fusion(rgb, aux)
        return apply_head(self.head, fused, paths, features, self.streams[0].grid)

    def encode(
        self,
        template: Pair,
        search: Pair,
        modality: Tensor,
        mask: Tensor | None = None,
        mask_vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Encodes crops as tokens of both modalities.

        Args:
            template, search: uint8 (B, 3, S, S).
            modality: (B,) int64, see `structures.modality_index`.
            mask: (B, 2, N) bool, RGB first, True for tokens that are replaced by a row of `mask_vectors`.
            mask_vectors: (M, D), one row per modality.

        Returns:
            Tokens of RGB and of the auxiliary modality, each (B, N, D), template first, after the last norm; and the
            output of every block as 'block03/rgb' and 'block03/aux'. 'block00/…' is the input of the first block.
        """
        raise NotImplementedError

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters that have a separate learning rate; all others are trained at TRAIN.LR.

        "backbone": TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER. "gates": TRAIN.LR * TRAIN.GATE_MULTIPLIER, no weight decay.
        """
        streams = {id(stream): stream for stream in self.streams}
        groups = {"backbone": [p for stream in streams.values() for p in stream.parameters()], "gates": []}
        for name, parameters in getattr(self.fusion, "parameter_groups", dict)().items():
            groups[name] = [*groups.get(name, []), *parameters]
        return groups


def embedding_rows(modality: Tensor) -> Tensor:
    """Maps modality indices (B,) to (B, 2): rows of a modality table for the RGB and for the auxiliary image."""
    return torch.stack([torch.full_like(modality, modality_index("rgb")), modality], dim=1)


def check_layers(layers: Sequence[int], depth: int) -> None:
    """Raises ValueError if a layer is not in 1 … depth."""
    if wrong := [layer for layer in layers if not 1 <= layer <= depth]:
        raise ValueError(
            f"MODEL.BACKBONE.INTERACTION_LAYERS {wrong}: expected numbers from 1 to {depth}, the number of blocks"
        )
