"""How the samples of an epoch are divided: into global batches, and these into the micro batches of the processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch.utils.data import Sampler

from lib.data.sampler import SampleKey


class BatchPlan(NamedTuple):
    """Division of a global batch. One optimizer step takes `batch` samples, whatever the number of processes."""

    batch: int  # samples of one optimizer step, over all processes
    micro: int  # samples that one process holds at once
    processes: int
    steps: int  # optimizer steps of an epoch

    @property
    def accumulation(self) -> int:
        """Number of micro batches of each process whose gradients are added before the optimizer step."""
        return self.batch // (self.micro * self.processes)

    def describe(self) -> str:
        """Returns the plan as a line of a log."""
        return (
            f"{self.batch} samples per step = {self.processes} processes x {self.micro} per micro batch x "
            f"{self.accumulation} accumulated; {self.steps} steps and {self.steps * self.batch} samples per epoch"
        )


def plan_batches(batch: int, micro: int, samples: int, processes: int) -> BatchPlan:
    """Returns the division of an epoch.

    Args:
        batch: TRAIN.BATCH_SIZE, samples of one optimizer step. If an epoch has fewer, the batch is as large as that.
        micro: TRAIN.MICRO_BATCH, samples that one process holds at once; 0: its whole share of the batch.
        samples: samples of an epoch.
        processes: number of processes.

    Raises:
        ValueError: the batch cannot be divided among the processes or into the micro batches.
    """
    if samples < processes:
        raise ValueError(
            f"DATA.TRAIN.SAMPLE_PER_EPOCH {samples}: expected at least one for each of {processes} processes"
        )
    if samples < batch:  # the caller reports it
        share = samples // processes
        fitting = max(n for n in range(1, min(micro or share, share) + 1) if share % n == 0)
        return BatchPlan(share * processes, fitting, processes, steps=1)
    if batch % processes:
        raise ValueError(
            f"TRAIN.BATCH_SIZE {batch} cannot be shared by {processes} processes; set a multiple of {processes}"
        )
    share = batch // processes
    size = min(micro or share, share)
    if share % size:
        raise ValueError(
            f"TRAIN.MICRO_BATCH {micro} does not divide the {share} samples of TRAIN.BATCH_SIZE {batch} that each of "
            f"{processes} processes takes; set a divisor of {share}"
        )
    return BatchPlan(batch, size, processes, samples // batch)


class MicroBatches(Sampler[list[SampleKey]]):
    """Yields this process's micro batches of an epoch, so that workers need no state. Call `set_epoch` first.

    The samples of an epoch are numbered, and neighbours form a micro batch. Process r of W takes the micro batches r,
    r + W, … . The order of the samples over all processes therefore does not depend on the number of processes.

    Args:
        length: samples of the epoch, over all processes. The last micro batch may be smaller.
        size: samples of a micro batch.
        rank, world_size: this process and the number of processes.
        repeat: every epoch has the keys of the first.
        plan: in training, the division that `length` and `size` are from.
    """

    def __init__(
        self,
        length: int,
        size: int,
        rank: int = 0,
        world_size: int = 1,
        repeat: bool = False,
        plan: BatchPlan | None = None,
    ):
        self.length, self.size = length, size
        self.rank, self.world_size = rank, world_size
        self.repeat, self.plan = repeat, plan
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Selects the epoch. `start`: samples of all processes to skip, a multiple of size * world_size."""
        self.epoch, self.start = epoch, start

    @property
    def rounds(self) -> int:
        """The largest number of micro batches that a process takes."""
        return -(-(self.length - self.start) // (self.size * self.world_size))

    def __len__(self) -> int:
        return len(range(self.start + self.rank * self.size, self.length, self.size * self.world_size))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(self.start + self.rank * self.size, self.length, self.size * self.world_size):
            yield self.keys(first, min(first + self.size, self.length))

    def keys(self, first: int, end: int) -> list[SampleKey]:
        """Returns the keys of the samples with the numbers `first` to `end`, without `end`, of this epoch."""
        return [SampleKey(1 if self.repeat else self.epoch, index) for index in range(first, end)]
