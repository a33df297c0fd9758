"""The interface of a backbone, a network that encodes crops. Students, teachers, losses and CMAE use nothing else.

To add a backbone, write a module that implements the protocol and add a row for it in `lib.models.build.BACKBONES`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class ForeignTensor(NamedTuple):
    """A tensor of any shape from another project, while it is converted for a backbone."""

    key: str  # its name in the file
    tensor: Tensor
    steps: tuple[str, ...] = ()  # the conversions so far, as text for reports

    def then(self, tensor: Tensor, step: str) -> ForeignTensor:
        """Returns a record with the new tensor and `step` added to the steps."""
        return ForeignTensor(self.key, tensor, (*self.steps, step))


class Backbone(Protocol):
    """Embeds a template and a search crop as tokens, and provides the blocks and the norm that process them.

    A backbone is an `nn.Module` that inherits from this class. The attributes without a value are set in its
    constructor, which `BACKBONES` calls with the keyword arguments `template_size`, `search_size`, `stride` (pixels),
    `drop_path_rate`, `prefix_tokens` and `layer_scale`.
    """

    width: int  # D, channels of a token
    stride: int  # side of a token's patch, pixels
    grid: int  # tokens along a side of the search crop
    template_grid: int  # tokens along a side of the template crop
    blocks: Sequence[nn.Module]  # each maps (B, N + prefix, D) to the same shape
    norm: nn.Module  # applied after the last block

    def embed(
        self, template: Tensor, search: Tensor, mask: Tensor | None = None, vector: Tensor | None = None
    ) -> Tensor:
        """Maps normalised crops (B, 3, S, S) to tokens (B, N + prefix, D): template, search, then prefix tokens.

        Args:
            mask: (B, N) bool, True for tokens that `vector` (B, D) replaces. Only used if `can_mask` is True.
        """
        ...

    def embed_template(self, template: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        """The part of `embed` for the template, (B, Nt, D). Only used if `can_split` is True."""
        raise NotImplementedError

    def embed_search(self, search: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        """The part of `embed` for search and prefix tokens, (B, hw + prefix, D). Only used if `can_split` is True."""
        raise NotImplementedError

    @property
    def can_split(self) -> bool:
        """Whether template tokens can be processed without search tokens, as MODEL.BACKBONE.ATTENTION asymmetric asks.

        Then `embed_template`, `embed_search`, `template_block` and `search_block` are implemented.
        """
        return False

    def template_block(self, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Runs a block on template tokens that attend to each other alone.

        Args:
            layer: number of the block, counted from 1.
            tokens: (B, Nt, D).

        Returns:
            (B, Nt, D), and what `search_block` needs of it, a tensor with B in the first dimension.
        """
        raise NotImplementedError

    def search_block(self, layer: int, tokens: Tensor, memory: Tensor) -> Tensor:
        """Runs a block on search and prefix tokens (B, hw + prefix, D), which attend to the template as well.

        Args:
            memory: of `template_block` for this layer.
        """
        raise NotImplementedError

    @property
    def can_eliminate(self) -> bool:
        """Whether search tokens can be left out of later blocks, as MODEL.BACKBONE.ELIMINATION asks.

        Then `attend_ranked` and `finish_block` are implemented and, if `can_split`, `template_block` has the argument
        `ranked`: its memory is then one for `attend_ranked`.
        """
        return False

    def attend_ranked(
        self, layer: int, tokens: Tensor, queries: Sequence[int], memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the attention of a block, and says how much of it each token gets from the tokens `queries`.

        Args:
            layer: number of the block, counted from 1.
            tokens: (B, N, D); with `memory`, search and prefix tokens alone.
            queries: indices of tokens; with `memory`, of the template tokens in it.
            memory: of `template_block` with `ranked`.

        Returns:
            (B, N, D) for `finish_block`, and (B, N) float32, the mean over heads and queries.
        """
        raise NotImplementedError

    def finish_block(self, layer: int, tokens: Tensor) -> Tensor:
        """Runs the rest of a block on all or some of the tokens of `attend_ranked`, (B, N, D)."""
        raise NotImplementedError

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
        """The module whose parameters `train.balance` uses to measure the gradient of each loss."""
        return self.blocks[-1]

    @property
    def can_mask(self) -> bool:
        """Whether CMAE can train it: `embed` takes a mask, and `attention_received` is implemented."""
        return False

    def attention_received(self, layer: int, tokens: Tensor, queries: Sequence[int]) -> Tensor:
        """Returns the attention that each token receives from the tokens `queries`, (B, N) float32.

        It is the mean over heads and queries.

        Args:
            layer: number of the block, counted from 1.
            tokens: (B, N, D) input of the block.
            queries: indices of tokens.

        Raises:
            NotImplementedError: the backbone cannot be masked, see `can_mask`.
        """
        raise NotImplementedError

    def can_convert(self, names: Collection[str]) -> bool:
        """Whether `convert` understands a file of another project with tensors of these names."""
        return False

    def convert(self, items: dict[str, ForeignTensor]) -> None:
        """Renames and reshapes weights of other projects, which have timm's names. Modifies `items`.

        Raises:
            ValueError, RuntimeError, IndexError: the tensors do not fit together.
        """


def quarter_ends(depth: int) -> tuple[int, ...]:
    """Returns the last block of each quarter of a network, counted from 1: for 12 blocks (3, 6, 9, 12)."""
    return tuple(sorted({math.ceil(depth * quarter / 4) for quarter in (1, 2, 3, 4)}))


def center_tokens(grid: int) -> list[int]:
    """Returns the row-major indices of the central 2x2 cells of a square grid; for an odd grid, the central cell."""
    middle = sorted({(grid - 1) // 2, grid // 2})
    return [row * grid + column for row in middle for column in middle]
