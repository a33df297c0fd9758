"""Runs a tracker on sequences and writes result files. Skips finished sequences and lists failed ones."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.data.drop import Drop, Dropper
from lib.data.sequence import Sequence
from lib.results.raw import (
    DROP_SUFFIX,
    RESULT_SUFFIXES,
    add_to_record,
    read_boxes,
    read_numbers,
    read_record,
    write_result,
)
from lib.running.debug import DebugWriter
from lib.tracker.base import Tracker
from lib.utils.cli import StopRequest, start_worker, worker_context
from lib.utils.locks import lock_folder
from lib.utils.misc import available_cores

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Settings of a run, the same for all sequences. Can be pickled; each worker receives it once.

    Args:
        make_tracker: function (device name) that returns a tracker; called once per worker.
        folder: folder of the result files.
        fingerprint: identifies weights and settings; results with a different fingerprint are not reused.
        drop: which images are missing; None: no image is missing.
        debug: "", "pictures" or "video".
    """

    make_tracker: Callable[[str], Tracker]
    folder: Path
    fingerprint: str
    drop: Drop | None = None
    debug: str = ""


class Stopped(RuntimeError):
    """The run was interrupted while a sequence was tracked."""


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
    _refuse_other_drops(record, job)
    todo = [s for s in sequences if not is_finished(s, job, record)]
    if len(todo) < len(sequences):
        logger.info(
            "%s: %d of %d sequences are finished already", job.folder, len(sequences) - len(todo), len(sequences)
        )
    for sequence in todo:  # so that no old result remains if this run is interrupted
        (job.folder / f"{sequence.name}.txt").unlink(missing_ok=True)
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


def track_sequence(tracker: Tracker, sequence: Sequence, job: Job, stop: Callable[[], bool] = lambda: False) -> None:
    """Tracks one sequence, starting with its first visible frame, and writes its result files.

    Rows before this frame repeat its box, so that result and annotation have equal length; their time is NaN. Times are
    in seconds and include only `track()` and `initialize()`, not the reading of images.

    Args:
        stop: checked before every frame.

    Raises:
        ValueError: no frame is visible, an image cannot be decoded, or the result does not fit the folder.
        OSError: an image is missing, or a result cannot be written.
        Stopped: `stop` returned True.
    """
    start, frames = sequence.first_visible, len(sequence)
    boxes = np.repeat(sequence.boxes_xywh[start][None], frames, axis=0)
    times, scores = np.full(frames, np.nan), np.ones(frames)
    dropper = Dropper(job.drop, sequence.name, frames, start)
    frame = dropper.apply(start, sequence.frame(start))
    begin = time.perf_counter()
    tracker.initialize(frame, boxes[start])
    times[start] = time.perf_counter() - begin
    with DebugWriter(job.debug, job.folder, sequence) as debug:
        for index in range(start + 1, frames):
            if stop():
                raise Stopped
            frame = dropper.apply(index, sequence.frame(index))
            begin = time.perf_counter()
            boxes[index], scores[index] = tracker.track(frame)
            times[index] = time.perf_counter() - begin
            debug.add(index, frame, boxes[index], scores[index], tracker)
    write_result(job.folder, sequence.name, boxes, times, scores, dropper.codes if job.drop else None)


def is_finished(sequence: Sequence, job: Job, record: dict) -> bool:
    """Returns whether all result files are complete and were made with the same settings and data.

    Args:
        record: content of the record in the result folder, see `read_record`.
    """
    if record.get(sequence.name) != _entry(sequence, job) or job.debug:
        return False
    try:
        path = job.folder / f"{sequence.name}.txt"
        lengths = {
            len(read_boxes(path)),
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
    """Returns what a result depends on: settings of the run, annotation and file names of the data, drop."""
    data = hashlib.sha256(repr((sequence.rgb_keys, sequence.aux_keys)).encode() + sequence.boxes_xywh.tobytes())
    entry = {"fingerprint": job.fingerprint, "data": data.hexdigest()[:16]}
    return {**entry, "drop": str(job.drop)} if job.drop else entry


def _track_all(todo: list[Sequence], job: Job, workers: int, num_gpus: int) -> Iterator[tuple[Sequence, str]]:
    """Yields each sequence when it is done, with its error or ''. With one worker, tracks in this process."""
    workers = min(workers, len(todo))
    if workers <= 1:
        tracker = job.make_tracker(worker_device(0, num_gpus)) if todo else None
        for sequence in todo:
            yield sequence, _attempt(tracker, sequence, job)
        return
    context = worker_context("torch", "timm.models.vision_transformer")  # modules that are slow to import
    stop, counter = context.Event(), context.Value("i", 0)
    arguments = (job, counter, workers, num_gpus, stop)
    pool = ProcessPoolExecutor(workers, context, initializer=_Worker.start, initargs=arguments)
    with StopRequest() as request:  # an exception while processes start would block the pool
        try:
            futures = {pool.submit(_Worker.run, sequence): sequence for sequence in todo}
            pending = set(futures)
            while pending and not request.requested:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    yield futures[future], _outcome(future)
        finally:
            stop.set()  # the sequences in progress end at their next frame
            pool.shutdown(cancel_futures=True)
    if request.requested:
        raise KeyboardInterrupt("finished sequences are kept; run again to continue")


def _outcome(future) -> str:
    try:
        return future.result()
    except BrokenProcessPool:
        return "a worker process died or could not start (out of memory? see above); run again to continue"


def _attempt(tracker: Tracker, sequence: Sequence, job: Job, stop: Callable[[], bool] = lambda: False) -> str:
    """Tracks one sequence. Returns the reason if its data caused an error, so that the other sequences are tracked."""
    try:
        track_sequence(tracker, sequence, job, stop)
    except (ValueError, OSError, cv2.error) as error:
        return f"{error}"
    except Stopped:
        return "stopped"
    return ""


def worker_device(index: int, num_gpus: int) -> str:
    """Returns the device of worker process `index`, from 0: the GPUs in turn, or "cpu" if there is no GPU."""
    return f"cuda:{index % num_gpus}" if num_gpus else "cpu"


class _Worker:
    """State of a worker process. The tracker is built once per process."""

    job: Job
    tracker: Tracker
    stop = None

    @classmethod
    def start(cls, job: Job, counter, workers: int, num_gpus: int, stop) -> None:
        start_worker()
        with counter.get_lock():
            index = counter.value
            counter.value += 1
        threads = max(1, available_cores() // workers)
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        cls.job, cls.stop, cls.tracker = job, stop, job.make_tracker(worker_device(index, num_gpus))

    @classmethod
    def run(cls, sequence: Sequence) -> str:
        return _attempt(cls.tracker, sequence, cls.job, cls.stop.is_set)
