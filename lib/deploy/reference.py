"""What OSTrack-256 costs: its network with random weights, so that latencies are ratios measured on one machine.

ViT-B/16 on 64 template and 256 search tokens, candidate elimination in three blocks, centre head with 256 channels
(Ye et al., Joint Feature Learning and Relation Modeling for Tracking, ECCV 2022). It tracks in RGB; its boxes mean
nothing. It is faster than the authors' code: attention is fused wherever its weights are not needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.head import CenterHead
from lib.structures import Pair, TrackOutput

WIDTH, DEPTH, HEADS, PATCH, CHANNELS = 768, 12, 12, 16, 256
TEMPLATE, SEARCH = 128, 256  # pixels
ELIMINATION = {3: 0.7, 6: 0.7, 9: 0.7}  # block, counted from 0 → share of the search tokens that stay
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ReferenceBlock(nn.Module):
    """A transformer block that may remove search tokens between attention and MLP, as OSTrack's code does.

    Args:
        keep: share of the search tokens that stay; 1: all.
    """

    def __init__(self, keep: float = 1.0):
        super().__init__()
        self.keep = keep
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor, places: Tensor, templates: int) -> tuple[Tensor, Tensor]:
        """Maps (B, N, D), template tokens first, and the places of the search tokens (B, n) to those that stay."""
        batch, length, _ = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        if self.keep == 1:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
            mixed = weights @ value
        tokens = tokens + self.proj(mixed.transpose(1, 2).flatten(2))
        if self.keep < 1:
            received = weights[:, :, :templates, templates:].mean(dim=(1, 2))  # (B, n)
            stay = received.topk(math.ceil(self.keep * received.shape[1]), dim=1).indices
            search = tokens[:, templates:].gather(1, stay[..., None].expand(-1, -1, WIDTH))
            tokens, places = torch.cat([tokens[:, :templates], search], dim=1), places.gather(1, stay)
        return tokens + self.fc2(functional.gelu(self.fc1(self.norm2(tokens)))), places


class OSTrackReference(nn.Module):
    """The network of OSTrack-256 with random weights: 92.5 M parameters, 22.64 GMACs."""

    def __init__(self):
        super().__init__()
        self.templates, self.grid = (TEMPLATE // PATCH) ** 2, SEARCH // PATCH
        self.patch_embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.template_position = nn.Parameter(torch.zeros(1, self.templates, WIDTH))
        self.search_position = nn.Parameter(torch.zeros(1, self.grid**2, WIDTH))
        # Of the pretrained ViT; without use, but part of the authors' network and of its number of parameters.
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(torch.zeros(1, 1 + 14**2, WIDTH))
        self.blocks = nn.ModuleList(ReferenceBlock(ELIMINATION.get(number, 1.0)) for number in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = CenterHead(WIDTH, CHANNELS)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(
        self, template: Pair, search: Pair, modality: Tensor, template_box: Tensor | None = None
    ) -> TrackOutput:
        """Maps uint8 crops (B, 3, S, S) to maps; only the RGB crops are used, and no box."""
        parts = []
        for crop, position in ((template.rgb, self.template_position), (search.rgb, self.search_position)):
            tokens = self.patch_embed((crop - self.mean) / self.std).flatten(2).transpose(1, 2)
            parts.append(tokens + position)
        tokens = torch.cat(parts, dim=1)
        places = torch.arange(self.grid**2, device=tokens.device).expand(len(tokens), -1)
        for block in self.blocks:
            tokens, places = block(tokens, places, self.templates)
        search_tokens = self.norm(tokens)[:, self.templates :]
        whole = search_tokens.new_zeros(len(tokens), self.grid**2, WIDTH)  # removed tokens are zeros for the head
        whole = whole.scatter(1, places[..., None].expand(-1, -1, WIDTH), search_tokens)
        maps = self.head(whole.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        return TrackOutput(*maps, torch.empty(0), {}, {})
