"""Training in several processes of one machine, each with a record of what it did."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


def run_processes(function, folder: Path, count: int, *arguments, seconds: float = 150) -> list:
    """Calls function(folder, *arguments) in `count` processes that form a group; returns their results, by rank."""
    folder.mkdir(parents=True, exist_ok=True)
    group = folder / f"group{time.monotonic_ns()}"
    context = multiprocessing.get_context("forkserver")
    processes = [
        context.Process(target=_run, args=(function, folder, group, rank, count, arguments)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + seconds
    try:
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        hanging = [process for process in processes if process.is_alive()]
        for process in hanging:
            process.kill()
            process.join()
    assert not hanging, f"{len(hanging)} processes hang"
    errors = [path.read_text() for path in folder.glob(f"{group.name}.*.error")]
    errors.sort(key=lambda text: "Connection closed" in text)  # these follow from another one
    codes = [process.exitcode for process in processes]
    assert not errors and not any(codes), f"{codes}: {errors[:1]}"
    return [torch.load(f"{group}.{rank}", weights_only=True) for rank in range(count)]


def _run(function, folder: Path, group: Path, rank: int, count: int, arguments: tuple) -> None:
    torch.set_num_threads(1)
    if count > 1:
        timeout = timedelta(seconds=100)
        dist.init_process_group("gloo", init_method=f"file://{group}", rank=rank, world_size=count, timeout=timeout)
    with contextlib.ExitStack() as at_error:
        at_error.callback(lambda: (Path(f"{group}.{rank}.error").write_text(traceback.format_exc()), os._exit(1)))
        result = function(folder, *arguments)
        at_error.pop_all()
    torch.save(result, f"{group}.{rank}")
    if count > 1:
        dist.destroy_process_group()
