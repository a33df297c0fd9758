"""A short text that identifies the index of a data set: its sequences, frames and annotations, without the images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

DRAWN = 100  # drawn sequences of a data set whose boxes are part of its fingerprint, at most


def find_textures(sequences: Sequence) -> str:
    """Returns the index of the textures that sequences are drawn from, or "" if they are not drawn."""
    return sequences[0].textures.index if len(sequences) and hasattr(sequences[0], "textures") else ""


def fingerprint(sequences: Sequence) -> str:
    """Returns 16 hexadecimal digits that change with the names, the modalities, the boxes or the visibility.

    Drawn sequences are a function of their textures and names, and making all their scenes takes minutes: the index of
    the textures stands for them, with the boxes of some.

    Args:
        sequences: see `lib.data.sequence.Sequence`; also those that are drawn.
    """
    digest, textures = hashlib.sha256(), find_textures(sequences)
    digest.update(textures.encode())
    every = len(sequences) // DRAWN + 1 if textures else 1
    for number, sequence in enumerate(sequences):
        digest.update(f"{sequence.name}\0{sequence.modality}\0{len(sequence)}\0".encode())
        if number % every:
            continue
        digest.update(np.ascontiguousarray(sequence.boxes_xywh, np.float64).tobytes())
        digest.update(np.ascontiguousarray(sequence.visible, bool).tobytes())
    return digest.hexdigest()[:16]
