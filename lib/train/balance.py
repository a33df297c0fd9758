"""How strongly each distillation loss pulls, beside the tracking loss (docs/method.md, Balance; ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.utils import distributed

logger = logging.getLogger(__name__)

WINDOW = 20  # steps that are looked at
LATEST, SHARE_OF_TRAINING = 500, 0.05  # when they end, in steps and as a share of all
SHARES = (0.3, 0.5)  # of the tracking loss's gradient that a distillation loss may have
LIMITS = (0.1, 10.0)  # of the factor
LOG_INTERVAL = 100  # steps; measuring costs a backward pass through the last block for each loss


class Balance(nn.Module):
    """Measures each loss's gradient over some early steps and sets one factor per loss, for good.

    Published analogues of these losses have weights between 0.002 and 5: scales do not carry over. The factors are
    buffers, so that a resumed run goes on with them.
    """

    def __init__(self, names: Sequence[str], total_steps: int, enabled: bool = True):
        super().__init__()
        self.names, self.enabled = tuple(names), enabled and bool(names)
        self.end = max(1, min(LATEST, round(SHARE_OF_TRAINING * total_steps)))
        self.start = max(0, self.end - WINDOW)
        self.step = 0  # in step with the buffer, and read without waiting for the device
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("ratios", torch.full((WINDOW, len(self.names)), float("nan")))
        self.register_buffer("factors", torch.ones(len(self.names)))

    def observe(self, tracking: Tensor, losses: dict[str, Tensor], parameters: list[nn.Parameter]) -> dict[str, Tensor]:
        """Within the window, and every LOG_INTERVAL steps: the ratio of each loss's gradient norm, as it is scaled now,
        to the tracking loss's. What the window sees decides the factors.
        """
        decides = self.enabled and self.start <= self.step < self.end
        if not self.names or not (decides or self.step % LOG_INTERVAL == LOG_INTERVAL - 1):
            return {}
        norms = [gradient_norm(loss, parameters) for loss in (tracking, *(losses[name] for name in self.names))]
        norms = distributed.sum_over_processes(torch.stack(norms))  # the number of processes cancels in the ratio
        ratios = norms[1:] / norms[0]
        if decides:
            usable = ratios.isfinite() & (ratios > 0)
            self.ratios[self.step - self.start] = torch.where(usable, ratios, float("nan"))
        return dict(zip(self.names, ratios * self.factors, strict=True))

    def scale(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses times their factors: 1 until the window has passed."""
        return {name: losses[name] * factor for name, factor in zip(self.names, self.factors, strict=True)}

    def after_step(self) -> None:
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
    """(W, K) observed ratios, NaN where a loss told nothing → (K,) factors that bring the median into SHARES."""
    median = ratios.nanmedian(dim=0).values
    wanted = median.clamp(*SHARES)
    factors = (wanted / median.clamp(min=1e-12)).clamp(*LIMITS)
    return torch.where(median.isfinite(), factors, 1.0)


def gradient_norm(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Norm of the gradient, which is not accumulated; 0 where the loss does not depend on any parameter."""
    if not (loss.requires_grad and parameters):
        return loss.new_zeros(())
    with torch.autocast(loss.device.type, enabled=False):  # as in the backward pass of the step
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    present = [gradient.detach().float().square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(present).sum().sqrt() if present else loss.new_zeros(())
