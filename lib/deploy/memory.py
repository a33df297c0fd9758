"""Measures the memory of a tracker in a process of its own. Imports no torch."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from lib.structures import Frame
from lib.tracker.base import Tracker
from lib.utils.paths import PROJECT

STATUS = Path("/proc/self/status")
FRAME = (480, 640)  # height, width of the frames that are tracked, pixels
BOX = np.array([280.0, 200.0, 80.0, 60.0])  # the target in the first frame, xywh in pixels
FRAMES = 2


def example_frames(number: int, seed: int = 0) -> list[Frame]:
    """Returns frames of smoothed noise, in which no crop is blank."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (number, 2, FRAME[0] // 8, FRAME[1] // 8, 3), np.uint8)
    return [Frame(*(cv2.resize(image, FRAME[::-1]) for image in images)) for images in noise]


def measure_memory(make: Callable[..., Tracker], *arguments: object) -> float:
    """Returns the peak resident memory in MiB of a new process that makes a tracker and tracks a few frames.

    Args:
        make: function of a module; the process imports what this module imports, and nothing of this process.
        arguments: of `make`.

    Raises:
        ValueError: the process failed; the message is its last line.
    """
    environment = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        input=pickle.dumps((make, arguments)),
        capture_output=True,
        env=environment,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(
            f"{make.__name__}: memory was not measured: {reason[-1] if reason else 'the process was killed'}"
        )
    return float(done.stdout)


def serve() -> None:
    """Makes the tracker that stdin describes, tracks, and writes the peak of the memory to stdout."""
    make, arguments = pickle.loads(sys.stdin.buffer.read())
    tracker, frames = make(*arguments), example_frames(FRAMES)
    tracker.initialize(frames[0], BOX)
    for frame in frames:
        tracker.track(frame)
    sys.stdout.write(f"{resident_peak()}\n")


def resident_peak() -> float:
    """Returns the highest resident memory of this process so far, MiB."""
    with suppress(OSError, StopIteration):  # the other figure includes what the parent process had before `exec`
        return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
