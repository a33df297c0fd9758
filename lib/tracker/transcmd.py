"""The trained tracker in PyTorch: crop, forward, postprocess. The template stays (docs/method.md, Tracking)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lib.data.crop import CropSpec
from lib.data.tensors import pair_tensors
from lib.structures import Frame, Pair
from lib.tracker.cropped import CropTracker
from lib.tracker.forward import Forward, Memory, join_memories


class TransCMDTracker(CropTracker):
    """Tracks with a network that maps (template, search, modality, template box) to a `TrackOutput`.

    Args:
        template, search, modality, size_rate: see `CropTracker`.
        precision: "fp32", or "bf16": autocast, faster on GPUs.
        compiled: compile the network for this device, see `Forward`. The constructor then takes up to minutes.

    Raises:
        ValueError: the modality or the precision is unknown, or the network cannot be compiled here.
    """

    def __init__(
        self,
        model: nn.Module,
        template: CropSpec,
        search: CropSpec,
        modality: str,
        device: torch.device,
        size_rate: float = 1.0,
        precision: str = "fp32",
        compiled: bool = False,
    ):
        super().__init__(template, search, modality, size_rate)
        self.network = Forward(model, device, precision, compiled)
        self.modality = torch.tensor([self.modality_row], device=device)
        self.device = device
        if compiled:
            self._warm_up()

    @property
    def model(self) -> nn.Module:
        """The network as it was given."""
        return self.network.model

    def reset(self) -> None:
        """See `CropTracker.reset`."""
        super().reset()
        self.memory: Memory = ()

    def set_template(self, crops: Frame, box_cxcywh: np.ndarray) -> None:
        """See `CropTracker.set_template`: keeps what the network needs of both (S, S, 3) crops and the box (4,)."""
        box = torch.from_numpy(box_cxcywh[None]).to(self.device, torch.float32)
        self.memory = self.network.remember(self._tensors([crops]), self.modality, box)

    @property
    def can_batch(self) -> bool:
        """True: `infer_batch` is implemented."""
        return True

    def infer(self, crops: Frame) -> np.ndarray:
        """See `CropTracker.infer`: two (S, S, 3) crops → (5, h, w)."""
        return self.infer_batch([self], [crops])[0]

    def infer_batch(self, trackers: Sequence[TransCMDTracker], crops: Sequence[Frame]) -> np.ndarray:
        """See `CropTracker.infer_batch`: B pairs of (S, S, 3) crops → (B, 5, h, w).

        The copy of the maps to the processor is the only point at which it waits for the device.
        """
        memory = join_memories([tracker.memory for tracker in trackers])
        maps = self.network(memory, self._tensors(crops), self.modality.expand(len(trackers)))
        return maps.cpu().numpy()

    def _tensors(self, crops: Sequence[Frame]) -> Pair:
        """Converts B pairs of (S, S, 3) images to a batch on the device, in one copy."""
        images = torch.stack([image for pair in zip(*map(pair_tensors, crops), strict=True) for image in pair])
        if self.device.type == "cuda":
            images = images.pin_memory()  # from other memory, the copy would wait for the device
        return Pair(*images.to(self.device, non_blocking=True).chunk(2))

    def _warm_up(self) -> None:
        """Compiles. Raises ValueError if that is not possible, e.g. without a compiler."""
        crops = [
            Frame(*np.zeros((2, spec.size, spec.size, 3), np.uint8)) for spec in (self.template_spec, self.search_spec)
        ]
        self.set_template(crops[0], np.array([0.5, 0.5, 0.5, 0.5]))
        try:
            self.infer(crops[1])
        except RuntimeError as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
            raise ValueError(f"compile=True: this network cannot be compiled for {self.device}: {reason}") from error
        self.reset()
