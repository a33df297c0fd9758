"""A moving average of the weights (EMA), which is saved, validated and exported in place of the trained weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average w ← d * w + (1 - d) * weights after every step, of all parameters and buffers of a network.

    In the first steps d is smaller, (1 + n) / (10 + n) after n updates, so that the initial weights are soon forgotten
    (timm's and TensorFlow's rule). Whole numbers, e.g. the counters of batch norms, are copied.

    Args:
        model: the network, on its device. It is not modified, except in `applied`.
        decay: d, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.updates = model, decay, 0
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Adds the current weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = self.model.state_dict()
        names = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.tensors[n] for n in names], [current[n] for n in names], 1 - decay)
        for name in current.keys() - set(names):
            self.tensors[name].copy_(current[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averaged weights inside the context, and its own after it."""
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def state(self) -> dict[str, Any]:
        """Returns the entries of a checkpoint: "ema", tensors with the names of the network's, and "ema_updates"."""
        return {"ema": self.tensors, "ema_updates": self.updates}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint; from its trained weights if it has no average.

        Raises:
            KeyError: a tensor is missing.
        """
        saved: dict[str, Tensor] = state.get("ema", state["net"])
        for name, tensor in self.tensors.items():
            tensor.copy_(saved[name])
        self.updates = state.get("ema_updates", 0)
