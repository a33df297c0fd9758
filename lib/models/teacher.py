"""The teacher: two streams with exchange stages, and a fusion along several paths (docs/method.md, The teacher).

Published: a stronger network with a stream for each modality and a sophisticated fusion; the student learns which
of its paths to follow. Ours: everything else: the exchange stages and their gates, the three paths and their weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from lib.models.backbone import Backbone
from lib.models.fusion import CrossBlock
from lib.models.network import PairNetwork, check_layers, embedding_rows
from lib.structures import Pair


class Teacher(PairNetwork):
    """A network with one backbone per modality. The head decodes the fused tokens and every fusion path.

    Args:
        encoder: the backbone of RGB. The backbone of the auxiliary modality starts as its copy, so that both have the
            same feature basis at the start.
        interaction_layers: blocks, counted from 1, after which the streams exchange.
        fusion, head, normalize, target_embed: see `PairNetwork`.

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
        target_embed: bool = False,
    ):
        check_layers(interaction_layers, encoder.depth)
        exchanges = nn.ModuleDict({f"{n:02d}": ExchangeStage(encoder.width) for n in sorted(interaction_layers)})
        encoders = {"rgb": encoder, "aux": copy.deepcopy(encoder), "exchanges": exchanges}
        super().__init__(encoders, encoder.width, fusion, head, normalize, target_embed)

    @property
    def streams(self) -> tuple[Backbone, Backbone]:
        """The backbones of RGB and of the auxiliary modality."""
        return self.rgb, self.aux

    @property
    def joint_layers(self) -> frozenset[int]:
        """Empty, because the streams exchange between blocks."""
        return frozenset()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """See `PairNetwork.parameter_groups`; the gates are those of the exchange stages."""
        gates = [
            gate
            for stage in self.exchanges.values()
            for block in (stage.to_rgb, stage.to_aux)
            for gate in block.gates()
        ]
        groups = super().parameter_groups()
        return {**groups, "gates": [*groups["gates"], *gates]}

    def encode(
        self,
        template: Pair,
        search: Pair,
        modality: Tensor,
        template_box: Tensor | None = None,
        mask: Tensor | None = None,
        mask_vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See `PairNetwork.encode`: two (B, N, D) tensors and features, which include the exchange after a block."""
        rows = embedding_rows(modality)
        states = []
        for m, stream in enumerate(self.streams):
            masked = (None, None) if mask is None else (mask[:, m], mask_vectors[rows[:, m]])
            tokens = stream.embed(self.normalize(template[m]), self.normalize(search[m]), *masked)
            states.append(self.mark_target(tokens + self.modality_embed[rows[:, m]][:, None], template_box))
        features, count = {}, self.rgb.tokens
        self.keep(features, 0, *(tokens[:, :count] for tokens in states))
        for number, blocks in enumerate(zip(self.rgb.blocks, self.aux.blocks, strict=True), start=1):
            states = [self.run(block, tokens) for block, tokens in zip(blocks, states, strict=True)]
            if (name := f"{number:02d}") in self.exchanges:
                states = self.run(self.exchanges[name], *states)
            self.keep(features, number, *(tokens[:, :count] for tokens in states))
        rgb, aux = (s.norm(tokens[:, :count]) for s, tokens in zip(self.streams, states, strict=True))
        return rgb, aux, features


class ExchangeStage(nn.Module):
    """Each stream attends to the input state of the other stream, with gates that start at zero.

    Y = H + g1 * Attention(LN(H), LN(other)), H' = Y + g2 * FFN(LN(Y)).
    """

    def __init__(self, width: int):
        super().__init__()
        self.to_rgb = CrossBlock(width, gated=True)
        self.to_aux = CrossBlock(width, gated=True)

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both token tensors, (B, N, D) each, after the exchange."""
        return self.to_rgb(rgb, aux), self.to_aux(aux, rgb)
