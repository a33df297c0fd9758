"""Parameter groups, optimizer, schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

NEW_MODULES = ("model.head.", "model.fusion.")  # what of the model is trained at the full learning rate

OPTIMIZERS = {"ADAMW": AdamW}


def build_optimizer(cfg, task: nn.Module) -> Optimizer:
    """Two groups: head, fusion and a task's helpers at TRAIN.LR, the backbone at TRAIN.LR * TRAIN.BACKBONE_MULTIPLIER.

    Raises:
        ValueError: TRAIN.FREEZE leaves nothing to train.
    """
    trained = [(name, p) for name, p in task.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError("TRAIN.FREEZE leaves no parameter to train")
    backbone = [p for name, p in trained if name.startswith("model.") and not name.startswith(NEW_MODULES)]
    new = [p for name, p in trained if not name.startswith("model.") or name.startswith(NEW_MODULES)]
    groups = [
        {"params": new, "lr": cfg.TRAIN.LR, "name": "new"},
        {"params": backbone, "lr": cfg.TRAIN.LR * cfg.TRAIN.BACKBONE_MULTIPLIER, "name": "backbone"},
    ]
    kept = [group for group in groups if group["params"]]
    return OPTIMIZERS[cfg.TRAIN.OPTIMIZER](kept, lr=cfg.TRAIN.LR, weight_decay=cfg.TRAIN.WEIGHT_DECAY, fused=True)


def build_scheduler(cfg, optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """A schedule that is advanced after every step."""
    factor = schedule(
        cfg.TRAIN.SCHEDULER.TYPE,
        total=cfg.TRAIN.EPOCH * steps_per_epoch,
        warmup=cfg.TRAIN.SCHEDULER.WARMUP_STEPS,
        drop=cfg.TRAIN.LR_DROP_EPOCH * steps_per_epoch,
        decay=cfg.TRAIN.SCHEDULER.DECAY_RATE,
    )
    return LambdaLR(optimizer, factor)


def schedule(kind: str, total: int, warmup: int, drop: int, decay: float) -> Callable[[int], float]:
    """Factor on the learning rate at each step (all arguments in steps).

    "step": 1 until `drop`, then `decay`. "cosine": from 1 to `decay` over the whole training. Both start with a linear
    warm-up.
    """

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if kind == "step":
            return warm * (1.0 if step < drop else decay)
        done = min(1.0, step / max(1, total))
        return warm * (decay + (1 - decay) * (1 + math.cos(math.pi * done)) / 2)

    return factor
