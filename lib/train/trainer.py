"""The training loop: epochs, validation, checkpoints, exact resume, preemption."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.data.loader import batches, is_dead_worker
from lib.models.weights.read import check_finite
from lib.structures import MODALITIES, Sample, to_device
from lib.train.checkpoint import CheckpointFolder
from lib.train.logger import RunLogger
from lib.train.optim import load_optimizer_state
from lib.train.pictures import sample_pictures
from lib.train.replay import describe_terms, write_replay
from lib.train.step import OptimizerStep, Outcome, StepOptions, micro_batches
from lib.train.tasks import Task
from lib.utils import distributed
from lib.utils.cli import PREEMPTION_SIGNALS, Preempted, StopRequest
from lib.utils.files import write_text
from lib.utils.misc import seed_step

logger = logging.getLogger(__name__)

GOES_ON, STOPS, WORKER_DIED = range(3)  # what the processes agree on before a step


@dataclass(frozen=True)
class TrainerOptions(StepOptions):
    """Options of the training loop, in epochs and steps; see the TRAIN keys with the same names."""

    epochs: int = 1
    skip_nonfinite: int = 0  # steps that are left out before the run stops
    print_interval: int = 50  # steps
    picture_interval: int = 0  # steps; 0: no pictures
    val_epoch_interval: int = 1  # epochs


class Trainer:
    """Trains a task. Any error, e.g. a loss that is not finite or an unreadable image, ends the training.

    Samples are a function of (seed, epoch, index), and the random numbers of a step of (seed, step, micro batch). On a
    CPU, a run that is resumed in one process is therefore bit-identical to an uninterrupted run, also within an epoch.
    With another number of processes, it goes on with the same samples in the same order.
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
        manifest: dict[str, Any] | None = None,
    ):
        self.task = task
        self.optimizer, self.scheduler = optimizer, scheduler
        self.train_loader, self.val_loader, self.proxies = train_loader, val_loader, proxies or {}
        self.checkpoints, self.run_logger = checkpoints, run_logger
        self.options, self.device, self.config = options, device, config
        self.manifest = manifest or {}
        self.optimizer_step = OptimizerStep(task, optimizer, scheduler, options, device)
        self.plan = train_loader.batch_sampler.plan
        self.steps_per_epoch = self.plan.steps
        self.epoch = 0  # finished epochs
        self.step = 0  # finished steps of the epoch in progress
        self.skipped = 0  # steps that were left out because they were not finite
        # torchrun repeats the signals of a scheduler, and kills the processes after 30 s: one is enough.
        self.stop = StopRequest(PREEMPTION_SIGNALS, repeated=distributed.world_size() == 1)

    def fit(self, until: int | None = None) -> None:
        """Trains until the last epoch. A validation that was interrupted is done first.

        Args:
            until: ends after this epoch, if it is not the last.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C; the message names the saved checkpoint.
            Preempted: the same, by SIGTERM or SIGUSR1.
            FloatingPointError: the loss or the gradient is not finite; replay.pt contains the step.
            ChildProcessError: a data loading process was killed; the message names the saved checkpoint.
        """
        logger.info("batches: %s", self.plan.describe())
        with self.stop, logging_redirect_tqdm():
            if self.step == 0 and self._is_due() and not self.checkpoints.is_validated(self.epoch):
                self.validate()
            while self.epoch < (until or self.options.epochs):
                self._train_epoch()
                self.epoch, self.step = self.epoch + 1, 0
                self._save()
                if self._is_due():
                    self.validate()

    def _is_due(self) -> bool:
        """Returns whether the finished epochs end with a validation."""
        return self.epoch > 0 and (
            self.epoch % self.options.val_epoch_interval == 0 or self.epoch == self.options.epochs
        )

    def _save(self) -> None:
        """Saves the state after an epoch. Raises FloatingPointError, and keeps older files, if it is not finite."""
        if not distributed.is_main():
            return
        state = self.state()
        try:
            for part in ("net", "ema"):
                check_finite(state.get(part, {}), f"epoch {self.epoch}, step {self.steps_per_epoch}")
        except ValueError as error:
            raise FloatingPointError(f"{str(error).partition(';')[0]}; the epoch is not saved") from error
        self.checkpoints.save(state, self.epoch)

    def _train_epoch(self) -> None:
        self.optimizer_step.parallel.train()
        self.train_loader.batch_sampler.set_epoch(self.epoch + 1, start=self.step * self.plan.batch)
        meter = _Meter()
        total = self.options.epochs * self.steps_per_epoch
        bar = tqdm(
            total=total,
            initial=self._global_step(),
            unit="step",
            disable=None if distributed.is_main() else True,
            leave=False,
        )
        loaded = batches(self.train_loader)
        with bar:
            while self.step < self.steps_per_epoch:
                started = time.perf_counter()
                samples = self._load(loaded, self.plan.accumulation)
                meter.waited += time.perf_counter() - started
                outcome = self._train_step(samples)
                self.step += 1
                if outcome.values:
                    meter.add({**outcome.values, "gradient_norm": self.optimizer_step.norm})
                bar.update()
                self._show(samples[0])
                if self.step % self.options.print_interval == 0 or self.step == self.steps_per_epoch:
                    self._report(meter, bar)
                    meter = _Meter()
                if self.stop.requested and distributed.world_size() == 1:
                    self._stop()

    def _load(self, loaded: Iterator[Sample], count: int) -> list[Sample]:
        """Returns the next `count` batches. All processes stop here if one of them must.

        Raises:
            KeyboardInterrupt, Preempted, ChildProcessError: see `fit`.
        """
        samples, died = [], None
        try:
            samples = micro_batches(loaded, count)
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            died = error
        # SIGTERM to the process group ends the workers too: this is a stop.
        own = STOPS if self.stop.requested else WORKER_DIED if died else GOES_ON
        if distributed.world_size() == 1 and not died:
            return samples
        agreed = distributed.highest_over_processes(own)
        if agreed == STOPS:
            self._stop()
        if agreed == WORKER_DIED:
            raise ChildProcessError(
                f"a data loading process was killed (out of memory, or of space in /dev/shm?); {self._keep()}"
            ) from died
        return samples

    def _train_step(self, samples: list[Sample]) -> Outcome:
        """Runs the next step, which is left out or ends the training if it is not finite."""
        step = self._global_step()
        progress = step / (self.options.epochs * self.steps_per_epoch)
        outcome = self.optimizer_step.run(samples, step, progress)
        if outcome.problem:
            terms = _in_order(distributed.gather_over_processes(outcome.terms))
            problem = f"epoch {self.epoch + 1}, step {self.step + 1}: {outcome.problem}: {describe_terms(terms)}"
            if self.skipped >= self.options.skip_nonfinite:
                raise FloatingPointError(problem + self._write_replay(samples, terms, step, progress, problem))
            self.skipped += 1
            if distributed.is_main():
                of = f"{self.skipped} of at most {self.options.skip_nonfinite}"
                logger.warning("%s; the step is left out (TRAIN.SKIP_NONFINITE: %s)", problem, of)
            self.optimizer_step.skip()
        return outcome

    def _write_replay(self, samples: list[Sample], terms: list, step: int, progress: float, problem: str) -> str:
        """Writes replay.pt; says how to use it. All processes must call it."""
        gathered = _in_order(distributed.gather_over_processes([to_device(sample, "cpu") for sample in samples]))
        path = self.checkpoints.path / "replay.pt"
        if distributed.is_main():
            first = self.step * self.plan.batch
            keys = self.train_loader.batch_sampler.keys(first, first + self.plan.batch)
            write_replay(
                path,
                gathered,
                state=self.state(),
                keys=[list(key) for key in keys],
                terms=terms,
                step=step,
                progress=progress,
                problem=problem,
            )
        return f"; to run this step again: tracking/train.py --replay {path}"

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Logs and returns the means of `Task.evaluate` over the held-out samples, e.g. {'rgbt/iou': 0.61}.

        Means over each data set of DATA.PROXY follow, e.g. {'Drones_val/iou': 0.52}. The best epoch so far is kept.

        Raises:
            KeyboardInterrupt, Preempted: stopped by Ctrl-C, or by SIGTERM or SIGUSR1.
            OSError: validation.json cannot be written.
        """
        if self.val_loader is None and not self.proxies:
            return {}
        self.task.eval()
        average = self.optimizer_step.average
        with average.applied() if average else contextlib.nullcontext():
            means = self._means_of_validation()
        self.run_logger.scalars({f"val/{name}": value for name, value in means.items()}, self._global_step())
        logger.info("epoch %d validation: %s", self.epoch, ", ".join(f"{k} {v:.4f}" for k, v in means.items()))
        if distributed.is_main():
            self._keep_best(means)
            write_text(self.checkpoints.validation, json.dumps({"epoch": self.epoch, **means}, indent=1))
        return means

    def _means_of_validation(self) -> dict[str, float]:
        means = {}
        found = self._evaluate(self.val_loader) if self.val_loader is not None else []
        for name, (count, sums) in zip(MODALITIES, found, strict=bool(found)):
            means.update({f"{name}/{key}": value / count for key, value in sums.items() if count})
        for name, loader in self.proxies.items():
            counts, sums = zip(*self._evaluate(loader), strict=True)
            means.update({f"{name}/{key}": sum(s[key] for s in sums) / sum(counts) for key in sums[0]})
        return means

    def _keep_best(self, means: dict[str, float]) -> None:
        """Keeps the checkpoint of this epoch apart if the mean of the task's metric over the modalities is the best."""
        metric = self.task.metric
        names = [f"{name}/{metric}" for name in (self.proxies if self.val_loader is None else MODALITIES)]
        values = [means[name] for name in names if name in means]
        if not values or self.epoch not in self.checkpoints.epochs():
            return
        value = sum(values) / len(values)
        if self.checkpoints.keep_best(self.epoch, metric, value, self.task.higher_is_better):
            logger.info("epoch %d is the best so far: %s %.4f", self.epoch, metric, value)

    def _evaluate(self, loader: DataLoader) -> list[tuple[float, dict[str, float]]]:
        """Returns for each modality the number of samples, and the sums of the values of `Task.evaluate` by name.

        The processes take turns, so that some may have a batch less than others, or none.
        """
        sums: dict[str, Tensor] = {}
        loaded = batches(loader)
        for number in range(loader.batch_sampler.rounds):
            for sample in self._load(loaded, 1):
                seed_step(self.options.seed, number, distributed.rank())  # CMAE draws masks
                sample = to_device(sample, self.device)
                with self.optimizer_step.autocast():
                    values = self.task.evaluate(sample)
                onehot = torch.nn.functional.one_hot(sample.modality, len(MODALITIES)).float()
                for key, value in {"count": torch.ones_like(sample.search_box[:, 0]), **values}.items():
                    sums[key] = sums.get(key, 0) + value.float() @ onehot
            if self.stop.requested and distributed.world_size() == 1:
                self._stop()
        names = max(distributed.gather_over_processes(list(sums)), key=len)
        zeros = torch.zeros(len(MODALITIES), device=self.device)  # of a process that had no batch
        rows = [distributed.sum_over_processes(sums.get(name, zeros.clone())) for name in names]
        found = torch.stack(rows, dim=1).tolist()
        return [(count, dict(zip(names[1:], values, strict=True))) for count, *values in found]

    def state(self) -> dict[str, Any]:
        """Returns the complete training state, as tensors and plain values."""
        return {
            "net": self.task.model.state_dict(),
            **(self.optimizer_step.average.state() if self.optimizer_step.average else {}),
            "task": self.task.own_state(),
            "modalities": list(MODALITIES),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.optimizer_step.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "skipped": self.skipped,
            "batch": self.plan.batch,
            "steps_per_epoch": self.steps_per_epoch,
            "world_size": distributed.world_size(),
            "config": self.config,
            "manifest": self.manifest,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores a state of `state()` from a run with the same model and number of steps per epoch.

        Raises:
            RuntimeError: the state does not fit the model.
        """
        self.task.restore(state["net"], state["task"])
        load_optimizer_state(self.optimizer, self.scheduler, self.task, state)
        self.optimizer_step.scaler.load_state_dict(state["scaler"])
        if self.optimizer_step.average:
            self.optimizer_step.average.load_state(state)
        self.epoch, self.step, self.skipped = state["epoch"], state["step"], state.get("skipped", 0)

    def _global_step(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step

    def _show(self, sample: Sample) -> None:
        """Adds pictures of samples every `picture_interval` steps, and at the first step."""
        interval, step = self.options.picture_interval, self._global_step()
        if interval and distributed.is_main() and (step == 1 or step % interval == 0):
            context = self.optimizer_step.autocast()
            self.run_logger.pictures(sample_pictures(self.task, sample, self.device, context), step)

    def _report(self, meter: _Meter, bar: tqdm) -> None:
        if not meter.values:
            return
        values, waiting = meter.means(), meter.waited / len(meter.values)
        rate = self.plan.batch / meter.seconds_per_step()
        remaining = (self.options.epochs * self.steps_per_epoch - self._global_step()) * meter.seconds_per_step()
        bar.set_postfix({name: f"{values[name]:.3f}" for name in ("loss", "iou") if name in values})
        logger.info(
            "epoch %d/%d step %d/%d: %s, lr %.2e, %.1f samples/s (%.0f %% waiting for data), %s left",
            self.epoch + 1,
            self.options.epochs,
            self.step,
            self.steps_per_epoch,
            ", ".join(f"{name} {value:.4f}" for name, value in values.items() if "/" not in name),  # others: curves
            self.optimizer.param_groups[0]["lr"],
            rate,
            100 * waiting / meter.seconds_per_step(),
            tqdm.format_interval(math.ceil(remaining)),
        )
        curves = {f"train/{name}": value for name, value in values.items()}
        curves["train/lr"] = self.optimizer.param_groups[0]["lr"]
        curves |= {f"lr/{group['name']}": group["lr"] for group in self.optimizer.param_groups}
        curves |= {"time/data": waiting, "time/compute": meter.seconds_per_step() - waiting}  # seconds per step
        self.run_logger.scalars(curves, self._global_step())

    def _stop(self) -> None:
        """Keeps the state and ends the training."""
        raise KeyboardInterrupt(self._keep()) if self.stop.number == signal.SIGINT else Preempted(self._keep())

    def _keep(self) -> str:
        """Saves the state between two steps; says where it is. All processes must call it."""
        if self.step == self.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        if distributed.is_main() and self.step:
            self.checkpoints.save_interrupted(self.state())
        elif self.epoch:
            self._save()
        distributed.highest_over_processes(0)  # no process ends before the file is complete
        path = self.checkpoints.latest()
        return f"kept {path}; continue with --resume" if path else "nothing was trained yet, start again"


class _Meter:
    """Means of the logged tensors since the last report. Tensors stay on the device until `means` is called."""

    def __init__(self):
        self.values: list[dict[str, Tensor]] = []
        self.start = time.perf_counter()
        self.waited = 0.0  # seconds in which the training waited for data

    def add(self, values: dict[str, Tensor]) -> None:
        self.values.append(values)

    def means(self) -> dict[str, float]:
        """Returns the mean of every name over the steps and processes in which it was logged. All must call it.

        The device is waited for once.
        """
        own = dict.fromkeys(name for values in self.values for name in values)
        names = list(dict.fromkeys(n for each in distributed.gather_over_processes(list(own)) for n in each))
        if not names:
            return {}
        found = [[v[name].float() for v in self.values if name in v] for name in names]
        zero = next(iter(self.values[0].values())).new_zeros((), dtype=torch.float32) if self.values else None
        sums = torch.stack([torch.stack(values).sum() if values else zero for values in found])
        counts = torch.tensor([len(values) for values in found], dtype=torch.float32).to(sums.device)
        total, count = distributed.sum_over_processes(torch.stack([sums, counts])).tolist()
        return {name: value / number for name, value, number in zip(names, total, count, strict=True)}

    def seconds_per_step(self) -> float:
        return (time.perf_counter() - self.start) / len(self.values)


def _in_order(found: list[list]) -> list:
    """Returns what each process has for its micro batches in the order of these in the global batch."""
    return [each for together in zip(*found, strict=True) for each in together]
