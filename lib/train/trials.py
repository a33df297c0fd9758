"""Trials before a long run: a few steps to measure what it needs; training on one batch until the loss is near 0."""

from __future__ import annotations

import shutil
import time
from itertools import islice
from pathlib import Path

import torch

from lib.data.loader import batches
from lib.structures import to_device
from lib.train.replay import describe_terms
from lib.train.step import micro_batches
from lib.train.trainer import Trainer
from lib.utils import distributed
from lib.utils.misc import count_parameters, peak_memory
from lib.utils.texts import describe_bytes, describe_seconds

WARM_UP, MEASURED = 2, 4  # steps of a dry run; the first ones start the workers and choose kernels
VALIDATED = 2  # batches of a validation that a dry run measures
NEAR_ZERO = 0.1  # largest share of the first loss that is left after training on one batch


def dry_run(trainer: Trainer, save_dir: str | Path) -> str:
    """Runs a few steps and a part of a validation, and returns what the whole run needs, as lines of text.

    All processes must call it. The trainer's checkpoint folder gets one file.

    Args:
        save_dir: folder on the disk of the real run, for its free space.

    Raises:
        FloatingPointError: a loss or a gradient is not finite.
    """
    step, waiting, loss = _measure_steps(trainer)
    validation = _measure_validation(trainer)
    start = time.perf_counter()
    size = trainer.checkpoints.save_interrupted(trainer.state()).stat().st_size if distributed.is_main() else 0
    saving = time.perf_counter() - start
    options, plan = trainer.options, trainer.plan
    steps = options.epochs * plan.steps
    validations = -(-options.epochs // options.val_epoch_interval) if validation else 0
    total = steps * step + validations * validation + options.epochs * saving
    kept = kept_checkpoints(options.epochs, trainer.checkpoints.keep_every) + (1 if validations else 0)
    used, available = peak_memory(trainer.device)
    free = shutil.disk_usage(next(p for p in Path(save_dir).absolute().parents if p.is_dir())).free
    lines = {
        "parameters": f"{count_parameters(trainer.task.model) / 1e6:.3f} M trainable, on {trainer.device}",
        "batches": plan.describe(),
        "memory": f"{describe_bytes(used)} at most of {describe_bytes(available)}, of one process",
        "step": f"{step:.3f} s, {waiting:.3f} s of it waiting for data; {plan.batch / step:.1f} samples/s",
        "whole run": f"{describe_seconds(total)} = {steps} steps, {validations} validations of "
        f"{describe_seconds(validation)}, {options.epochs} checkpoints",
        "disk": f"{describe_bytes(kept * size)} = {kept} checkpoints of {describe_bytes(size)}; "
        f"{describe_bytes(free)} free",
        "loss": f"{loss:.4f} after {WARM_UP + MEASURED} steps",
    }
    return "\n".join(f"{name:11} {text}" for name, text in lines.items())


def overfit_one_batch(trainer: Trainer, steps: int) -> str:
    """Trains on the first batch, over and over with the same random numbers, and returns how the loss fell, one line.

    Args:
        trainer: of a run of so many steps, see `lib.train.run.rehearse`.
        steps: number of optimizer steps.

    Raises:
        FloatingPointError: a loss or a gradient is not finite.
        ValueError: more than NEAR_ZERO of the loss is left: the network, the labels or the learning rate are wrong.
    """
    trainer.task.train()
    trainer.train_loader.batch_sampler.set_epoch(1)
    samples = micro_batches(batches(trainer.train_loader), trainer.plan.accumulation)
    first, last = None, {}
    for _ in range(steps):
        last = _run(trainer, samples)
        first = last if first is None else first
    losses = [distributed.sum_over_processes(values["loss"].clone()).item() for values in (first, last)]
    before, after = (loss / distributed.world_size() for loss in losses)
    terms = ", ".join(f"{name} {value.item():.4f}" for name, value in last.items() if "/" not in name)
    text = f"one batch of {trainer.plan.batch} samples, {steps} steps: loss {before:.4f} → {after:.4f} ({terms})"
    if after > NEAR_ZERO * before:
        raise ValueError(
            f"{text}; expected at most {NEAR_ZERO * before:.4f}: take more steps or another TRAIN.LR, or look for an "
            "error in the labels or the network"
        )
    return text


def kept_checkpoints(epochs: int, keep_every: int) -> int:
    """Returns the number of epochs whose checkpoints are on the disk at the end of a run, see `CheckpointFolder`."""
    return len({epoch for epoch in range(1, epochs + 1) if epoch % keep_every == 0 or epoch > epochs - 2})


def _measure_steps(trainer: Trainer) -> tuple[float, float, float]:
    """Returns the duration of a step and the part of it that waits for data, seconds, and the last loss."""
    trainer.task.train()
    trainer.train_loader.batch_sampler.set_epoch(1)
    loaded, marks, waiting, values = batches(trainer.train_loader), [], [], {}
    for _ in range(WARM_UP + MEASURED):
        marks.append(_now(trainer.device))
        samples = micro_batches(loaded, trainer.plan.accumulation)
        if len(samples) < trainer.plan.accumulation:  # a short epoch begins again
            trainer.train_loader.batch_sampler.set_epoch(1)
            loaded = batches(trainer.train_loader)
            samples = micro_batches(loaded, trainer.plan.accumulation)
        waiting.append(time.perf_counter() - marks[-1])
        values = _run(trainer, samples)
    marks.append(_now(trainer.device))
    duration = (marks[-1] - marks[WARM_UP]) / MEASURED
    return duration, sum(waiting[WARM_UP:]) / MEASURED, values["loss"].item()


@torch.no_grad()
def _measure_validation(trainer: Trainer) -> float:
    """Returns the expected duration of a validation, seconds; 0 if there is none."""
    trainer.task.eval()
    total = 0.0
    for loader in filter(None, (trainer.val_loader, *trainer.proxies.values())):
        start, count = _now(trainer.device), 0
        for sample in islice(batches(loader), VALIDATED):
            with trainer.optimizer_step.autocast():
                trainer.task.evaluate(to_device(sample, trainer.device))
            count += 1
        total += (_now(trainer.device) - start) / max(count, 1) * loader.batch_sampler.rounds
    return total


def _run(trainer: Trainer, samples: list) -> dict[str, torch.Tensor]:
    outcome = trainer.optimizer_step.run(samples, 0, 0.0)
    if outcome.problem:
        raise FloatingPointError(f"{outcome.problem}: {describe_terms(outcome.terms)}")
    return outcome.values


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
