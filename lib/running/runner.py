"""Runs a tracker on sequences and writes result files. Skips finished sequences and lists failed ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.data.fingerprint import fingerprint
from lib.data.sequence import Sequence
from lib.results.raw import (
    DROP_SUFFIX,
    RESULT_SUFFIXES,
    add_to_record,
    read_boxes,
    read_numbers,
    read_record,
)
from lib.running.group import Job, check_batch, track_group
from lib.tracker.base import Tracker
from lib.utils.cli import StopRequest, start_worker, worker_context
from lib.utils.files import write_text
from lib.utils.locks import lock_folder
from lib.utils.manifest import FILE as MANIFEST
from lib.utils.manifest import describe_config, describe_run
from lib.utils.misc import available_cores, set_threads

logger = logging.getLogger(__name__)

MAX_WORKERS = 16  # by default: each takes several hundred megabytes
WORKERS_PER_GPU = 4  # by default: each has a CUDA context of its own
WORKER_FRAMES = 500  # by default, a worker has at least so many: to start one takes seconds


class Shard(NamedTuple):
    """The part of the sequences that one of several machines tracks, `--shard 2/3`."""

    number: int = 1  # from 1
    total: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parses "2/3", the second of three parts. Raises ValueError for another text."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"--shard {text}: expected I/N with 1 <= I <= N, e.g. 2/3")
        return cls(*map(int, match.groups()))

    def pick(self, sequences: list[Sequence]) -> list[Sequence]:
        """Returns every `total`-th sequence, because neighbours in a list are often alike in length."""
        return sequences[self.number - 1 :: self.total]


WHOLE = Shard()  # one part that contains all


@contextlib.contextmanager
def locked_results(folder: Path, shard: Shard) -> Iterator[None]:
    """Holds a result folder: for all sequences, or for one of several parts, while others hold the other parts.

    Raises:
        ValueError: another process tracks the same sequences.
        OSError: the folder cannot be written.
    """
    several = shard.total > 1
    part = lock_folder(folder, f"--shard {shard.number}/{shard.total}", f".shard-{shard.number}-of-{shard.total}.lock")
    with lock_folder(folder, "tracking", shared=several), part if several else contextlib.nullcontext():
        yield


def run_sequences(
    sequences: list[Sequence], job: Job, workers: int = 1, num_gpus: int = 0, shard: Shard = WHOLE
) -> dict[str, str]:
    """Tracks every sequence without a finished result. Returns the failed sequences, name → reason.

    Args:
        workers: number of processes; 1: this process.
        num_gpus: number of GPUs that the processes share; 0: CPU.
        shard: the part of `sequences` to track. Several processes may track different parts at the same time.

    Raises:
        KeyboardInterrupt: the run was stopped; finished sequences are kept.
        ValueError: the folder contains results with a different drop, another process tracks the same sequences, or
            the tracker cannot be made.
        OSError: the folder cannot be written.
    """
    with locked_results(job.folder, shard):
        return _run_locked(shard.pick(sequences), job, workers, num_gpus)


def _run_locked(sequences: list[Sequence], job: Job, workers: int, num_gpus: int) -> dict[str, str]:
    record = read_record(job.folder)
    manifest = {**describe_run(), "fingerprint": job.fingerprint, "data": fingerprint(sequences)}
    manifest |= describe_config(job.config) if job.config else {}
    _refuse_other_drops(record, job)
    todo = [s for s in sequences if not is_finished(s, job, record)]
    if len(todo) < len(sequences):
        logger.info(
            "%s: %d of %d sequences are finished already", job.folder, len(sequences) - len(todo), len(sequences)
        )
    for sequence in todo:  # so that no old result remains if this run is interrupted
        (job.folder / f"{sequence.name}.txt").unlink(missing_ok=True)
    if todo:
        write_text(job.folder / MANIFEST, json.dumps(manifest, indent=1))
    failed: dict[str, str] = {}
    bar = tqdm(total=sum(map(len, todo)), unit="frame", disable=None, leave=False)
    with logging_redirect_tqdm(), bar:
        for sequence, error in _track_all(todo, job, workers, num_gpus):
            bar.update(len(sequence))
            if error:
                failed[sequence.name] = error
                logger.error("%s failed: %s", sequence.name, error)
            else:
                add_to_record(job.folder, sequence.name, _entry(sequence, job))
    return failed


def _refuse_other_drops(record: dict, job: Job) -> None:
    others = sorted({entry.get("drop", "") for entry in record.values()} - {str(job.drop or "")})
    if others:
        stored, current = (f"drop {text}" if text else "no drop" for text in (others[0], str(job.drop or "")))
        raise ValueError(
            f"{job.folder} contains results with {stored}, got a run with {current}; change --name or remove them"
        )


def is_finished(sequence: Sequence, job: Job, record: dict) -> bool:
    """Returns whether all result files are complete and were made with the same settings and data.

    Args:
        record: content of the record in the result folder, see `read_record`.
    """
    if record.get(sequence.name) != _entry(sequence, job) or job.debug:
        return False
    try:
        path = job.folder / f"{sequence.name}.txt"
        boxes = read_boxes(path)
        scores = read_numbers(_companion_path(path, "_score"))
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            return False
        lengths = {
            len(boxes),
            *(len(read_numbers(_companion_path(path, suffix))) for suffix in RESULT_SUFFIXES),
        }
        if job.drop:
            codes = job.drop.schedule(sequence.name, len(sequence), sequence.first_visible)
            if not np.array_equal(read_numbers(_companion_path(path, DROP_SUFFIX)), codes):
                return False
        return lengths == {len(sequence)}
    except (ValueError, FileNotFoundError):
        return False


def _companion_path(path: Path, suffix: str) -> Path:
    return path.with_name(path.stem + suffix + path.suffix)


def _entry(sequence: Sequence, job: Job) -> dict[str, str]:
    """Returns what a result depends on: settings of the run, annotation and source of the data, drop."""
    data = hashlib.sha256(sequence.source.encode() + sequence.boxes_xywh.tobytes())
    entry = {"fingerprint": job.fingerprint, "data": data.hexdigest()[:16]}
    return {**entry, "drop": str(job.drop)} if job.drop else entry


def default_workers(sequences: list[Sequence], num_gpus: int, batch: int = 1) -> int:
    """Returns a number of worker processes with one thread each that uses the machine.

    Args:
        num_gpus: number of GPUs that they share; 0: CPU.
        batch: number of sequences that a worker tracks at the same time.
    """
    machine = min(available_cores(), WORKERS_PER_GPU * num_gpus if num_gpus else MAX_WORKERS)
    work = sum(map(len, sequences)) // WORKER_FRAMES
    return max(1, min(machine, work, len(sequences) // batch))


def _track_all(todo: list[Sequence], job: Job, workers: int, num_gpus: int) -> Iterator[tuple[Sequence, str]]:
    """Yields each sequence when it is done, with its error or ''. With one worker, tracks in this process."""
    groups = make_groups(todo, job.batch)
    workers = min(workers, len(groups))
    if workers <= 1:
        if todo:
            with one_thread():
                yield from _track_here(groups, job, num_gpus)
        return
    context = worker_context("torch", "timm.models.vision_transformer")  # modules that are slow to import
    stop, counter = context.Event(), context.Value("i", 0)
    arguments = (job, counter, num_gpus, stop)
    pool = ProcessPoolExecutor(workers, context, initializer=_Worker.start, initargs=arguments)
    with StopRequest() as request:  # an exception while processes start would block the pool
        try:
            futures = {pool.submit(_Worker.run, group): group for group in groups}
            pending = set(futures)
            while pending and not request.requested:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from zip(futures[future], _outcome(future, len(futures[future])), strict=True)
        finally:
            stop.set()  # the sequences in progress end at their next frame
            pool.shutdown(cancel_futures=True)
    if request.requested:
        raise KeyboardInterrupt("finished sequences are kept; run again to continue")


def _track_here(groups: list[list[Sequence]], job: Job, num_gpus: int) -> Iterator[tuple[Sequence, str]]:
    tracker = job.make_tracker(worker_device(0, num_gpus))
    check_batch(tracker, job.batch)
    for group in groups:
        yield from track_group(tracker, group, job)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limits PyTorch and OpenCV to one thread each, whatever the number of cores.

    A second one costs a core and hardly saves time in networks of this size; where another process uses that core, both
    wait for each other, and a frame takes up to twenty times as long. More workers, or more sequences in a batch, use
    the other cores.
    """
    before = torch.get_num_threads(), cv2.getNumThreads()
    set_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def make_groups(sequences: list[Sequence], size: int) -> list[list[Sequence]]:
    """Returns groups of at most `size` sequences that are tracked together, alike in length, the longest first."""
    if size > 1:
        sequences = sorted(sequences, key=lambda sequence: (-len(sequence), sequence.name))
    return [sequences[start : start + size] for start in range(0, len(sequences), size)]


def _outcome(future, count: int) -> list[str]:
    """Returns the error or "" of each of the `count` sequences of a group."""
    try:
        return future.result()
    except BrokenProcessPool:
        return ["a worker process died or could not start (out of memory? see above); run again to continue"] * count


def worker_device(index: int, num_gpus: int) -> str:
    """Returns the device of worker process `index`, from 0: the GPUs in turn, or "cpu" if there is no GPU."""
    return f"cuda:{index % num_gpus}" if num_gpus else "cpu"


class _Worker:
    """State of a worker process. The tracker is built once per process."""

    job: Job
    tracker: Tracker
    stop = None

    @classmethod
    def start(cls, job: Job, counter, num_gpus: int, stop) -> None:
        start_worker()
        with counter.get_lock():
            index = counter.value
            counter.value += 1
        set_threads(1)  # see `one_thread`
        cls.job, cls.stop, cls.tracker = job, stop, job.make_tracker(worker_device(index, num_gpus))

    @classmethod
    def run(cls, group: list[Sequence]) -> list[str]:
        """Tracks a group of sequences. Returns the error or "" of each."""
        errors = {seq.name: error for seq, error in track_group(cls.tracker, group, cls.job, cls.stop.is_set)}
        return [errors[sequence.name] for sequence in group]
