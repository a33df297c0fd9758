"""Tracks a group of sequences together, frame by frame: one sequence, or several as one batch of the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.data.drop import AnyDrop, Dropper
from lib.data.sequence import Sequence
from lib.results.raw import write_result
from lib.running.debug import DebugWriter
from lib.structures import Frame, Prediction
from lib.tracker.base import Tracker
from lib.tracker.cropped import CropTracker, track_batch

FAILURES = (ValueError, OSError, cv2.error)  # of the data of a sequence; the other sequences are tracked


@dataclass(frozen=True)
class Job:
    """Settings of a run, the same for all sequences. Can be pickled; each worker receives it once.

    Args:
        make_tracker: function (device name) that returns a tracker; called once per worker.
        folder: folder of the result files.
        fingerprint: identifies weights and settings; results with a different fingerprint are not reused.
        drop: which images are missing; None: no image is missing.
        debug: "", "pictures" or "video".
        batch: number of sequences that a worker tracks at the same time; more than 1 needs a tracker with `can_batch`.
        config: the resolved configuration of the experiment, for the manifest; None: the tracker has none.
    """

    make_tracker: Callable[[str], Tracker]
    folder: Path
    fingerprint: str
    drop: AnyDrop | None = None
    debug: str = ""
    batch: int = 1
    config: dict[str, Any] | None = None


def check_batch(tracker: Tracker, batch: int) -> None:
    """Raises ValueError if the tracker cannot track `batch` sequences at the same time."""
    if batch > 1 and not (isinstance(tracker, CropTracker) and tracker.can_batch):
        raise ValueError(
            f"--batch_sequences {batch}: {type(tracker).__name__} tracks one sequence at a time; leave it out, "
            "and use --threads"
        )


def track_group(
    tracker: Tracker, sequences: SequenceOf[Sequence], job: Job, stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Sequence, str]]:
    """Tracks sequences together and writes their result files.

    A sequence starts with its first visible frame. Rows before this frame repeat its box, so that result and annotation
    have equal length; their time is NaN. The next frames are read while these are tracked.

    Args:
        tracker: for more than one sequence, one with `can_batch`; it is not changed then.
        stop: checked before every frame.

    Yields:
        Each sequence when it is done, with "", or the reason if its data caused an error: no frame is visible, an image
        is missing or cannot be decoded, a prediction is not finite, or a result cannot be written. After a stop, the
        reason is "stopped".
    """
    with ThreadPoolExecutor(1, "reader") as reader:
        alone = len(sequences) == 1
        runs = [_Run(tracker if alone else tracker.fork(), sequence, job, reader) for sequence in sequences]
        try:
            for run in runs:
                run.attempt(run.start)
            while runs:
                for run in [run for run in runs if run.done]:
                    runs.remove(run)
                    run.close()
                    yield run.sequence, run.error
                if stop():
                    for run in runs:
                        run.fail("stopped")
                elif runs:
                    _step(runs)
        finally:  # also if the caller ends early
            for run in runs:
                run.close()


def _step(runs: SequenceOf[_Run]) -> None:
    """Tracks the next frame of every sequence."""
    frames = [run.attempt(run.take) for run in runs]
    pairs = [(run, frame) for run, frame in zip(runs, frames, strict=True) if frame is not None]
    if not pairs:
        return
    begin = time.perf_counter()
    if len(pairs) == 1:
        predictions = [pairs[0][0].attempt(pairs[0][0].tracker.track, pairs[0][1])]
    else:
        predictions = track_batch([run.tracker for run, _ in pairs], [frame for _, frame in pairs])
    seconds = (time.perf_counter() - begin) / len(pairs)
    for (run, frame), prediction in zip(pairs, predictions, strict=True):
        if isinstance(prediction, Exception):
            run.fail(f"{prediction}")
        elif prediction is not None:
            run.attempt(run.store, frame, prediction, seconds)


class _Run:
    """A sequence that is being tracked.

    Times are in seconds and include only `track()` and `initialize()`, not the reading of images. In a batch, a frame's
    time is its share of the step.
    """

    def __init__(self, tracker: Tracker, sequence: Sequence, job: Job, reader: ThreadPoolExecutor):
        self.tracker, self.sequence, self.job, self.reader = tracker, sequence, job, reader
        self.done, self.error = False, ""
        self.debug = DebugWriter(job.debug, job.folder, sequence)
        self.coming: Future[Frame] | None = None

    def attempt(self, function: Callable, *arguments):
        """Calls a function and returns its result; an error in the data ends the sequence, and the result is None."""
        try:
            return function(*arguments)
        except FAILURES as error:
            self.fail(f"{error}")
            return None

    def fail(self, reason: str) -> None:
        """Ends the sequence without a result."""
        self.done, self.error = True, self.error or reason

    def start(self) -> None:
        """Initialises the tracker. Raises ValueError or OSError."""
        self.index, frames = self.sequence.first_visible, len(self.sequence)
        self.boxes = np.repeat(self.sequence.boxes_xywh[self.index][None], frames, axis=0)
        self.times, self.scores = np.full(frames, np.nan), np.ones(frames)
        self.dropper = Dropper(self.job.drop, self.sequence.name, frames, self.index)
        self.coming = self.reader.submit(self.sequence.frame, self.index)
        frame = self._receive()
        begin = time.perf_counter()
        self.tracker.initialize(frame, self.boxes[self.index])
        self.times[self.index] = time.perf_counter() - begin
        self._finish_if_last()

    def take(self) -> Frame:
        """Returns the next frame. Raises ValueError or OSError if it cannot be read."""
        self.index += 1
        return self._receive()

    def store(self, frame: Frame, prediction: Prediction, seconds: float) -> None:
        """Keeps the prediction for the frame that `take` returned.

        Raises:
            ValueError: the prediction is not finite, or the result does not fit the folder.
            OSError: a result cannot be written.
        """
        index, (box, score) = self.index, prediction
        self.boxes[index], self.scores[index], self.times[index] = box, score, seconds
        if not (np.isfinite(self.boxes[index]).all() and np.isfinite(score)):
            raise ValueError(
                f"frame {index}: the tracker returned the box {self.boxes[index].tolist()} with score {score}, "
                "expected finite numbers; check its weights"
            )
        self.debug.add(index, frame, self.boxes[index], score, self.tracker)
        self._finish_if_last()

    def close(self) -> None:
        """Ends the video, if any, and the reading ahead."""
        self.debug.__exit__()
        if self.coming is not None:
            self.coming.cancel()

    def _receive(self) -> Frame:
        """Returns frame `index`, and has the one after it read."""
        frame, self.coming = self.coming.result(), None
        if self.index + 1 < len(self.sequence):
            self.coming = self.reader.submit(self.sequence.frame, self.index + 1)
        return self.dropper.apply(self.index, frame)

    def _finish_if_last(self) -> None:
        if self.index + 1 == len(self.sequence):
            codes = self.dropper.codes if self.job.drop else None
            write_result(self.job.folder, self.sequence.name, self.boxes, self.times, self.scores, codes)
            self.done = True
