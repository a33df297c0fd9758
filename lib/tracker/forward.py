"""What a tracker asks of a network in PyTorch: what to keep of the template, and the maps of a search crop."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from lib.structures import Pair, TrackOutput

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}  # → type under autocast
Memory = tuple[Tensor, ...]  # what is kept of B templates; every tensor has them in its first dimension


class Forward(nn.Module):
    """Runs a tracking network in evaluation mode.

    Args:
        model: maps (template, search, modality, template box) to a `TrackOutput`.
        device: where it runs.
        precision: a key of PRECISIONS.
        compiled: compile `forward` with inductor. On a GPU, CUDA graphs replay it, so that the processor launches one
            graph per frame and not hundreds of kernels. The first call takes up to minutes.

    Raises:
        ValueError: the precision is unknown.
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: str = "fp32", compiled: bool = False):
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision '{precision}': expected one of: {', '.join(PRECISIONS)}")
        self.model, self.device = model.to(device).eval(), device
        self.cached = getattr(model, "can_remember", False)  # baselines for comparison are no PairNetwork
        self.kind = PRECISIONS[precision]
        self._maps = self._compute
        if compiled:
            mode = "reduce-overhead" if device.type == "cuda" else "default"
            self._maps = torch.compile(self._compute, mode=mode, dynamic=False)

    @torch.inference_mode()
    def remember(self, template: Pair, modality: Tensor, template_box: Tensor) -> Memory:
        """Returns what `forward` needs of templates.

        Args:
            template: uint8 crops (B, 3, S, S).
            modality: (B,) int64.
            template_box: (B, 4) cxcywh in the template crop.
        """
        if not self.cached:
            return (*template, template_box)
        with self._autocast():
            return self.model.remember(template, modality, template_box)

    @torch.inference_mode()
    def forward(self, memory: Memory, search: Pair, modality: Tensor) -> Tensor:
        """Maps what `remember` returned and search crops (B, 3, S, S) to maps (B, 5, h, w) float32."""
        with self._autocast():
            return self._maps(memory, *search, modality)

    def _compute(self, memory: Memory, rgb: Tensor, aux: Tensor, modality: Tensor) -> Tensor:
        if self.cached:
            return join_maps(self.model.forward_search(memory, Pair(rgb, aux), modality))
        *template, box = memory
        return join_maps(self.model(Pair(*template), Pair(rgb, aux), modality, box))

    def _autocast(self):
        if self.kind is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.kind)


def join_memories(memories: list[Memory]) -> Memory:
    """Concatenates what is kept of several templates along the batch."""
    return memories[0] if len(memories) == 1 else tuple(torch.cat(parts) for parts in zip(*memories, strict=True))


def join_maps(output: TrackOutput) -> Tensor:
    """Returns score, size and offset map of a batch as (B, 5, h, w), the output of an exported network."""
    return torch.cat([output.score_map, output.size_map, output.offset_map], dim=1)
