"""Fusions of the tokens of two modalities to one set of search tokens. Contains the table FUSIONS."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.vit import LayerNorm

FFN_RATIO, HEAD_WIDTH = 2, 64
MATCH_SCALE = 4.0  # so that cosines are about as large as the channels of a token
PATHS = ("rgb", "aux", "joint")  # of the fusions with paths, in the order of their weights


class SimpleFusion(nn.Module):
    """The student's fusion: the mean of both modalities plus a low-rank correction (docs/method.md, The student; ours).

    F = (S_rgb + S_aux) / 2 + W2 GELU(W1 LN([S_rgb ; S_aux])), with W2 zero at the start, so that training begins with
    the mean.

    Args:
        width: D, channels of a token.
        template_tokens: number of template tokens, which come before the search tokens.
        rank: width of the hidden layer.
    """

    def __init__(self, width: int, template_tokens: int, rank: int):
        super().__init__()
        self.template_tokens = template_tokens
        self.norm = nn.LayerNorm(2 * width)
        self.down = nn.Linear(2 * width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Fuses two (B, N, D) tensors, template tokens first. Returns search tokens (B, hw, D) and no paths."""
        rgb, aux = rgb[:, self.template_tokens :], aux[:, self.template_tokens :]
        correction = self.up(functional.gelu(self.down(self.norm(torch.cat([rgb, aux], dim=-1)))))
        return (rgb + aux) / 2 + correction, {}


class MatchFusion(SimpleFusion):
    """`SimpleFusion` plus how similar each search token is to each template token (docs/method.md, Features; ours).

    F = F_simple + W3 [cos(S_rgb, T_rgb) ; cos(S_aux, T_aux)], with the cosines after a shared layer norm. The head sees
    at once where the search crop looks like the template. A network that starts from features of a pretrained encoder,
    but has seen few pairs, otherwise learns to find things before it learns to find this thing.
    """

    def __init__(self, width: int, template_tokens: int, rank: int):
        super().__init__(width, template_tokens, rank)
        self.match_norm = nn.LayerNorm(width)
        self.match = nn.Linear(2 * template_tokens, width)

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SimpleFusion.forward`."""
        fused, paths = super().forward(rgb, aux)
        similarities = [template_similarity(self.match_norm(tokens), self.template_tokens) for tokens in (rgb, aux)]
        return fused + self.match(torch.cat(similarities, dim=-1)), paths


def template_similarity(tokens: Tensor, template_tokens: int) -> Tensor:
    """Returns MATCH_SCALE times the cosine of each search token with each template token: (B, N, D) → (B, hw, Nt)."""
    unit = functional.normalize(tokens, dim=-1)
    return MATCH_SCALE * unit[:, template_tokens:] @ unit[:, :template_tokens].mT


class MultiPathFusion(nn.Module):
    """The teacher's fusion: the sum of three paths, weighted per token (docs/method.md, The teacher).

    Published: the use of several paths; ours: these three paths and their weights.

    "rgb" is RGB enhanced by the auxiliary modality, "aux" the reverse, "joint" the mean of both modalities after
    attention among all tokens; F = sum_k a_k P_k with a = softmax over the paths. The templates of both modalities are
    additional keys.

    Args:
        width: D, channels of a token.
        template_tokens: number of template tokens, which come before the search tokens.
        rank: width of the hidden layer of the network that predicts the weights of the paths.
    """

    paths = PATHS
    gated = False  # whether the cross-modal blocks have gates

    def __init__(self, width: int, template_tokens: int, rank: int):
        super().__init__()
        self.template_tokens = template_tokens
        self.rgb = CrossBlock(width, self.gated)
        self.aux = CrossBlock(width, self.gated)
        self.joint = CrossBlock(width, self.gated, one_norm=True)
        self.gate = nn.Sequential(nn.Linear(2 * width, rank), nn.GELU(), nn.Linear(rank, len(PATHS)))

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Fuses two (B, N, D) tensors, template tokens first. Returns search tokens (B, hw, D), also of each path."""
        weights = self.path_weights(rgb, aux)
        templates = torch.cat([rgb[:, : self.template_tokens], aux[:, : self.template_tokens]], dim=1)
        rgb, aux = rgb[:, self.template_tokens :], aux[:, self.template_tokens :]
        both = torch.cat([rgb, aux], dim=1)
        joint = self.joint(both, torch.cat([both, templates], dim=1))
        paths = {
            "rgb": self.rgb(rgb, torch.cat([aux, templates], dim=1)),
            "aux": self.aux(aux, torch.cat([rgb, templates], dim=1)),
            "joint": joint.unflatten(1, (2, -1)).mean(dim=1),
        }
        fused = (torch.stack([paths[name] for name in PATHS], dim=-1) * weights[:, :, None]).sum(dim=-1)
        return fused, paths

    def path_weights(self, rgb: Tensor, aux: Tensor) -> Tensor:
        """Returns the weight of each path for each search token, (B, hw, 3), sum 1, from two (B, N, D) tensors."""
        return self.gate(torch.cat([rgb, aux], dim=-1)[:, self.template_tokens :]).softmax(dim=-1)


class UnimodalPathFusion(MultiPathFusion):
    """`MultiPathFusion` whose first two paths see one modality each (docs/method.md, The teacher; ours).

    In the paths "rgb" and "aux", search tokens attend to search and template tokens of their own stream only. Behind
    them, each stream attends to the other one, as "rgb" and "aux" of `MultiPathFusion` do; "joint" sees both. F is the
    weighted sum of these three. Paths that differ give a selection something to select.
    """

    def __init__(self, width: int, template_tokens: int, rank: int):
        super().__init__(width, template_tokens, rank)
        self.to_rgb = CrossBlock(width, self.gated)
        self.to_aux = CrossBlock(width, self.gated)

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MultiPathFusion.forward`."""
        weights = self.path_weights(rgb, aux)
        templates = torch.cat([rgb[:, : self.template_tokens], aux[:, : self.template_tokens]], dim=1)
        alone = [
            block(tokens[:, self.template_tokens :], tokens) for block, tokens in ((self.rgb, rgb), (self.aux, aux))
        ]
        crossed = [
            block(own, torch.cat([other, templates], dim=1))
            for block, own, other in ((self.to_rgb, *alone), (self.to_aux, *reversed(alone)))
        ]
        both = torch.cat(crossed, dim=1)
        joint = self.joint(both, torch.cat([both, templates], dim=1)).unflatten(1, (2, -1)).mean(dim=1)
        fused = (torch.stack([*crossed, joint], dim=-1) * weights[:, :, None]).sum(dim=-1)
        return fused, dict(zip(PATHS, (*alone, joint), strict=True))


class MatchPathFusion(UnimodalPathFusion):
    """`UnimodalPathFusion` of search tokens to which their similarity with the template was added (ours).

    S_m' = S_m + 2 W_m cos(S_m, T_m) + b, where W = [W_rgb, W_aux] and b are named as those of `MatchFusion`: a teacher
    that starts from the weights of a student with that fusion starts from about the same fused tokens, because all
    blocks of this fusion have gates that start at zero.
    """

    gated = True

    def __init__(self, width: int, template_tokens: int, rank: int):
        super().__init__(width, template_tokens, rank)
        self.match_norm = nn.LayerNorm(width)
        self.match = nn.Linear(2 * template_tokens, width)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """See `PairNetwork.parameter_groups`."""
        blocks = (self.rgb, self.aux, self.joint, self.to_rgb, self.to_aux)
        return {"gates": [gate for block in blocks for gate in block.gates()]}

    def forward(self, rgb: Tensor, aux: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MultiPathFusion.forward`."""
        count = self.template_tokens
        changed = []
        for tokens, weight in zip((rgb, aux), self.match.weight.split(count, dim=1), strict=True):
            similar = functional.linear(
                template_similarity(self.match_norm(tokens), count), 2 * weight, self.match.bias
            )
            changed.append(torch.cat([tokens[:, :count], tokens[:, count:] + similar], dim=1))
        return super().forward(*changed)


class CrossBlock(nn.Module):
    """A transformer block with queries from one set of tokens and keys and values from another.

    Args:
        gated: attention and FFN are multiplied by a gate per channel that starts at zero. Only the gate starts at zero:
            if the layer before it also started at zero, both would have zero gradients.
        one_norm: queries and keys share one norm.
    """

    def __init__(self, width: int, gated: bool = False, one_norm: bool = False):
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm_query = LayerNorm(width)
        self.norm_key = None if one_norm else LayerNorm(width)
        self.norm_ffn = LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.ffn = nn.Sequential(nn.Linear(width, FFN_RATIO * width), nn.GELU(), nn.Linear(FFN_RATIO * width, width))
        self.attention_gate = nn.Parameter(torch.zeros(width)) if gated else None
        self.ffn_gate = nn.Parameter(torch.zeros(width)) if gated else None

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Returns `tokens`, (B, N, D), after attention to `others`, (B, M, D), and the FFN. Shape (B, N, D)."""
        keys = (self.norm_key or self.norm_query)(others)
        attended = self._attend(self.norm_query(tokens), keys)
        tokens = tokens + (attended if self.attention_gate is None else self.attention_gate * attended)
        changed = self.ffn(self.norm_ffn(tokens))
        return tokens + (changed if self.ffn_gate is None else self.ffn_gate * changed)

    def gates(self) -> list[nn.Parameter]:
        """Returns the gates of attention and FFN, (D,) each; an empty list if the block is not gated."""
        return [gate for gate in (self.attention_gate, self.ffn_gate) if gate is not None]

    def _attend(self, tokens: Tensor, others: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        key, value = self.key_value(others).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(split(self.query(tokens)), split(key), split(value))
        return self.project(attended.transpose(1, 2).flatten(2))


class FusionEntry(NamedTuple):
    """A row of FUSIONS: how a fusion is built and which models may use it."""

    build: Callable[[int, int, int], nn.Module]  # (width D, number of template tokens, MODEL.FUSION.RANK) → fusion
    models: tuple[str, ...]  # values of MODEL.TYPE that may use it


# A fusion's forward takes the tokens of RGB and of the auxiliary modality, (B, N, D) each, template first, and returns
# fused search tokens (B, hw, D) and those of each path by name. A fusion with paths has their names in `paths`.
FUSIONS = {
    "simple": FusionEntry(SimpleFusion, ("student",)),
    "match": FusionEntry(MatchFusion, ("student",)),
    "multi_path": FusionEntry(MultiPathFusion, ("teacher",)),
    "unimodal_paths": FusionEntry(UnimodalPathFusion, ("teacher",)),
    "match_paths": FusionEntry(MatchPathFusion, ("teacher",)),
}
