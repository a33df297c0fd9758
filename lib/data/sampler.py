"""Draws the data set, the sequence and the two frames of a training sample."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from lib.data.crop import Crop, Cropper, CropSpec, crop_pair, square_around
from lib.data.processing import Processing
from lib.data.sequence import Sequence
from lib.structures import Frame, Sample

MAX_DRAWS = 50  # attempts per sample to keep the target inside both crops, and to find another sequence


class SampleKey(NamedTuple):
    """Identifies a sample: the epoch and the position in it."""

    epoch: int
    index: int


def crop_upper(sequence: Sequence, index: int, box_xywh: np.ndarray, spec: CropSpec) -> tuple[Frame, Crop]:
    """Crops a frame as `crop_pair`, and reads it only down to the lower edge of the crop, see `Sequence.upper_part`."""
    square = square_around(box_xywh, spec.factor)
    return crop_pair(sequence.upper_part(index, square.y + square.side), box_xywh, spec)


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
        partial_decode: read images only down to the lower edges of the crops: the same samples, faster, see
            `Sequence.upper_part`.

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
        partial_decode: bool = False,
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
        self.partial_decode = partial_decode

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
            frames = [self._read(s, index) for s, index in ((source, template), (sequence, search))]
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

    def _read(self, sequence: Sequence, index: int) -> Frame | Cropper:
        if hasattr(sequence, "cropper"):  # it is drawn, and draws the crops alone
            return sequence.cropper(index)
        return partial(crop_upper, sequence, index) if self.partial_decode else sequence.frame(index)

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
