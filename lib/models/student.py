"""The student: one backbone shared by both modalities, a small fusion, a centre head (docs/method.md, The student).

Published: one shared light stream and a simple fusion, 6.5 M parameters. Ours: joint attention at chosen layers, the
modality embeddings, the rank of the fusion and the width of the head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.models.backbone import Backbone, center_tokens
from lib.models.head import apply_head
from lib.models.network import PairNetwork, check_layers, embedding_rows
from lib.structures import Pair, TrackOutput, modality_index

ATTENTION = ("joint", "asymmetric")  # between template and search tokens


class Kept(NamedTuple):
    """The search tokens that are left after an elimination."""

    places: Tensor  # (B, n) int64, their cells in the search crop, row by row; the same for both modalities
    last: Tensor  # (B, 2, hw, D), all search tokens when they were last computed

    def fill(self, tokens: Tensor) -> Tensor:
        """Puts (B, 2, n, D) tokens at their places: (B, 2, hw, D)."""
        return self.last.scatter(2, _index(self.places, tokens), tokens.to(self.last.dtype))


class Student(PairNetwork):
    """A network in which both modalities run through one backbone, as two items of the batch.

    Args:
        encoder: the shared backbone.
        interaction_layers: blocks, counted from 1, in which the tokens of both modalities attend to each other; in the
            other blocks, a token attends to its own modality only. Interaction needs no additional parameters.
        fusion, head, normalize, target_embed: see `PairNetwork`.
        attention: a value of ATTENTION. "asymmetric": template tokens attend to template tokens alone, in interaction
            layers to those of both modalities; search and prefix tokens attend to all. So the template is the same for
            every search crop (`remember`). As in MixFormer's
            asymmetric attention; ours: for two modalities.
        elimination: block, counted from 1 → share of the search tokens that stay after its attention. Published: the
            candidate elimination of OSTrack, which keeps those that get most attention from the central tokens of the
            template. Ours: the places are the same in both modalities, by the mean of their attention; the head sees
            the other tokens as they were last, where OSTrack has zeros. In CMAE, which hides tokens itself, all stay.

    Raises:
        ValueError: a number is not that of a block, or the backbone cannot split its attention or leave out tokens.
    """

    def __init__(
        self,
        encoder: Backbone,
        interaction_layers: Sequence[int],
        fusion: nn.Module,
        head: nn.Module,
        normalize: nn.Module,
        target_embed: bool = False,
        attention: str = "joint",
        elimination: Mapping[int, float] | None = None,
    ):
        if attention == "asymmetric" and not encoder.can_split:
            raise ValueError(
                f"MODEL.BACKBONE.ATTENTION asymmetric: a {type(encoder).__name__} cannot split its attention; set joint"
            )
        if elimination and not encoder.can_eliminate:
            raise ValueError(
                f"MODEL.BACKBONE.ELIMINATION: a {type(encoder).__name__} cannot leave out tokens; set LAYERS to []"
            )
        check_layers(interaction_layers, encoder.depth)
        check_layers(elimination or (), encoder.depth, "ELIMINATION.LAYERS")
        super().__init__({"encoder": encoder}, encoder.width, fusion, head, normalize, target_embed)
        self.interaction_layers = frozenset(interaction_layers)
        self.asymmetric = attention == "asymmetric"
        self.elimination = dict(elimination or {})
        # Whether `encode` looks for batches whose two images are the same, and encodes one: TRAIN.ONE_STREAM.
        self.one_stream = False

    @property
    def streams(self) -> tuple[Backbone, Backbone]:
        """The shared backbone, for both modalities."""
        return self.encoder, self.encoder

    @property
    def joint_layers(self) -> frozenset[int]:
        """Numbers of the interaction layers, counted from 1."""
        return self.interaction_layers

    @property
    def can_remember(self) -> bool:
        """True if the attention is asymmetric."""
        return self.asymmetric

    def remember(self, template: Pair, modality: Tensor, template_box: Tensor | None = None) -> tuple[Tensor, ...]:
        """See `PairNetwork.remember`."""
        tokens = self.encoder.embed_template(self.normalize(torch.stack(template, dim=1).flatten(0, 1)))
        tokens = self.mark_target(self._add_modality(tokens, modality), template_box)
        memory = []
        for number in range(1, self.encoder.depth + 1):
            tokens, known = self._template_block(number, tokens)
            memory.append(known)
        return (*memory, self.encoder.norm(tokens).flatten(0, 1))

    def forward_search(self, memory: Sequence[Tensor], search: Pair, modality: Tensor) -> TrackOutput:
        """See `PairNetwork.forward_search`."""
        tokens = self.encoder.embed_search(self.normalize(torch.stack(search, dim=1).flatten(0, 1)))
        tokens = self._add_modality(tokens, modality)
        *layers, template = memory
        kept = None
        for number, known in enumerate(layers, start=1):
            tokens, kept = self._search_block(number, tokens, known, kept)
        tokens = self.encoder.norm(self._whole(tokens, kept, 0))
        rgb, aux = torch.cat([template.unflatten(0, (-1, 2)).to(tokens.dtype), tokens], dim=2).unbind(1)
        fused, paths = self.fusion(rgb, aux)
        return apply_head(self.head, fused, paths, {}, self.encoder.grid)

    def _add_modality(self, tokens: Tensor, modality: Tensor) -> Tensor:
        """Maps (2B, n, D) to (B, 2, n, D) and adds the modality embeddings."""
        return tokens.unflatten(0, (-1, 2)) + self.modality_embed[embedding_rows(modality)][:, :, None]

    def _arrange(self, number: int, tokens: Tensor) -> Tensor:
        """Maps (B, 2, n, D) to the items of a block: (B, 2n, D) in an interaction layer, else (2B, n, D).

        The layout in memory is the same for two batch items per sample and for one sequence with the tokens of both.
        """
        return tokens.flatten(1, 2) if number in self.interaction_layers else tokens.flatten(0, 1)

    def _template_block(self, number: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        ranked = {"ranked": True} if number in self.elimination else {}
        after, memory = self.encoder.template_block(number, self._arrange(number, tokens), **ranked)
        return after.reshape(tokens.shape), memory

    def _search_block(
        self, number: int, tokens: Tensor, memory: Tensor, kept: Kept | None, whole: bool = False
    ) -> tuple[Tensor, Kept | None]:
        """Runs a block on the search and prefix tokens, (B, 2, n + prefix, D). `whole`: without elimination."""
        if number in self.elimination and not whole:
            return self._eliminating_block(number, tokens, kept, memory)
        memory = memory[:, :2] if number in self.elimination else memory
        after = self.encoder.search_block(number, self._arrange(number, tokens), memory)
        return after.reshape(tokens.shape), kept

    def _eliminating_block(
        self, number: int, tokens: Tensor, kept: Kept | None, memory: Tensor | None = None
    ) -> tuple[Tensor, Kept]:
        """Runs a block that leaves out search tokens between attention and MLP.

        Args:
            tokens: (B, 2, L, D): template tokens if there is no memory, search tokens, prefix.
            kept: of the last elimination.
            memory: of the template in this block, if the attention is asymmetric.
        """
        batch, _, length, _ = tokens.shape
        templates = self.encoder.template_tokens
        first = templates if memory is None else 0
        last = first + (self.encoder.grid**2 if kept is None else kept.places.shape[1])
        queries = center_tokens(self.encoder.template_grid)
        if number in self.interaction_layers:
            queries = [*queries, *(token + (length if memory is None else templates) for token in queries)]
        after, received = self.encoder.attend_ranked(number, self._arrange(number, tokens), queries, memory)
        after, received = after.reshape(tokens.shape), received.reshape(batch, 2, length).mean(dim=1)
        stay = math.ceil(self.elimination[number] * (last - first))
        chosen = received[:, first:last].topk(stay, dim=1).indices  # (B, n)
        search = after[:, :, first:last]
        places = chosen if kept is None else kept.places.gather(1, chosen)
        remaining = search.gather(2, _index(chosen, search))
        rest = torch.cat([after[:, :, :first], remaining, after[:, :, last:]], dim=2)
        finished = self.encoder.finish_block(number, self._arrange(number, rest)).reshape(rest.shape)
        return finished, Kept(places, search if kept is None else kept.fill(search))

    def _whole(self, tokens: Tensor, kept: Kept | None, first: int) -> Tensor:
        """Maps (B, 2, L, D) tokens to those of a network without elimination, (B, 2, first + hw, D), without prefix.

        Args:
            first: index of the first search token.
        """
        if kept is None:
            return tokens[:, :, : first + self.encoder.grid**2]
        search = kept.fill(tokens[:, :, first : first + kept.places.shape[1]])
        return torch.cat([tokens[:, :, :first].to(search.dtype), search], dim=2)

    def encode(
        self,
        template: Pair,
        search: Pair,
        modality: Tensor,
        template_box: Tensor | None = None,
        mask: Tensor | None = None,
        mask_vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See `PairNetwork.encode`: two (B, N, D) tensors and the features of every block."""
        plain = not self.asymmetric and not self.elimination
        if self.one_stream and plain and mask is None and _same_images(template, search, modality):
            return self._encode_one(template.rgb, search.rgb, modality, template_box)
        rows = embedding_rows(modality)  # (B, 2)
        images = [self.normalize(torch.stack(pair, dim=1).flatten(0, 1)) for pair in (template, search)]
        masked = (None, None) if mask is None else (mask.flatten(0, 1), mask_vectors[rows].flatten(0, 1))
        tokens = self._add_modality(self.encoder.embed(*images, *masked), modality)
        tokens = self.mark_target(tokens, template_box)
        features, templates, kept = {}, self.encoder.template_tokens, None
        self.keep(features, 0, *self._whole(tokens, None, templates).unbind(1))
        for number, block in enumerate(self.encoder.blocks, start=1):
            if self.asymmetric:
                known, memory = self._template_block(number, tokens[:, :, :templates])
                rest, kept = self._search_block(number, tokens[:, :, templates:], memory, kept, mask is not None)
                tokens = torch.cat([known, rest], dim=2)
            elif number in self.elimination and mask is None:
                tokens, kept = self._eliminating_block(number, tokens, kept)
            else:
                tokens = self.run(block, self._arrange(number, tokens)).reshape(tokens.shape)
            if self.keeps(number):
                self.keep(features, number, *self._whole(tokens, kept, templates).unbind(1))
        rgb, aux = self.encoder.norm(self._whole(tokens, kept, templates)).unbind(1)
        return rgb, aux, features

    def _encode_one(
        self, template: Tensor, search: Tensor, modality: Tensor, template_box: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """As `encode` for pairs of equal images of modality rgb, (B, 3, S, S).

        Attention to the same tokens twice is attention to them once, so that joint blocks need no second copy either.
        """
        tokens = self.encoder.embed(self.normalize(template), self.normalize(search))
        tokens = self.mark_target(tokens + self.modality_embed[modality][:, None], template_box)
        features, count = {}, self.encoder.tokens
        self.keep(features, 0, tokens[:, :count], tokens[:, :count])
        for number, block in enumerate(self.encoder.blocks, start=1):
            tokens = self.run(block, tokens)
            self.keep(features, number, tokens[:, :count], tokens[:, :count])
        encoded = self.encoder.norm(tokens[:, :count])
        return encoded, encoded, features


def _index(places: Tensor, tokens: Tensor) -> Tensor:
    """Expands places (B, n) to an index for `gather` and `scatter` of tokens (B, 2, ·, D)."""
    return places[:, None, :, None].expand(-1, 2, -1, tokens.shape[-1])


def _same_images(template: Pair, search: Pair, modality: Tensor) -> bool:
    """Returns whether all samples are of modality rgb with two equal images. On a GPU, it waits for the data."""
    same = (modality == modality_index("rgb")).all()
    for pair in (template, search):
        same = same & (pair.rgb == pair.aux).all()
    return bool(same)
