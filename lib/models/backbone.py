"""Backbone: what a network that encodes crops must offer. Students, teachers, losses and CMAE ask for nothing more.

To add one, write a module that meets the protocol and give it a row in `lib.models.build.BACKBONES`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class ForeignTensor(NamedTuple):
    """A tensor of another project on its way into a backbone."""

    key: str  # its name in the file
    tensor: Tensor
    steps: tuple[str, ...] = ()  # what was done to it, in words

    def then(self, tensor: Tensor, step: str) -> ForeignTensor:
        """The result of one more step."""
        return ForeignTensor(self.key, tensor, (*self.steps, step))


class Backbone(Protocol):
    """Template and search crop → tokens; and the blocks and the norm that the student or teacher runs them through.

    A backbone is an `nn.Module` that inherits from this class. The attributes without a value are set in its
    constructor, which `BACKBONES` calls with the keyword arguments `template_size`, `search_size`, `stride` (pixels),
    `drop_path_rate`, `prefix_tokens` and `layer_scale`.
    """

    width: int  # D, channels of a token
    stride: int  # pixels of a token's side
    grid: int  # tokens along a side of the search crop
    template_grid: int  # and of the template crop
    blocks: Sequence[nn.Module]  # each maps (B, N + prefix, D) → the same shape
    norm: nn.Module  # applied after the last block

    def embed(
        self, template: Tensor, search: Tensor, mask: Tensor | None = None, vector: Tensor | None = None
    ) -> Tensor:
        """Normalised crops (B, 3, S, S) → tokens (B, N + prefix, D): template, search, then prefix tokens.

        Args:
            mask: (B, N) bool: tokens that `vector` (B, D) replaces. Only a backbone that `can_mask` is given one.
        """
        ...

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def template_tokens(self) -> int:
        """Number of tokens of the template crop."""
        return self.template_grid**2

    @property
    def tokens(self) -> int:
        """N, the number of tokens of a template and a search crop together, without the prefix."""
        return self.template_grid**2 + self.grid**2

    @property
    def matched_layers(self) -> tuple[int, ...]:
        """Blocks, counted from 1, whose output feature distillation compares: the last block of each quarter."""
        return quarter_ends(self.depth)

    @property
    def last_layer(self) -> nn.Module:
        """Where `train.balance` measures the gradient of each loss."""
        return self.blocks[-1]

    @property
    def can_mask(self) -> bool:
        """Whether CMAE can train it: `embed` takes a mask, and `attention_received` is implemented."""
        return False

    def attention_received(self, layer: int, tokens: Tensor, queries: Sequence[int]) -> Tensor:
        """Attention that each token gets from the tokens `queries` in block `layer` (counted from 1).

        (B, N, D) input of the block → (B, N) float32, mean over heads and queries.
        """
        raise NotImplementedError

    def convert(self, items: dict[str, ForeignTensor]) -> None:
        """Renames and reshapes, in place, weights of other projects that come under timm's names.

        Raises:
            ValueError, RuntimeError, IndexError: tensors that do not belong together.
        """


def quarter_ends(depth: int) -> tuple[int, ...]:
    """The last block of each quarter of a network, counted from 1: 3, 6, 9, 12 of twelve."""
    return tuple(sorted({math.ceil(depth * quarter / 4) for quarter in (1, 2, 3, 4)}))
