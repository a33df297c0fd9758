"""Scales each part of a distillation loss relative to the tracking loss (docs/method.md, Balance; ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.utils import distributed

logger = logging.getLogger(__name__)

WINDOW = 20  # number of steps in which gradients are measured
LATEST, SHARE_OF_TRAINING = 500, 0.05  # the window ends at this step or this share of all steps, whichever is earlier
SHARES = (0.3, 0.5)  # range of a distillation loss's gradient norm, relative to the tracking loss's
LIMITS = (0.01, 100.0)  # range of a factor
LOG_INTERVAL = 100  # steps; each measurement costs one more backward pass for each part


class Balance(nn.Module):
    """Measures the gradient norm of each part over a window of early steps, then fixes one factor per part.

    A loss that acts at several depths has a part for each, which is measured at its own block. So losses and their
    controls compete with equal strength at each depth.

    Published weights of similar losses lie between 0.002 and 5, so they cannot be reused. The factors are buffers, so a
    resumed run continues with them.

    Args:
        names: names of the parts of the distillation losses.
        total_steps: number of steps of the training.
        enabled: if False, all factors stay 1; ratios are still logged.
    """

    def __init__(self, names: Sequence[str], total_steps: int, enabled: bool = True):
        super().__init__()
        self.names, self.enabled = tuple(names), enabled and bool(names)
        self.end = max(1, min(LATEST, round(SHARE_OF_TRAINING * total_steps)))
        self.start = max(0, self.end - WINDOW)
        self.norms: Tensor | None = None  # (2, K) sums over the step's micro batches: parts, tracking loss
        self.step = 0  # equal to the buffer `steps`, but can be read without synchronising the device
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("ratios", torch.full((WINDOW, len(self.names)), float("nan")))
        self.register_buffer("factors", torch.ones(len(self.names)))

    def observe(
        self, tracking: Tensor, losses: dict[str, Tensor], parameters: dict[str, list[nn.Parameter]]
    ) -> dict[str, Tensor]:
        """Measures the gradient norm of each part relative to that of the tracking loss, where the part acts.

        The norms are added over the micro batches of a step and over all processes.
        It measures in every step of the window, to compute the factors, and every LOG_INTERVAL steps.

        Args:
            tracking: the tracking loss, a scalar.
            losses: the weighted parts of the distillation losses, scalars by name.
            parameters: by name, the parameters with respect to which both gradients are taken.

        Returns:
            Name → ratio, a scalar; empty if nothing was measured.
        """
        in_window = self.enabled and self.start <= self.step < self.end
        if not self.names or not (in_window or self.step % LOG_INTERVAL == LOG_INTERVAL - 1):
            return {}
        parts = torch.cat([gradient_norms(losses[name], [parameters[name]]) for name in self.names])
        reference = gradient_norms(tracking, [parameters[name] for name in self.names])
        norms = distributed.sum_over_processes(
            torch.stack([parts, reference])
        )  # the number of processes cancels in the ratio
        self.norms = norms if self.norms is None else self.norms + norms
        ratios = self.norms[0] / self.norms[1]
        if in_window:
            usable = ratios.isfinite() & (ratios > 0)
            self.ratios[self.step - self.start] = torch.where(usable, ratios, float("nan"))
        return dict(zip(self.names, ratios * self.factors, strict=True))

    def scale(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the losses, scalars by name, times their factors; the factors are 1 until the window ends."""
        return {name: losses[name] * factor for name, factor in zip(self.names, self.factors, strict=True)}

    def after_step(self) -> None:
        """Counts a step; at the end of the window, sets the factors."""
        self.norms = None
        self.step += 1
        self.steps += 1
        if self.enabled and self.step == self.end:
            self.factors.copy_(balanced(self.ratios))
            factors = zip(self.names, self.factors.tolist(), strict=True)
            logger.info("balance: %s", ", ".join(f"{name} times {factor:.2f}" for name, factor in factors))

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.step = int(self.steps)


def balanced(ratios: Tensor) -> Tensor:
    """Returns the factors, (K,), that bring the median of the ratios of each loss into SHARES.

    Args:
        ratios: (W, K) measured ratios of K losses in W steps; NaN if a loss had no gradient.
    """
    median = ratios.nanmedian(dim=0).values
    wanted = median.clamp(*SHARES)
    factors = (wanted / median.clamp(min=1e-12)).clamp(*LIMITS)
    return torch.where(median.isfinite(), factors, 1.0)


def gradient_norms(loss: Tensor, places: list[list[nn.Parameter]]) -> Tensor:
    """Returns the norm of the gradient at each list of parameters, (P,), in one backward pass.

    It is 0 where the loss depends on no parameter. Does not change `grad`.
    """
    every = [parameter for place in places for parameter in place]
    if not (loss.requires_grad and every):
        return loss.new_zeros(len(places))
    with torch.autocast(loss.device.type, enabled=False):  # as in the backward pass of the step
        gradients = torch.autograd.grad(loss, every, retain_graph=True, allow_unused=True)
    squares = [loss.new_zeros(()) if g is None else g.detach().float().square().sum() for g in gradients]
    parts = torch.stack(squares).split([len(place) for place in places])
    return torch.stack([part.sum().sqrt() for part in parts])
