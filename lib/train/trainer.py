"""The training loop: epochs, AMP, gradient clipping, validation, checkpoints, exact resume."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.data.loader import batches, is_dead_worker
from lib.structures import MODALITIES, Sample, to_device
from lib.train.checkpoint import CheckpointFolder
from lib.train.logger import RunLogger
from lib.train.tasks import Task
from lib.utils import distributed
from lib.utils.cli import StopRequest
from lib.utils.files import write_text
from lib.utils.misc import seed_step

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerOptions:
    """Options of the training loop, in epochs and steps; see the TRAIN keys with the same names."""

    epochs: int
    seed: int
    amp: bool = False
    amp_dtype: str = "bfloat16"
    grad_clip_norm: float = 0.0  # largest norm of the gradient; 0: no clipping
    print_interval: int = 50  # steps
    val_epoch_interval: int = 1  # epochs


class Trainer:
    """Trains a task. Any error, e.g. a loss that is not finite or an unreadable image, ends the training.

    The random numbers of a step are a function of (seed, step, process), and samples are a function of (seed, epoch,
    index). On a CPU, a resumed run is therefore bit-identical to an uninterrupted run, also within an epoch.
    """

    def __init__(
        self,
        task: Task,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        train_loader: DataLoader,
        val_loader: DataLoader | None,
        checkpoints: CheckpointFolder,
        run_logger: RunLogger,
        options: TrainerOptions,
        device: torch.device,
        config: dict[str, Any],
        proxies: dict[str, DataLoader] | None = None,
    ):
        self.task = task
        self.optimizer, self.scheduler = optimizer, scheduler
        self.train_loader, self.val_loader, self.proxies = train_loader, val_loader, proxies or {}
        self.checkpoints, self.run_logger = checkpoints, run_logger
        self.options, self.device, self.config = options, device, config
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp and options.amp_dtype == "float16")
        self.parallel = _wrap(task, device)
        self.steps_per_epoch = len(train_loader)
        self.epoch = 0  # finished epochs
        self.step = 0  # finished steps of the epoch in progress
        self.stop = StopRequest()

    def fit(self) -> None:
        """Trains until the last epoch.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the message names the saved checkpoint.
            FloatingPointError: the loss or the gradient is not finite.
            ChildProcessError: a data loading process was killed; the message names the saved checkpoint.
        """
        # Several processes would stop at different steps and wait for each other; they therefore stop immediately.
        stop = self.stop if distributed.world_size() == 1 else contextlib.nullcontext()
        with stop, logging_redirect_tqdm():
            try:
                self._fit_epochs()
            except RuntimeError as error:
                if not is_dead_worker(error):
                    raise
                if self.stop.requested:  # SIGTERM to the process group ends the workers too
                    raise KeyboardInterrupt(self._keep()) from error
                raise ChildProcessError(
                    f"a data loading process was killed (out of memory, or of space in /dev/shm?); {self._keep()}"
                ) from error

    def _fit_epochs(self) -> None:
        while self.epoch < self.options.epochs:
            self._train_epoch()
            self.epoch, self.step = self.epoch + 1, 0
            if distributed.is_main():
                self.checkpoints.save(self.state(), self.epoch)
            if self.epoch % self.options.val_epoch_interval == 0 or self.epoch == self.options.epochs:
                self.validate()

    def _train_epoch(self) -> None:
        self.parallel.train()
        batch_size = self.train_loader.batch_size
        self.train_loader.sampler.set_epoch(self.epoch + 1, start=self.step * batch_size)
        meter = _Meter()
        total = self.options.epochs * self.steps_per_epoch
        done = self.epoch * self.steps_per_epoch + self.step
        bar = tqdm(total=total, initial=done, unit="step", disable=None if distributed.is_main() else True, leave=False)
        with bar:
            for sample in batches(self.train_loader):
                values = self._train_step(to_device(sample, self.device), self._global_step())
                self.step += 1
                meter.add(values)
                bar.update()
                if self.step % self.options.print_interval == 0 or self.step == self.steps_per_epoch:
                    self._report(meter, bar)
                    meter = _Meter()
                if self.stop.requested:
                    self._stop()

    def _train_step(self, sample: Sample, global_step: int) -> dict[str, Tensor]:
        seed_step(self.options.seed, global_step, distributed.rank())
        with self._autocast():
            terms, logs = self.parallel(sample, global_step / (self.options.epochs * self.steps_per_epoch))
            loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {value.item():g}" for name, value in terms.items())
            raise FloatingPointError(f"epoch {self.epoch + 1}, step {self.step + 1}: the loss is not finite: {values}")
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.options.grad_clip_norm:
            self.scaler.unscale_(self.optimizer)
            parameters = [p for p in self.task.parameters() if p.requires_grad]
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.options.grad_clip_norm)
            if not self.scaler.is_enabled() and not torch.isfinite(norm):  # the scaler skips such steps
                raise FloatingPointError(f"epoch {self.epoch + 1}, step {self.step + 1}: the gradient is not finite")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.task.after_step()
        return {"loss": loss.detach(), **{k: v.detach() for k, v in terms.items()}, **logs}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Logs and returns the means of `Task.evaluate` over the held-out samples, e.g. {'rgbt/iou': 0.61}.

        Means over each data set of DATA.PROXY follow, e.g. {'Drones_val/iou': 0.52}.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
            OSError: validation.json cannot be written.
        """
        if self.val_loader is None:
            return {}
        self.task.eval()
        means = {}
        for name, (count, sums) in zip(MODALITIES, self._evaluate(self.val_loader), strict=True):
            means.update({f"{name}/{key}": value / count for key, value in sums.items() if count})
        for name, loader in self.proxies.items():
            counts, sums = zip(*self._evaluate(loader), strict=True)
            means.update({f"{name}/{key}": sum(s[key] for s in sums) / sum(counts) for key in sums[0]})
        self.run_logger.scalars({f"val/{name}": value for name, value in means.items()}, self._global_step())
        record = self.checkpoints.path / "validation.json"
        if distributed.is_main():
            write_text(record, json.dumps({"epoch": self.epoch, **means}, indent=1))
        logger.info("epoch %d validation: %s", self.epoch, ", ".join(f"{k} {v:.4f}" for k, v in means.items()))
        return means

    def _evaluate(self, loader: DataLoader) -> list[tuple[float, dict[str, float]]]:
        """Returns for each modality the number of samples, and the sums of the values of `Task.evaluate` by name."""
        sums: dict[str, Tensor] = {}
        for sample in loader:
            sample = to_device(sample, self.device)
            with self._autocast():
                values = self.task.evaluate(sample)
            onehot = torch.nn.functional.one_hot(sample.modality, len(MODALITIES)).float()
            for key, value in {"count": torch.ones_like(sample.search_box[:, 0]), **values}.items():
                sums[key] = sums.get(key, 0) + value.float() @ onehot
            if self.stop.requested:
                self._stop()
        rows = torch.stack([distributed.sum_over_processes(value) for value in sums.values()], dim=1).tolist()
        return [(count, dict(zip(list(sums)[1:], values, strict=True))) for count, *values in rows]

    def state(self) -> dict[str, Any]:
        """Returns the complete training state, as tensors and plain values."""
        return {
            "net": self.task.model.state_dict(),
            "task": self.task.own_state(),
            "modalities": list(MODALITIES),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "world_size": distributed.world_size(),
            "config": self.config,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores a state of `state()` from a run with the same model and number of steps per epoch.

        Raises:
            RuntimeError: the state does not fit the model.
        """
        self.task.restore(state["net"], state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]

    def _global_step(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step

    def _autocast(self) -> torch.autocast:
        dtype = getattr(torch, self.options.amp_dtype)
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.options.amp)

    def _report(self, meter: _Meter, bar: tqdm) -> None:
        values = meter.means()
        rate = self.train_loader.batch_size * distributed.world_size() / meter.seconds_per_step()
        remaining = (self.options.epochs * self.steps_per_epoch - self._global_step()) * meter.seconds_per_step()
        bar.set_postfix({name: f"{values[name]:.3f}" for name in ("loss", "iou") if name in values})
        logger.info(
            "epoch %d/%d step %d/%d: %s, lr %.2e, %.1f samples/s, %s left",
            self.epoch + 1,
            self.options.epochs,
            self.step,
            self.steps_per_epoch,
            ", ".join(f"{name} {value:.4f}" for name, value in values.items() if "/" not in name),  # others: curves
            self.optimizer.param_groups[0]["lr"],
            rate,
            tqdm.format_interval(math.ceil(remaining)),
        )
        curves = {f"train/{name}": value for name, value in values.items()}
        self.run_logger.scalars({**curves, "train/lr": self.optimizer.param_groups[0]["lr"]}, self._global_step())

    def _stop(self) -> None:
        raise KeyboardInterrupt(self._keep())

    def _keep(self) -> str:
        """Saves the state between two steps; says where it is."""
        if self.step == self.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        if distributed.is_main() and self.step:
            self.checkpoints.save_interrupted(self.state())
        elif distributed.is_main() and self.epoch:
            self.checkpoints.save(self.state(), self.epoch)
        path = self.checkpoints.latest()
        return f"kept {path}; continue with --resume" if path else "nothing was trained yet, start again"


class _Meter:
    """Means of the logged tensors since the last report. Tensors stay on the device until `means` is called."""

    def __init__(self):
        self.values: list[dict[str, Tensor]] = []
        self.start = time.perf_counter()

    def add(self, values: dict[str, Tensor]) -> None:
        self.values.append(values)

    def means(self) -> dict[str, float]:
        """Returns the mean of every name over the steps in which it was logged."""
        names = dict.fromkeys(name for values in self.values for name in values)
        return {n: torch.stack([v[n].float() for v in self.values if n in v]).mean().item() for n in names}

    def seconds_per_step(self) -> float:
        return (time.perf_counter() - self.start) / len(self.values)


def _wrap(task: Task, device: torch.device) -> torch.nn.Module:
    """Returns the task, or its distributed wrapper if there are several processes."""
    if distributed.world_size() == 1:
        return task
    return DistributedDataParallel(task, device_ids=[device.index] if device.type == "cuda" else None)
