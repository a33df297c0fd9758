"""Scales each distillation loss relative to the tracking loss (docs/method.md, Balance; ours)."""

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
LIMITS = (0.1, 10.0)  # range of a factor
LOG_INTERVAL = 100  # steps; each measurement costs a backward pass through the last block for each loss


class Balance(nn.Module):
    """Measures the gradient norm of each loss over a window of early steps, then fixes one factor per loss.

    Published weights of similar losses lie between 0.002 and 5, so they cannot be reused. The factors are buffers, so a
    resumed run continues with them.

    Args:
        names: names of the distillation losses.
        total_steps: number of steps of the training.
        enabled: if False, all factors stay 1; ratios are still logged.
    """

    def __init__(self, names: Sequence[str], total_steps: int, enabled: bool = True):
        super().__init__()
        self.names, self.enabled = tuple(names), enabled and bool(names)
        self.end = max(1, min(LATEST, round(SHARE_OF_TRAINING * total_steps)))
        self.start = max(0, self.end - WINDOW)
        self.step = 0  # equal to the buffer `steps`, but can be read without synchronising the device
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("ratios", torch.full((WINDOW, len(self.names)), float("nan")))
        self.register_buffer("factors", torch.ones(len(self.names)))

    def observe(self, tracking: Tensor, losses: dict[str, Tensor], parameters: list[nn.Parameter]) -> dict[str, Tensor]:
        """Measures the gradient norm of each scaled loss relative to that of the tracking loss.

        It measures in every step of the window, to compute the factors, and every LOG_INTERVAL steps.

        Args:
            tracking: the tracking loss, a scalar.
            losses: the weighted distillation losses, scalars by name.
            parameters: gradients are taken with respect to these.

        Returns:
            Name → ratio, a scalar; empty if nothing was measured.
        """
        in_window = self.enabled and self.start <= self.step < self.end
        if not self.names or not (in_window or self.step % LOG_INTERVAL == LOG_INTERVAL - 1):
            return {}
        norms = [gradient_norm(loss, parameters) for loss in (tracking, *(losses[name] for name in self.names))]
        norms = distributed.sum_over_processes(torch.stack(norms))  # the number of processes cancels in the ratio
        ratios = norms[1:] / norms[0]
        if in_window:
            usable = ratios.isfinite() & (ratios > 0)
            self.ratios[self.step - self.start] = torch.where(usable, ratios, float("nan"))
        return dict(zip(self.names, ratios * self.factors, strict=True))

    def scale(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the losses, scalars by name, times their factors; the factors are 1 until the window ends."""
        return {name: losses[name] * factor for name, factor in zip(self.names, self.factors, strict=True)}

    def after_step(self) -> None:
        """Counts a step; at the end of the window, sets the factors."""
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


def gradient_norm(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Returns the norm of the gradient, a scalar; 0 if the loss depends on no parameter. Does not change `grad`."""
    if not (loss.requires_grad and parameters):
        return loss.new_zeros(())
    with torch.autocast(loss.device.type, enabled=False):  # as in the backward pass of the step
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    present = [gradient.detach().float().square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(present).sum().sqrt() if present else loss.new_zeros(())
