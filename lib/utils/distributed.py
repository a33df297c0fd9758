"""Wrappers around torch.distributed that also work in a single process without a process group."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> None:
    """Joins the process group described by the environment variables of torchrun, if they are set."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leaves the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Returns the index of this process, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Returns the number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Returns whether this is the process that writes files and logs."""
    return rank() == 0


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Sums a tensor of any shape over all processes, in place, and returns it. Does nothing without a process group."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor
