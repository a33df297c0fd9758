"""START HERE: the records that all parts of the project exchange, and the naming conventions.

    images + annotations → Sequence → PairSampler → Processing → Sample → Task(model + losses)
      → Trainer → checkpoint → Tracker → raw results → evaluate → report.json → tables, plots

Conventions
    Boxes    `box_xywh`: float64 numpy, top-left corner and size in pixels of the original image.
             `boxes_cxcywh`: float32 tensor, centre and size as fractions of the crop. The suffix is part of the name.
    Images   RGB order, uint8, from disk to model: (H, W, 3) as numpy, (B, 3, H, W) as tensor. The model normalises.
    Letters  B batch, N tokens, D width, h w feature grid.

The records are NamedTuples, so that torch's DataLoader collates and pins them. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Modality(NamedTuple):
    """One kind of auxiliary images."""

    decoder: str  # how its files are decoded: a key of `lib.data.image.DECODERS`
    words: str  # what the images show, for messages


# Kinds of auxiliary images. A sequence of modality "rgb" repeats its RGB images as auxiliary images. To add a modality,
# add a row: every network's modality embedding has one row per modality, and weight files store the names of the rows.
MODALITIES = {
    "rgb": Modality("color", "RGB again"),
    "rgbt": Modality("color", "thermal"),
    "rgbd": Modality("depth", "depth"),
    "rgbe": Modality("color", "events"),
}


def modality_index(name: str) -> int:
    """Returns the index of a modality in MODALITIES, by which tensors refer to it.

    Raises:
        ValueError: `name` is not a key of MODALITIES; the message lists the known names.
    """
    if name not in MODALITIES:
        known = ", ".join(f"{key} ({modality.words})" for key, modality in MODALITIES.items())
        raise ValueError(f"unknown modality '{name}'; expected one of: {known}")
    return list(MODALITIES).index(name)


class Frame(NamedTuple):
    """One time step of a video: two aligned images."""

    rgb: np.ndarray  # (H, W, 3) uint8
    aux: np.ndarray  # (H, W, 3) uint8: thermal, colour-mapped depth, or events


class Pair(NamedTuple):
    """Both modalities of a batch of B crops with a side of S pixels. A single crop has no dimension B."""

    rgb: Tensor  # (B, 3, S, S) uint8
    aux: Tensor  # (B, 3, S, S) uint8


MAX_DISTRACTORS = 16  # other things in a search crop whose boxes a sample holds


class Sample(NamedTuple):
    """A batch of B training examples. A single example has no dimension B. Boxes are fractions of their crop."""

    template: Pair
    search: Pair
    template_box: Tensor  # (B, 4) float32 cxcywh
    search_box: Tensor  # (B, 4) float32 cxcywh
    modality: Tensor  # (B,) int64, see `modality_index`
    present: Tensor  # (B,) bool; False: the template shows something that is not in the search crop
    distractors: Tensor  # (B, MAX_DISTRACTORS, 4) float32 cxcywh in the search crop; zeros: none or unknown


class TrackOutput(NamedTuple):
    """The output of a tracking network for a batch of B samples, on a feature grid of h x w cells."""

    score_map: Tensor  # (B, 1, h, w) in (0, 1): confidence that the cell's corner is the nearest to the target's centre
    size_map: Tensor  # (B, 2, h, w) in (0, 1): width, height as fractions of the crop
    offset_map: Tensor  # (B, 2, h, w): from the cell's top-left corner to the centre, in cells
    boxes: Tensor  # (B, 4) cxcywh, at the peak of the score map
    features: dict[str, Tensor]  # intermediate features by name: 'block06/rgb' (B, N, D), 'fused' (B, hw, D)
    paths: dict[str, TrackOutput]  # one per fusion path of the teacher; empty for the student


class Prediction(NamedTuple):
    """A tracker's output for one frame."""

    box_xywh: np.ndarray  # (4,) float64 image pixels
    score: float  # confidence in [0, 1]


Record = TypeVar("Record", Pair, Sample)


def take_rows(record: Record, rows) -> Record:
    """Returns a (nested) record of the samples `rows`, a slice or indices, in dimension B of every tensor."""
    return type(record)(*(take_rows(f, rows) if isinstance(f, tuple) else f[rows] for f in record))


def to_device(record: Record, device) -> Record:
    """Returns a (nested) record with every tensor on `device`. Pinned memory is copied without blocking."""
    return type(record)(
        *(to_device(f, device) if isinstance(f, tuple) else f.to(device, non_blocking=True) for f in record)
    )
