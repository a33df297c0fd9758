"""Wrappers around torch.distributed that also work in a single process without a process group."""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device, minutes: float = 30.0) -> None:
    """Joins the process group described by the environment variables of torchrun, if they are set.

    Args:
        device: of this process; it decides how tensors are exchanged.
        minutes: how long a process waits for the others before it ends with an error.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        timeout = timedelta(minutes=minutes)
        place = {}
        if restarts := int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
            # torchrun's store still has the addresses of the processes before the restart.
            store, number, count = next(dist.rendezvous("env://", timeout=timeout))
            place = {"store": dist.PrefixStore(f"restart{restarts}", store), "rank": number, "world_size": count}
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout, **place)
        if device.type == "cuda":
            _control_group(timeout)


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


def highest_over_processes(number: int) -> int:
    """Returns the largest number of all processes. All must call it. It does not wait for a GPU's work."""
    if not dist.is_initialized():
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=_control_group())
    return int(tensor)


def gather_over_processes(value: Any) -> list[Any]:
    """Returns the values of all processes, by rank: tensors on the CPU and plain values. All must call it."""
    if not dist.is_initialized():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value, group=_control_group())
    return found


def _control_group(timeout: timedelta | None = None) -> dist.ProcessGroup:
    """Returns a group of all processes that works on the CPU; NCCL's would make the CPU wait for the GPU.

    Args:
        timeout: for a group that does not exist yet, see `start`; None: torch's default.
    """
    if dist.get_backend() == "gloo":
        return dist.group.WORLD
    groups = _control_groups(dist.group.WORLD)
    if not groups:
        groups.append(dist.new_group(backend="gloo", timeout=timeout))
    return groups[0]


@functools.cache
def _control_groups(world: dist.ProcessGroup) -> list[dist.ProcessGroup]:
    """Returns where `_control_group` keeps the group that belongs to a process group."""
    return []
