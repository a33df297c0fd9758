"""Tokens of single images, which the features stage distils from a pretrained encoder (docs/method.md, Features).

Ours: it stands for ImageNet weights, which do not exist for the sizes below ViT-Ti.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.backbone import Backbone
from lib.models.weights.convert import convert
from lib.models.weights.read import read_foreign
from lib.models.weights.report import load_fitting


class FeatureEncoder(nn.Module):
    """A frozen pretrained encoder.

    Args:
        backbone: an untrained backbone with the geometry of the weights and the grids of the student.
        layer: number of the block whose tokens are the target, counted from 1; 0: the last one.
        normalize: maps uint8 crops to normalised crops.

    Raises:
        ValueError: `layer` is not the number of a block.
    """

    def __init__(self, backbone: Backbone, layer: int, normalize: nn.Module):
        super().__init__()
        if not 0 <= layer <= backbone.depth:
            raise ValueError(f"TRAIN.FEATURES.LAYER {layer}: expected 1 to {backbone.depth}, or 0 for the last block")
        self.backbone, self.normalize = backbone, normalize
        self.layer = layer or backbone.depth
        self.requires_grad_(False)
        self.eval()

    @property
    def streams(self) -> tuple[Backbone, ...]:
        """The backbone; `convert` needs it."""
        return (self.backbone,)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.backbone.width

    def load(self, source: str | Path) -> str:
        """Loads the weights of the encoder and returns the report of how they fit, one line.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the file is no weight file or has another geometry; says what was expected.
        """
        expected = (
            f"TRAIN.FEATURES describes a ViT of width {self.width} with {self.backbone.depth} blocks; correct "
            "TRAIN.FEATURES.BACKBONE or TRAIN.FEATURES.FILE"
        )
        net, converted = convert(read_foreign(source).tensors, self, str(source))
        try:
            report = load_fitting(self, net, str(source), converted)
        except ValueError as error:
            raise ValueError(f"{error}; {expected}") from error
        if report.missing or report.mismatched:
            raise ValueError(f"{source}: not the expected encoder: {report.describe()}; {expected}")
        return report.describe()

    @torch.no_grad()
    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        """Maps uint8 crops (B, 3, S, S) to layer-normalised tokens (B, N, width) float32, template first."""
        tokens = self.backbone.embed(self.normalize(template), self.normalize(search))
        tokens = encode_apart(self.backbone, tokens, self.layer)
        return functional.layer_norm(tokens.float(), (self.width,))


def encode_apart(backbone: Backbone, tokens: Tensor, layer: int) -> Tensor:
    """Applies the first `layer` blocks to the tokens of template and search as if they were separate images.

    Args:
        tokens: (B, N + prefix, D) from `Backbone.embed`.

    Returns:
        (B, N, D), template first, without the prefix.
    """
    template, search, prefix = tokens.split(
        [backbone.template_tokens, backbone.tokens - backbone.template_tokens, tokens.shape[1] - backbone.tokens], dim=1
    )
    parts = []
    for part in (template, search):
        count, part = part.shape[1], torch.cat([part, prefix], dim=1)
        for block in backbone.blocks[:layer]:
            part = block(part)
        parts.append(part[:, :count])
    return torch.cat(parts, dim=1)
