"""Conversion of images to tensors, for training and for tracking."""

from __future__ import annotations

import numpy as np
import torch

from lib.structures import Frame, Pair


def pair_tensors(crops: Frame) -> Pair:
    """Converts two (S, S, 3) uint8 images to two (3, S, S) uint8 tensors, without a batch dimension."""
    return Pair(*(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in crops))
