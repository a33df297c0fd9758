"""The optimizer with its parameter groups, and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lib.config.schema import OPTIMIZERS
from lib.train.tasks import Task


def build_optimizer(cfg, task: Task) -> Optimizer:
    """Returns the optimizer of all trainable parameters, with the groups of `PairNetwork.parameter_groups`.

    "backbone" is trained at TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER; "gates" at TRAIN.LR * TRAIN.GATE_MULTIPLIER, without
    weight decay; all other parameters of the task at TRAIN.LR.

    Raises:
        ValueError: TRAIN.FREEZE leaves no parameter to train, or the model names an unknown group.
    """
    groups: dict[str, list[nn.Parameter]] = {"new": [], "backbone": [], "gates": []}
    named = task.model.parameter_groups()
    if unknown := sorted(named.keys() - groups.keys()):
        raise ValueError(f"parameter_groups() of the model names {unknown[0]}; expected {' or '.join(groups)}")
    group_of = {id(p): name for name, members in named.items() for p in members}
    for parameter in task.parameters():
        if parameter.requires_grad:
            groups[group_of.get(id(parameter), "new")].append(parameter)
    if not any(groups.values()):
        raise ValueError("TRAIN.FREEZE leaves no parameter to train")
    train = cfg.TRAIN
    rates = {"new": 1.0, "backbone": train.BACKBONE_MULTIPLIER, "gates": train.GATE_MULTIPLIER}
    kept = [
        {
            "params": parameters,
            "lr": train.LR * rates[name],
            "weight_decay": 0.0 if name == "gates" else train.WEIGHT_DECAY,
            "name": name,
        }
        for name, parameters in groups.items()
        if parameters
    ]
    return OPTIMIZERS[train.OPTIMIZER](kept, lr=train.LR, fused=True)


def build_scheduler(cfg, optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """Returns the learning rate schedule, which advances after every step."""
    factor = schedule(
        cfg.TRAIN.SCHEDULER.TYPE,
        total=cfg.TRAIN.EPOCH * steps_per_epoch,
        warmup=cfg.TRAIN.SCHEDULER.WARMUP_STEPS,
        drop=cfg.TRAIN.LR_DROP_EPOCH * steps_per_epoch,
        decay=cfg.TRAIN.SCHEDULER.DECAY_RATE,
    )
    return LambdaLR(optimizer, factor)


def schedule(kind: str, total: int, warmup: int, drop: int, decay: float) -> Callable[[int], float]:
    """Returns a function that maps a step, from 0, to the factor of the learning rate, in [0, 1].

    Args:
        kind: "step": 1 until `drop`, then `decay`; "cosine": from 1 to `decay` over `total` steps.
        total, warmup, drop: numbers of steps. Both kinds start with a linear warm-up over `warmup` steps.
        decay: factor at the end, in [0, 1].
    """

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if kind == "step":
            return warm * (1.0 if step < drop else decay)
        done = min(1.0, step / max(1, total))
        return warm * (decay + (1 - decay) * (1 + math.cos(math.pi * done)) / 2)

    return factor
