"""Which data set, sequence and frames a training sample is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler

from lib.data.processing import Processing
from lib.data.sequence import Sequence
from lib.structures import Sample

MAX_DRAWS = 50


class SampleKey(NamedTuple):
    """Names a sample for ever: epoch and position in it."""

    epoch: int
    index: int


class PairSampler(Dataset):
    """Draws (template, search) pairs. An item is a pure function of (seed, epoch, index): the same on any worker, in
    any order, after any resume.

    Args:
        datasets: one list of sequences per data set; of any mix of modalities.
        ratios: share of samples that each data set gets.
        max_interval: frames between template and search, at most.
        causal: the search frame never precedes the template.

    Raises:
        ValueError: a data set without any sequence of two visible frames.
    """

    def __init__(
        self,
        datasets: list[list[Sequence]],
        ratios: list[float],
        processing: Processing,
        samples_per_epoch: int,
        max_interval: int,
        causal: bool = True,
        seed: int = 0,
    ):
        self.datasets = [[s for s in sequences if s.visible.sum() >= 2] for sequences in datasets]
        for number, (usable, given) in enumerate(zip(self.datasets, datasets, strict=True)):
            if not usable:
                raise ValueError(
                    f"data set {number + 1} of {len(datasets)}: none of {len(given)} sequences has 2 visible frames"
                )
        self.shares = np.cumsum(ratios) / np.sum(ratios)
        self.processing = processing
        self.samples_per_epoch = samples_per_epoch
        self.max_interval = max_interval
        self.causal = causal
        self.seed = seed

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __getitem__(self, key: SampleKey) -> Sample:
        """Re-draws where the jitter loses the target; raises ValueError after 50 times, and whatever reading raises."""
        rng = np.random.default_rng((self.seed, key.epoch, key.index))
        for _ in range(MAX_DRAWS):
            sequence, template, search = self.draw(rng)
            boxes = sequence.boxes_xywh
            frames = sequence.frame(template), sequence.frame(search)
            sample = self.processing(frames[0], boxes[template], frames[1], boxes[search], sequence.modality, rng)
            if sample is not None:
                return sample
        raise ValueError(
            f"sample {tuple(key)}: no crop held its target in {MAX_DRAWS} draws, the last of {sequence.name}"
        )

    def draw(self, rng: np.random.Generator) -> tuple[Sequence, int, int]:
        """A sequence and two of its visible frames."""
        sequences = self.datasets[
            min(int(np.searchsorted(self.shares, rng.random(), side="right")), len(self.datasets) - 1)
        ]
        sequence = sequences[rng.integers(len(sequences))]
        visible = np.flatnonzero(sequence.visible)
        template = visible[rng.integers(len(visible))]
        near = visible[(np.abs(visible - template) <= self.max_interval) & (visible != template)]
        if not near.size:
            near = np.array([template])
        search = near[rng.integers(len(near))]
        if self.causal and search < template:
            template, search = search, template
        return sequence, int(template), int(search)


class EpochSampler(Sampler):
    """Yields this process's share of an epoch's keys, so that workers need no state. Call `set_epoch` before each."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1):
        self.length = length // world_size
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """`start`: samples of this process already used, when an epoch is resumed."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.length - self.start

    def __iter__(self) -> Iterator[SampleKey]:
        for index in range(self.start, self.length):
            yield SampleKey(self.epoch, index * self.world_size + self.rank)
