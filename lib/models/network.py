"""The common part of student and teacher: modality embeddings, fusion, head, and the forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lib.models.backbone import Backbone
from lib.models.head import apply_head
from lib.structures import MODALITIES, Pair, Sample, TrackOutput, modality_index


class PairNetwork(nn.Module):
    """Base of the networks that track in a pair of images: normalise, encode, fuse, head.

    Args:
        encoders: the modules that `encode` uses, by attribute name, including the backbones.
        width: D, channels of a token.
        fusion: see `lib.models.fusion`.
        head: see `lib.models.head`.
        normalize: maps uint8 crops to normalised crops.
        target_embed: add a learnt vector to the template tokens, times the share of their patch that the target's box
            covers, so that the network knows the box and not only the crop (SUTrack's token types; ours: one vector).
    """

    def __init__(
        self,
        encoders: dict[str, nn.Module],
        width: int,
        fusion: nn.Module,
        head: nn.Module,
        normalize: nn.Module,
        target_embed: bool = False,
    ):
        super().__init__()
        for name, module in encoders.items():
            self.add_module(name, module)
        self.modality_embed = nn.Parameter(torch.zeros(len(MODALITIES), width))
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        self.target_embed = nn.Parameter(torch.zeros(width)) if target_embed else None
        self.fusion = fusion
        self.head = head
        self.normalize = normalize
        self.checkpointing = False  # whether training computes the inside of blocks twice to save memory
        self.kept_layers: frozenset[int] | None = None  # blocks whose output `forward` returns; None: all

    @property
    def streams(self) -> tuple[Backbone, Backbone]:
        """The backbones of RGB and of the auxiliary modality; they may be the same object."""
        raise NotImplementedError

    @property
    def joint_layers(self) -> frozenset[int]:
        """Numbers of the blocks, counted from 1, in which tokens of both modalities attend to each other."""
        raise NotImplementedError

    @property
    def can_remember(self) -> bool:
        """Whether `remember` and `forward_search` are implemented: the template does not depend on the search crop."""
        return False

    def remember(self, template: Pair, modality: Tensor, template_box: Tensor | None = None) -> tuple[Tensor, ...]:
        """Returns all that the network needs of a template, so that it is computed once per video.

        Args:
            template, modality, template_box: see `forward`.

        Returns:
            The keys and values of every block, and the last tokens of both modalities (2B, Nt, D). The samples are in
            the first dimension, once or for each modality: memories of several templates can be concatenated there.

        Raises:
            ValueError: the network needs a box and there is none.
        """
        raise NotImplementedError

    def forward_search(self, memory: Sequence[Tensor], search: Pair, modality: Tensor) -> TrackOutput:
        """Predicts what `forward` predicts, from what `remember` returned; `features` has 'fused' only."""
        raise NotImplementedError

    def forward(
        self, template: Pair, search: Pair, modality: Tensor, template_box: Tensor | None = None
    ) -> TrackOutput:
        """Predicts maps and boxes.

        Args:
            template, search: uint8 crops (B, 3, S, S).
            modality: (B,) int64, see `structures.modality_index`.
            template_box: (B, 4) cxcywh in the template crop; only networks with `target_embed` need it.

        Raises:
            ValueError: the network needs a box and there is none.
        """
        rgb, aux, features = self.encode(template, search, modality, template_box)
        fused, paths = self.fusion(rgb, aux)
        return apply_head(self.head, fused, paths, features, self.streams[0].grid)

    def encode(
        self,
        template: Pair,
        search: Pair,
        modality: Tensor,
        template_box: Tensor | None = None,
        mask: Tensor | None = None,
        mask_vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Encodes crops as tokens of both modalities.

        Args:
            template, search, modality, template_box: see `forward`.
            mask: (B, 2, N) bool, RGB first, True for tokens that are replaced by a row of `mask_vectors`.
            mask_vectors: (M, D), one row per modality.

        Returns:
            Tokens of RGB and of the auxiliary modality, each (B, N, D), template first, after the last norm; and the
            output of every block as 'block03/rgb' and 'block03/aux', or only of those in `kept_layers`. 'block00/…' is
            the input of the first block.
        """
        raise NotImplementedError

    def run(self, block: nn.Module, *tokens: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Applies a block. With `checkpointing`, only its input is kept for the backward pass (TRAIN.CHECKPOINTING)."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *tokens, use_reentrant=False)
        return block(*tokens)

    def keeps(self, number: int) -> bool:
        """Whether `forward` returns the tokens after block `number`."""
        return self.kept_layers is None or number in self.kept_layers

    def keep(self, features: dict[str, Tensor], number: int, rgb: Tensor, aux: Tensor) -> None:
        """Adds the tokens after block `number`, (B, N, D) each, to the features if they are in `kept_layers`."""
        if self.keeps(number):
            features[f"block{number:02d}/rgb"], features[f"block{number:02d}/aux"] = rgb, aux

    def mark_target(self, tokens: Tensor, template_box: Tensor | None) -> Tensor:
        """Adds `target_embed` to the template tokens in the box: (..., N, D), with leading dimensions B or B, 2.

        Raises:
            ValueError: the network needs a box and there is none.
        """
        if self.target_embed is None:
            return tokens
        if template_box is None:
            raise ValueError("this network was built with MODEL.TARGET_EMBED: it needs the template's box")
        covered = box_coverage(template_box, self.streams[0].template_grid)  # (B, Nt)
        covered = functional.pad(covered, (0, tokens.shape[-2] - covered.shape[-1])).to(tokens.dtype)
        covered = covered.view(len(covered), *[1] * (tokens.ndim - 3), -1, 1)
        return tokens + covered * self.target_embed

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters that are no matrices of weights: the modality embeddings."""
        return {"modality_embed"}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters that have a separate learning rate; all others are trained at TRAIN.LR.

        "backbone": TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER. "gates": TRAIN.LR * TRAIN.GATE_MULTIPLIER, no weight decay.
        """
        streams = {id(stream): stream for stream in self.streams}
        groups = {"backbone": [p for stream in streams.values() for p in stream.parameters()], "gates": []}
        for name, parameters in getattr(self.fusion, "parameter_groups", dict)().items():
            groups[name] = [*groups.get(name, []), *parameters]
        return groups


def network_inputs(sample: Sample) -> tuple[Pair, Pair, Tensor, Tensor]:
    """Returns the arguments of `PairNetwork.forward`."""
    return sample.template, sample.search, sample.modality, sample.template_box


def box_coverage(boxes_cxcywh: Tensor, grid: int) -> Tensor:
    """Returns the share of each cell of a crop's grid that a box covers: (B, 4) → (B, grid * grid) in [0, 1]."""
    edges = torch.arange(grid, device=boxes_cxcywh.device, dtype=torch.float32)
    half = boxes_cxcywh[:, 2:] / 2
    low, high = (boxes_cxcywh[:, :2] - half) * grid, (boxes_cxcywh[:, :2] + half) * grid  # in cells
    shares = torch.minimum(high[..., None], edges + 1) - torch.maximum(low[..., None], edges)  # (B, 2, grid)
    columns, rows = shares.clamp(0, 1).unbind(dim=1)
    return (rows[:, :, None] * columns[:, None]).flatten(1)


def embedding_rows(modality: Tensor) -> Tensor:
    """Maps modality indices (B,) to (B, 2): rows of a modality table for the RGB and for the auxiliary image."""
    return torch.stack([torch.full_like(modality, modality_index("rgb")), modality], dim=1)


def check_layers(layers: Iterable[int], depth: int, key: str = "INTERACTION_LAYERS") -> None:
    """Raises ValueError if a layer is not in 1 … depth. `key`: where the layers stand in MODEL.BACKBONE."""
    if wrong := [layer for layer in layers if not 1 <= layer <= depth]:
        raise ValueError(f"MODEL.BACKBONE.{key} {wrong}: expected numbers from 1 to {depth}, the number of blocks")
