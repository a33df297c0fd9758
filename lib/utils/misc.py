"""Devices, seeds, processor cores and parameter counts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import cv2
import torch
from torch import nn


def pick_device(name: str = "") -> torch.device:
    """Returns the device `name`, by default the GPU of this process or else the CPU.

    Makes a GPU the current device.

    Raises:
        ValueError: the device does not exist or cannot be used.
    """
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


def check_gpus(number: int) -> None:
    """Raises ValueError if this machine has fewer than `number` GPUs that torch can use."""
    if number > (found := torch.cuda.device_count()):
        raise ValueError(f"--num_gpus {number}: torch finds {found} GPUs on this machine; use a number up to {found}")


def seed_step(*numbers: int) -> None:
    """Seeds torch from `numbers` (seed, step, rank), so that checkpoints need not contain the state of a generator."""
    value = 0
    for number in numbers:
        value = (value * 1_000_003 + number + 0x9E3779B9) % (1 << 63)
    torch.manual_seed(value)


def available_cores() -> int:
    """Returns the number of processor cores that this process may use; in a container it can be less than the total."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Sets the number of threads that PyTorch and OpenCV use in this process."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def count_parameters(model: nn.Module, trainable: bool = True) -> int:
    """Returns the number of scalar parameters of a model, by default of trainable parameters only."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def peak_memory(device: torch.device) -> tuple[int, int]:
    """Returns the most memory that this process has held, and what the device has, bytes; 0 where it is unknown.

    On a GPU, it is what torch's tensors have occupied. On a CPU, it is all memory of the process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    with suppress(ImportError, ValueError, OSError):  # Windows has neither
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return peak, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0, 0
