"""CMAE, the complementarity-aware masked autoencoder (docs/method.md, CMAE).

Published: selected patches of one modality are masked and reconstructed with the help of the other one. Ours: how they
are selected (`masking.py`), the decoder and the target.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.backbone import center_tokens
from lib.models.masking import STRATEGIES, Masks, choose_masks
from lib.models.network import embedding_rows, network_inputs
from lib.models.vit import LayerNorm, build_block, sincos_positions
from lib.structures import MODALITIES, Pair, Sample

LAST_DECAY = 0.999  # of the moving average of the model that scores locations


class Reconstruction(NamedTuple):
    """Result of one masked batch of B samples; N tokens per modality."""

    prediction: Tensor  # (B, 2, N, P): every patch, RGB first, normalised as by `patch_targets`; or every token
    target: Tensor  # the same shape: true patches in [0, 1], or the averaged model's tokens, layer-normalised
    patches: Tensor  # true patches, (B, 2, N, 3 * stride**2) in [0, 1]
    masks: Masks
    scores: Tensor  # (B, hw): score of each search location


class CMAE(nn.Module):
    """The parts that masked pretraining adds to a model: averaged copy to score locations, mask vectors, decoder.

    They are not part of the exported network.

    Args:
        model: a student or a teacher. It is not stored here but passed to every call, so that it is saved once.
        strategy: a key of STRATEGIES.
        mask_ratio, other_ratio, template_ratio: see `choose_masks`.
        width, depth, heads: of the decoder.
        target: what is reconstructed: "pixels", or "features", the tokens of the averaged model for the unmasked pair.

    Raises:
        ValueError: the backbone cannot be masked; or all blocks are joint, so that no block measures the saliency of a
            location in a single modality.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: str,
        mask_ratio: float,
        other_ratio: float,
        template_ratio: float,
        width: int,
        depth: int,
        heads: int,
        target: str = "pixels",
    ):
        super().__init__()
        self.target = target
        backbone = model.streams[0]
        if not backbone.can_mask:
            raise ValueError(
                f"TRAIN.STAGE pretrain: CMAE cannot mask a {type(backbone).__name__}; set MODEL.BACKBONE.TYPE to a ViT"
            )
        single_layers = set(range(1, backbone.depth + 1)) - model.joint_layers
        if not single_layers:
            raise ValueError(
                "MODEL.BACKBONE.INTERACTION_LAYERS contains all blocks: pretraining needs one with a single modality"
            )
        self.saliency_layer = max(single_layers)
        self.strategy = STRATEGIES[strategy]
        self.ratios = {"mask_ratio": mask_ratio, "other_ratio": other_ratio, "template_ratio": template_ratio}
        self.scorer = copy.deepcopy(model).requires_grad_(False)
        self.scorer.fusion = self.scorer.head = nn.Identity()  # it only encodes
        self.scorer.kept_layers = frozenset({self.saliency_layer - 1, backbone.depth})
        self.mask_vectors = nn.Parameter(torch.zeros(len(MODALITIES), backbone.width))
        nn.init.trunc_normal_(self.mask_vectors, std=0.02)
        grids = (backbone.template_grid, backbone.grid)
        outputs = 3 * backbone.stride**2 if target == "pixels" else backbone.width
        self.decoder = Decoder(backbone.width, grids, outputs, width, depth, heads)
        self.stride = backbone.stride
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters that are no matrices of weights: the mask vectors."""
        return {"mask_vectors"}

    def train(self, mode: bool = True) -> CMAE:
        super().train(mode)
        self.scorer.eval()
        return self

    def forward(self, model: nn.Module, sample: Sample, exponent: float) -> Reconstruction:
        """Scores, masks and reconstructs a batch of B samples.

        Args:
            exponent: exponent of the scores in [0, 1], see `masking.curriculum`.
        """
        inputs = network_inputs(sample)
        scores, last = self._look(*inputs)
        masks = choose_masks(scores, self.scorer.streams[0].template_tokens, exponent, **self.ratios)
        prediction = self.reconstruct(model, *inputs, masks.mask)
        patches = self.patches(sample.template, sample.search)
        target = patches if self.target == "pixels" else functional.layer_norm(last, last.shape[-1:], eps=1e-6)
        return Reconstruction(prediction, target, patches, masks, scores)

    @torch.no_grad()
    def score(self, template: Pair, search: Pair, modality: Tensor, template_box: Tensor | None = None) -> Tensor:
        """Returns the score of each search location, (B, hw), from the averaged model on the unmasked pair."""
        return self._look(template, search, modality, template_box)[0]

    @torch.no_grad()
    def _look(
        self, template: Pair, search: Pair, modality: Tensor, template_box: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Returns the scores, (B, hw), and the last tokens of the averaged model, (B, 2, N, D) float32."""
        features = self.scorer.encode(template, search, modality, template_box)[2]
        backbone = self.scorer.streams[0]
        queries, start = center_tokens(backbone.template_grid), backbone.template_tokens
        before, last = (
            [features[f"block{number:02d}/{m}"] for m in ("rgb", "aux")]
            for number in (self.saliency_layer - 1, backbone.depth)
        )
        saliency = tuple(
            stream.attention_received(self.saliency_layer, tokens, queries)[:, start:]
            for stream, tokens in zip(self.scorer.streams, before, strict=True)
        )
        scores = self.strategy(saliency, tuple(tokens[:, start:] for tokens in last))
        return scores, torch.stack(last, dim=1).float()

    def reconstruct(
        self,
        model: nn.Module,
        template: Pair,
        search: Pair,
        modality: Tensor,
        template_box: Tensor | None,
        mask: Tensor,
    ) -> Tensor:
        """Predicts all patches or tokens from the visible tokens, (B, 2, N, P). `mask`: (B, 2, N) bool."""
        rgb, aux, _ = model.encode(template, search, modality, template_box, mask, self.mask_vectors)
        return self.decoder(torch.stack([rgb, aux], dim=1), embedding_rows(modality))

    def patches(self, template: Pair, search: Pair) -> Tensor:
        """Returns the patches of both crops, (B, 2, N, 3 * stride**2) in [0, 1], template patches first."""
        images = (torch.stack(pair, dim=1).float() / 255 for pair in (template, search))
        return torch.cat([to_patches(image, self.stride) for image in images], dim=2)

    @torch.no_grad()
    def update_scorer(self, model: nn.Module) -> None:
        """Updates the moving average; its decay rises from 0.9 to 0.999.

        The first update copies the model, because its weights may have been loaded after the constructor copied it.
        """
        done = self.updates.item()
        decay = min(LAST_DECAY, 1 - 1 / (done + 9)) if done else 0.0
        self.updates += 1
        current = dict(model.named_parameters())
        averages = dict(self.scorer.named_parameters())
        torch._foreach_lerp_(list(averages.values()), [current[name].detach() for name in averages], 1 - decay)


class Decoder(nn.Module):
    """Transformer blocks over the tokens of one modality at a time, then a linear map to patches for each modality.

    Because the decoder sees one modality only, what the other one knows must pass through the encoder's joint blocks,
    which are kept, and not through the decoder, which is not.

    Args:
        inputs: D, channels of the encoder's tokens.
        grids: tokens along a side of the template and of the search crop.
        outputs: values of a patch, 3 * stride**2, or channels of a token.
        width, depth, heads: of the blocks.
    """

    def __init__(self, inputs: int, grids: tuple[int, int], outputs: int, width: int, depth: int, heads: int):
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        positions = torch.cat([sincos_positions(grid, width) for grid in grids], dim=1)
        self.register_buffer("positions", positions, persistent=False)
        self.modality_embed = nn.Parameter(torch.zeros(len(MODALITIES), width))
        self.blocks = nn.ModuleList(build_block(width, heads) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.weight = nn.Parameter(torch.empty(len(MODALITIES), width, outputs))
        self.bias = nn.Parameter(torch.zeros(len(MODALITIES), outputs))
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        nn.init.trunc_normal_(self.weight, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters that are no matrices of weights: embeddings, and a bias per modality."""
        return {"modality_embed", "bias"}

    def forward(self, tokens: Tensor, kinds: Tensor) -> Tensor:
        """Maps tokens (B, 2, N, D) to patches (B, 2, N, outputs). `kinds`: (B, 2) rows of the modality tables."""
        tokens = self.embed(tokens) + self.positions + self.modality_embed[kinds][:, :, None]
        single = tokens.flatten(0, 1)
        for block in self.blocks:
            single = block(single)
        tokens = self.norm(single).view_as(tokens)
        return tokens @ self.weight[kinds].to(tokens.dtype) + self.bias[kinds][:, :, None]


def to_patches(images: Tensor, stride: int) -> Tensor:
    """Splits (..., 3, S, S) into (..., h * w, 3 * stride**2): channels, then rows, then columns of each patch."""
    patches = images.unfold(-2, stride, stride).unfold(-2, stride, stride)  # (..., 3, h, w, stride, stride)
    return patches.movedim(-5, -3).flatten(-3).flatten(-3, -2)


def from_patches(patches: Tensor, stride: int) -> Tensor:
    """Inverts `to_patches` for square images: (..., h * w, 3 * stride**2) → (..., 3, S, S)."""
    grid = round(patches.shape[-2] ** 0.5)
    cells = patches.unflatten(-1, (3, stride, stride)).unflatten(-4, (grid, grid))  # (..., h, w, 3, stride, stride)
    return cells.movedim(-3, -5).movedim(-2, -3).flatten(-4, -3).flatten(-2)
