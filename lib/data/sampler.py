"""Draws the data set, the sequence and the two frames of a training sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler

from lib.data.processing import Processing
from lib.data.sequence import Sequence
from lib.structures import Sample

MAX_DRAWS = 50  # attempts per sample to keep the target inside both crops


class SampleKey(NamedTuple):
    """Identifies a sample: the epoch and the position in it."""

    epoch: int
    index: int


class PairSampler(Dataset):
    """Draws (template, search) pairs.

    A sample is a pure function of (seed, epoch, index). It depends neither on the number of workers, nor on the order
    of the calls, nor on whether the run was resumed.

    Args:
        datasets: one list of sequences per data set; modalities may be mixed.
        ratios: relative share of samples drawn from each data set.
        max_interval: largest distance between the template and the search frame, in frames.
        causal: the search frame does not precede the template frame.

    Raises:
        ValueError: no sequence of a data set has two visible frames.
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
        """Returns one sample without a batch dimension; draws again if the jitter moves the target out of a crop.

        Raises:
            ValueError: the target was outside in MAX_DRAWS attempts, or an image cannot be decoded.
            FileNotFoundError: an image is missing.
        """
        rng = np.random.default_rng((self.seed, key.epoch, key.index))
        for _ in range(MAX_DRAWS):
            sequence, template, search = self.draw(rng)
            boxes = sequence.boxes_xywh
            # A sequence that is drawn draws the crops alone; one on disk reads whole frames.
            frames = [getattr(sequence, "cropper", sequence.frame)(index) for index in (template, search)]
            sample = self.processing(frames[0], boxes[template], frames[1], boxes[search], sequence.modality, rng)
            if sample is not None:
                return sample
        raise ValueError(
            f"sample {tuple(key)}: the target was outside the crops in all {MAX_DRAWS} draws, the last from "
            f"{sequence.name}; reduce CENTER_JITTER or SCALE_JITTER"
        )

    def draw(self, rng: np.random.Generator) -> tuple[Sequence, int, int]:
        """Draws a sequence and the indices of its template and search frame.

        Both frames are visible. They are the same frame if no other visible frame lies within `max_interval`.
        """
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
    """Yields this process's share of the keys of an epoch, so that workers need no state. Call `set_epoch` first."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1):
        self.length = length // world_size
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Selects the epoch. `start` is the number of samples of this process to skip when an epoch is resumed."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.length - self.start

    def __iter__(self) -> Iterator[SampleKey]:
        for index in range(self.start, self.length):
            yield SampleKey(self.epoch, index * self.world_size + self.rank)
