"""Devices, seeds, counts."""

from __future__ import annotations

import os

import torch
from torch import nn


def pick_device(name: str = "") -> torch.device:
    """`name`, or this process's GPU, or the CPU. Raises ValueError for a device that is not there."""
    if name == "cuda" or (not name and torch.cuda.is_available()):
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    name = name or "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def seed_step(*numbers: int) -> None:
    """Makes torch's random numbers a function of `numbers` (seed, step, rank), so that no generator need be saved."""
    value = 0
    for number in numbers:
        value = (value * 1_000_003 + number + 0x9E3779B9) % (1 << 63)
    torch.manual_seed(value)


def available_cores() -> int:
    """Processor cores that this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_parameters(model: nn.Module, trainable: bool = True) -> int:
    """Scalars in a model's parameters, by default only those that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
