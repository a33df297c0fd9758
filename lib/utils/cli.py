"""Functions shared by all commands: logging, one-line errors, exit codes, signals, worker processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command and exits with 0 on success, 1 on failure, 2 on wrong usage or configuration, 130 if interrupted.

    Errors that a user can cause (ValueError, OSError, FloatingPointError for a diverged loss) become one line on
    stderr; TRANSCMD_TRACEBACK=1 shows the traceback. Other exceptions are defects and always show it.
    """
    logging.raiseExceptions = False  # do not report a full disk again for every log line
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = main() or 0
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("TRANSCMD_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {_one_line(error)}\n")
        code = getattr(error, "exit_code", 1)
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"\ninterrupted{f': {stop}' if str(stop) else ''}\n")
        code = 130
    sys.exit(code)


class StopRequest:
    """A context manager that delays a stop until the current unit of work is complete.

    The first Ctrl-C or SIGTERM only sets `requested`; the caller checks it between units of work. The second one raises
    KeyboardInterrupt immediately. In a thread other than the main thread it has no effect.
    """

    def __init__(self):
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle_signal) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle_signal(self, signum, frame) -> None:
        if self.requested:
            raise KeyboardInterrupt("stopped immediately")
        self.requested = True
        sys.stderr.write("\nstopping at the next safe point; press Ctrl-C again to stop immediately\n")


def ignore_interrupt() -> None:
    """Makes a worker process ignore Ctrl-C, which it also receives; its parent ends it, with SIGTERM if necessary."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def worker_context(*preload: str) -> multiprocessing.context.BaseContext:
    """Returns a context that does not fork this process, because OpenCV and CUDA can deadlock in a forked child.

    If the system supports it, workers are forked from a server process, which has imported the modules `preload` but
    uses neither OpenCV's threads nor CUDA.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def run_child(command: Sequence[str]) -> int:
    """Runs another command and returns its exit status. On Ctrl-C, waits until it has ended and returns 130."""
    child = subprocess.Popen(command)
    interrupted = False
    while True:
        try:
            code = child.wait()
            return 130 if interrupted else code
        except KeyboardInterrupt:
            interrupted = True
            child.terminate()


def _terminate(signum, frame) -> None:
    """Handles SIGTERM, which schedulers send, in the same way as Ctrl-C."""
    raise KeyboardInterrupt("terminated")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    message = str(error)
    if "Original Traceback" in message:  # from a data loading worker: the last line contains the error
        message = message.strip().splitlines()[-1]
    return " ".join(message.split()) or type(error).__name__
