"""One optimizer step: micro batches, their gradients, the check that all is finite, clipping, the update."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lib.structures import Sample, to_device
from lib.train.average import WeightAverage
from lib.train.tasks import Task
from lib.utils import distributed
from lib.utils.misc import seed_step
from lib.utils.texts import shorten

SMALLEST_SCALE = 1.0  # of float16's loss: a gradient that overflows even so is not finite for another reason


@dataclass(frozen=True)
class StepOptions:
    """Options of an optimizer step; see the TRAIN keys with the same names."""

    seed: int
    amp: bool = False
    amp_dtype: str = "bfloat16"
    grad_clip_norm: float = 0.0  # largest norm of the gradient; 0: no clipping
    ema: float = 0.0  # decay of the moving average of the weights; 0: no average

    def autocast(self, device: torch.device) -> torch.autocast:
        """Returns the context of a forward pass."""
        return torch.autocast(device.type, dtype=getattr(torch, self.amp_dtype), enabled=self.amp)


class Outcome(NamedTuple):
    """What a step has found."""

    values: dict[str, Tensor]  # detached scalars: loss, its terms, logs; means over this process's micro batches
    terms: list[dict[str, float]]  # the terms of each micro batch of this process; only if there is a problem
    problem: str = ""  # what is not finite; the weights are then unchanged


class OptimizerStep:
    """Trains on one global batch.

    The random numbers of a micro batch are a function of (seed, step, number of the micro batch in the global batch),
    and batch norms average their statistics over the micro batches of a step. With micro batches of the same size, a
    step is therefore the same for any number of processes, up to rounding.
    """

    def __init__(
        self, task: Task, optimizer: Optimizer, scheduler: LRScheduler, options: StepOptions, device: torch.device
    ):
        self.task, self.optimizer, self.scheduler = task, optimizer, scheduler
        self.options, self.device = options, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp and options.amp_dtype == "float16")
        self.parallel = _wrap(task, device)
        self.average = WeightAverage(task.model, options.ema) if options.ema else None
        self.norm = 0.0  # of the gradient of the latest step before clipping, a scalar tensor; nan if not finite

    def run(self, samples: Sequence[Sample], step: int, progress: float) -> Outcome:
        """Runs a step on this process's micro batches. If the loss or the gradient is not finite, changes nothing.

        Args:
            samples: micro batches of equal size, on any device.
            step: number of the step since the start of the training.
            progress: completed share of the training, in [0, 1].
        """
        self.optimizer.zero_grad(set_to_none=True)
        statistics = _RunningStatistics(self.task)
        found = [self._backward(samples, number, step, progress, statistics) for number in range(len(samples))]
        losses = torch.stack([loss for loss, _, _ in found])
        problem = self._find_problem(losses)
        if problem:
            statistics.restore()
            terms = [{name: value.item() for name, value in terms.items()} for _, terms, _ in found]
            return Outcome({}, terms, problem)
        statistics.average(len(samples))
        if self.options.grad_clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self._trained(), self.options.grad_clip_norm, self.norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update()
        self._finish()
        return Outcome(_means([{"loss": loss, **terms, **logs} for loss, terms, logs in found]), [])

    def skip(self) -> None:
        """Ends a step with a problem as if it had not been drawn; schedules and counters move on."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():
            self.scaler.update()
        self._finish()

    def autocast(self) -> torch.autocast:
        """Returns the context of the forward pass."""
        return self.options.autocast(self.device)

    def _finish(self) -> None:
        self.scheduler.step()
        self.task.after_step()

    def _backward(
        self, samples: Sequence[Sample], number: int, step: int, progress: float, statistics: _RunningStatistics
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Adds the gradient of a micro batch. Returns its loss, terms and logs, detached."""
        seed_step(self.options.seed, step, number * distributed.world_size() + distributed.rank())
        statistics.start()
        last = number == len(samples) - 1
        with contextlib.nullcontext() if last or self.parallel is self.task else self.parallel.no_sync():
            with self.autocast():
                terms, logs = self.parallel(to_device(samples[number], self.device), progress)
                loss = torch.stack(list(terms.values())).sum()
            self.scaler.scale(loss / len(samples)).backward()
        statistics.add()
        return loss.detach(), {name: value.detach() for name, value in terms.items()}, logs

    def _find_problem(self, losses: Tensor) -> str:
        """Unscales and measures the gradient. Returns what is not finite in any process, or ""."""
        self.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self._trained() if parameter.grad is not None]
        self.norm = torch.nn.utils.get_total_norm(gradients)
        wrong = torch.stack(
            [losses.isfinite().logical_not().any().to(self.norm.dtype), self.norm.isfinite().logical_not()]
        )
        loss_wrong, gradient_wrong = (number > 0 for number in distributed.sum_over_processes(wrong).tolist())
        if loss_wrong:
            return "the loss is not finite"
        overflows = self.scaler.is_enabled() and self.scaler.get_scale() > SMALLEST_SCALE if gradient_wrong else False
        if gradient_wrong and not overflows:  # the scaler itself leaves out a step that overflows
            return f"the gradient is not finite: {shorten(self._wrong_gradients())}"
        return ""

    def _wrong_gradients(self) -> list[str]:
        named = self.task.named_parameters()
        wrong = [name for name, p in named if p.grad is not None and not p.grad.isfinite().all()]
        return wrong or ["its norm overflows"]

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.task.parameters() if parameter.requires_grad]


class _RunningStatistics:
    """The running statistics of batch norms during a step.

    Each micro batch starts from those before the step; after it, they are the mean over all micro batches.
    """

    def __init__(self, task: Task):
        norms = (m for m in task.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training)
        buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.buffers = [buffer for buffer in buffers if buffer.is_floating_point()]
        self.counters = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self.before = [buffer.clone() for buffer in (*self.buffers, *self.counters)]
        self.total: list[Tensor] = []

    def start(self) -> None:
        if self.total:
            self.restore()

    def add(self) -> None:
        if not self.total:
            self.total = [buffer.clone() for buffer in self.buffers]
        elif self.buffers:
            torch._foreach_add_(self.total, self.buffers)

    def average(self, micro_batches: int) -> None:
        """Sets the mean over the micro batches of all processes."""
        count = micro_batches * distributed.world_size()
        if count == 1 or not self.buffers:
            return
        flat = distributed.sum_over_processes(torch.cat([total.flatten() for total in self.total])) / count
        for buffer, mean in zip(self.buffers, flat.split([b.numel() for b in self.buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))

    def restore(self) -> None:
        for buffer, value in zip((*self.buffers, *self.counters), self.before, strict=True):
            buffer.copy_(value)


def _means(values: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the mean of every name over the micro batches in which it was logged."""
    if len(values) == 1:
        return values[0]
    names = dict.fromkeys(name for each in values for name in each)
    return {name: torch.stack([each[name].float() for each in values if name in each]).mean() for name in names}


def _wrap(task: Task, device: torch.device) -> nn.Module:
    """Returns the task, or its distributed wrapper if there are several processes."""
    if distributed.world_size() == 1:
        return task
    # The gradients of the last 1x1 convolutions have another memory order than the weights. They are a few numbers: the
    # copy costs nothing, and each process would warn of it.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(task, device_ids=[device.index] if device.type == "cuda" else None)


def micro_batches(iterator: Iterator[Sample], count: int) -> list[Sample]:
    """Returns the next `count` batches of an iterator, or fewer at its end."""
    return [sample for _, sample in zip(range(count), iterator, strict=False)]
