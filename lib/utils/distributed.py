"""A few functions that do the sensible thing when nothing was launched."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> None:
    """Joins the process group that torchrun announced in the environment, if it did."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    return rank() == 0


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum over all processes; the tensor itself when there is one."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor
