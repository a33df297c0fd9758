"""Draws the data set, the sequence and the two frames of a training sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler

from lib.data.processing import Processing
from lib.data.sequence import Sequence
from lib.structures import Sample

MAX_DRAWS = 50  # attempts per sample to keep the target inside both crops, and to find another sequence


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
        negatives: share of samples whose template is from another sequence of the same modality, so that the target is
            absent.
        with_distractors: put the boxes of other things into the samples, of sequences that know them.

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
        negatives: float = 0.0,
        with_distractors: bool = False,
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
        self.negatives = negatives
        self.with_distractors = with_distractors

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
            source = sequence
            if self.negatives and rng.random() < self.negatives:
                source, template = self.draw_other(rng, sequence, template)
            # A sequence that is drawn draws the crops alone; one on disk reads whole frames.
            frames = [getattr(s, "cropper", s.frame)(index) for s, index in ((source, template), (sequence, search))]
            known = self.with_distractors and hasattr(sequence, "distractors_xywh")
            sample = self.processing(
                frames[0],
                source.boxes_xywh[template],
                frames[1],
                sequence.boxes_xywh[search],
                sequence.modality,
                rng,
                present=source is sequence,
                distractors=sequence.distractors_xywh(search) if known else None,
            )
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
        sequence = self._draw_sequence(rng)
        visible = np.flatnonzero(sequence.visible)
        template = visible[rng.integers(len(visible))]
        near = visible[(np.abs(visible - template) <= self.max_interval) & (visible != template)]
        if not near.size:
            near = np.array([template])
        search = near[rng.integers(len(near))]
        if self.causal and search < template:
            template, search = search, template
        return sequence, int(template), int(search)

    def draw_other(self, rng: np.random.Generator, sequence: Sequence, template: int) -> tuple[Sequence, int]:
        """Draws another sequence of the same modality and the index of a visible frame.

        Returns `sequence` and `template` if MAX_DRAWS attempts found none: the data set may have a single sequence.
        """
        for _ in range(MAX_DRAWS):
            other = self._draw_sequence(rng)
            if other is not sequence and other.modality == sequence.modality:
                visible = np.flatnonzero(other.visible)
                return other, int(visible[rng.integers(len(visible))])
        return sequence, template

    def _draw_sequence(self, rng: np.random.Generator) -> Sequence:
        share = int(np.searchsorted(self.shares, rng.random(), side="right"))
        sequences = self.datasets[min(share, len(self.datasets) - 1)]
        return sequences[rng.integers(len(sequences))]


class EpochSampler(Sampler):
    """Yields this process's share of the keys of an epoch, so that workers need no state. Call `set_epoch` first."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1, repeat: bool = False):
        self.length = length // world_size
        self.rank = rank
        self.world_size = world_size
        self.repeat = repeat  # every epoch has the keys of the first
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Selects the epoch. `start` is the number of samples of this process to skip when an epoch is resumed."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.length - self.start

    def __iter__(self) -> Iterator[SampleKey]:
        for index in range(self.start, self.length):
            yield SampleKey(1 if self.repeat else self.epoch, index * self.world_size + self.rank)
