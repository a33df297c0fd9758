"""The optimizer with its parameter groups, and the learning rate schedule."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lib.config.schema import OPTIMIZERS
from lib.train.tasks import Task

logger = logging.getLogger(__name__)

FREE = "/no_decay"  # end of the name of a group without weight decay


def build_optimizer(cfg, task: Task) -> Optimizer:
    """Returns the optimizer of all trainable parameters, with the groups of `PairNetwork.parameter_groups`.

    "backbone" is trained at TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER; "gates" at TRAIN.LR * TRAIN.GATE_MULTIPLIER, without
    weight decay; all other parameters of the task at TRAIN.LR. In each of the others, parameters that are no matrices
    (see `undecayed`) have a group of their own, "new/no_decay" and "backbone/no_decay", without weight decay.

    Raises:
        ValueError: TRAIN.FREEZE leaves no parameter to train, or the model names an unknown group.
    """
    train = cfg.TRAIN
    rates = {"new": 1.0, "backbone": train.BACKBONE_MULTIPLIER, "gates": train.GATE_MULTIPLIER}
    kept = [
        {
            "params": parameters,
            "lr": train.LR * rates[name.removesuffix(FREE)],
            "weight_decay": 0.0 if name == "gates" or name.endswith(FREE) else train.WEIGHT_DECAY,
            "name": name,
        }
        for name, parameters in divide(task).items()
    ]
    return OPTIMIZERS[train.OPTIMIZER](kept, lr=train.LR, fused=True)


def divide(task: Task) -> dict[str, list[nn.Parameter]]:
    """Returns the trainable parameters by the names of their groups. Raises ValueError as `build_optimizer`."""
    free, groups = undecayed(task), {}
    for name, parameters in _divide_by_rate(task).items():
        groups[name] = [p for p in parameters if name == "gates" or id(p) not in free]
        groups[name + FREE] = [p for p in parameters if name != "gates" and id(p) in free]
    return {name: parameters for name, parameters in groups.items() if parameters}


def _divide_by_rate(task: Task) -> dict[str, list[nn.Parameter]]:
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
    return groups


def undecayed(task: Task) -> set[int]:
    """Returns the ids of the parameters without weight decay.

    These are vectors (biases, norms, gates) and those that a module names in `no_weight_decay()`, timm's convention:
    positions, embeddings, mask vectors. A pull towards zero has no meaning for them.
    """
    found = {id(parameter) for parameter in task.parameters() if parameter.ndim <= 1}
    for module in task.modules():
        for name in getattr(module, "no_weight_decay", tuple)():
            found.add(id(module.get_parameter(name)))
    return found


def load_optimizer_state(optimizer: Optimizer, scheduler: LRScheduler, task: Task, state: dict[str, Any]) -> None:
    """Loads "optimizer" and "scheduler" of a training state; older ones have weight decay for all parameters.

    Raises:
        ValueError: the state has other parameters.
    """
    saved = state["optimizer"]
    if [group.get("name") for group in saved["param_groups"]] != [group["name"] for group in optimizer.param_groups]:
        saved = _with_current_groups(saved, optimizer, task)
        logger.warning(
            "the optimizer's state is of a version that decayed norms, biases and positions as well; they are not "
            "decayed from here on"
        )
    optimizer.load_state_dict(saved)
    rates = [group["lr"] for group in optimizer.param_groups]
    current = scheduler.state_dict()
    scheduler.load_state_dict({**state["scheduler"], "base_lrs": current["base_lrs"], "_last_lr": rates})


def _with_current_groups(saved: dict[str, Any], optimizer: Optimizer, task: Task) -> dict[str, Any]:
    """Returns the state of an optimizer with a group for each learning rate as one with the current groups."""
    before = {name: parameters for name, parameters in _divide_by_rate(task).items() if parameters}
    sizes = {group.get("name"): len(group["params"]) for group in saved["param_groups"]}
    if sizes != {name: len(parameters) for name, parameters in before.items()}:
        raise ValueError(f"the optimizer's state has the groups {sizes}, which do not fit; use --finetune")
    old_index = {id(p): number for number, p in enumerate(p for members in before.values() for p in members)}
    order = [old_index[id(p)] for group in optimizer.param_groups for p in group["params"]]
    states = {new: saved["state"][old] for new, old in enumerate(order) if old in saved["state"]}
    known = {group["name"]: group for group in saved["param_groups"]}
    groups = []
    for group in optimizer.state_dict()["param_groups"]:
        decay = {key: group[key] for key in ("name", "params", "weight_decay")}
        groups.append({**known[group["name"].removesuffix(FREE)], **decay})
    return {"state": states, "param_groups": groups}


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
