"""Batches for the networks of the `debug` experiments, and the tensors of a weight file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lib.models.weights.read import network_of, read_checkpoint
from lib.structures import MAX_DISTRACTORS, Pair, Sample, TrackOutput

TEMPLATE, SEARCH = 32, 64  # pixels, as in debug.yaml


def random_pair(batch: int, size: int) -> Pair:
    return Pair(*(torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8) for _ in range(2)))


def random_sample(batch: int = 4, seed: int = 0) -> Sample:
    """Noise in both modalities; the kinds of modality alternate."""
    torch.manual_seed(seed)
    box = torch.cat([torch.rand(batch, 2) * 0.4 + 0.3, torch.rand(batch, 2) * 0.3 + 0.2], dim=1)
    return make_sample(random_pair(batch, TEMPLATE), random_pair(batch, SEARCH), box, torch.arange(batch) % 4)


def make_sample(template: Pair, search: Pair, boxes: Tensor, modality: Tensor) -> Sample:
    """A batch in which every target is present, at the same place in both crops, without known distractors."""
    batch = len(boxes)
    unknown = torch.zeros(batch, MAX_DISTRACTORS, 4)
    return Sample(template, search, boxes, boxes, modality, torch.ones(batch, dtype=torch.bool), unknown)


def change_images(sample: Sample, change) -> Sample:
    """The sample with `change(rgb, aux) -> (rgb, aux)` of its template and search crops."""
    return sample._replace(template=Pair(*change(*sample.template)), search=Pair(*change(*sample.search)))


DEGENERATE = {
    "aux equals rgb": lambda sample: change_images(sample, lambda rgb, aux: (rgb, rgb)),
    "blank rgb": lambda sample: change_images(sample, lambda rgb, aux: (torch.zeros_like(rgb), aux)),
    "blank aux": lambda sample: change_images(sample, lambda rgb, aux: (rgb, torch.zeros_like(aux))),
    "all flat": lambda sample: change_images(sample, lambda rgb, aux: (rgb * 0 + 255, aux * 0 + 90)),
    "all the same": lambda sample: change_images(sample, lambda rgb, aux: (rgb * 0, aux * 0)),
    "every sample skipped": lambda sample: sample._replace(
        search_box=torch.tensor([[0.01, 0.99, 0.001, 0.001]]).expand(len(sample.modality), -1)
    ),
    "batch of one": lambda sample: take(sample, slice(0, 1)),
}


def take(record, rows: slice):
    """Some samples of a (nested) record of tensors."""
    if isinstance(record, Tensor):
        return record[rows]
    if isinstance(record, dict):
        return {name: take(value, rows) for name, value in record.items()}
    return type(record)(*(take(field, rows) for field in record))


def random_output(batch: int = 4, width: int = 64, depth: int = 2, paths: tuple[str, ...] = ()) -> TrackOutput:
    """A possible output of such a network for a `random_sample`, with boxes near the middle."""
    template_tokens, grid = (TEMPLATE // 16) ** 2, SEARCH // 16
    features = {
        f"block{number:02d}/{m}": torch.randn(batch, template_tokens + grid**2, width) * 2 + 0.3
        for number in range(depth + 1)
        for m in ("rgb", "aux")
    }
    return TrackOutput(
        score_map=torch.rand(batch, 1, grid, grid).clamp(1e-4, 1 - 1e-4),
        size_map=torch.rand(batch, 2, grid, grid) * 0.8 + 0.1,
        offset_map=torch.rand(batch, 2, grid, grid) - 0.5,
        boxes=torch.cat([torch.rand(batch, 2) * 0.4 + 0.3, torch.rand(batch, 2) * 0.3 + 0.2], dim=1),
        features={**features, "fused": torch.randn(batch, grid**2, width)},
        paths={name: random_output(batch, width, depth) for name in paths},
    )


def read_net(path: Path) -> dict[str, Tensor]:
    """Name → tensor of the network in a checkpoint or a plain state dict."""
    return network_of(read_checkpoint(path), path).tensors
