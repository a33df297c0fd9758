"""What every command shares: logging, one-line errors, honest exit codes."""

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

from lib.utils.paths import PROJECT

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command and exits: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.

    What a user can cause (ValueError, OSError, a diverged loss) becomes one line on stderr; TRANSCMD_TRACEBACK=1 shows
    where it came from. Anything else is a defect and keeps its traceback.
    """
    logging.raiseExceptions = False  # a full disk is reported once, where work is lost
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
    """Within it, a first Ctrl-C or SIGTERM only sets `requested`, to be acted on where nothing is half done; a second
    one raises KeyboardInterrupt at once. Outside of the main thread it does nothing.
    """

    def __init__(self):
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, signum, frame) -> None:
        if self.requested:
            raise KeyboardInterrupt("stopped at once")
        self.requested = True
        sys.stderr.write("\nstopping where nothing is half done; once more to stop at once\n")


def ignore_interrupt() -> None:
    """For worker processes, which a Ctrl-C reaches as well: their parent ends them, by SIGTERM if need be."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def worker_context(*preload: str) -> multiprocessing.context.BaseContext:
    """Starts worker processes afresh, as threads of OpenCV and CUDA do not survive a fork: a child could wait for ever.

    Where the system can, they are forked from a server process that has imported the modules `preload` and has neither.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def run_child(command: Sequence[str]) -> int:
    """Runs another command and returns its exit status; on Ctrl-C waits for it to end in its own way, and gives 130."""
    child = subprocess.Popen(command)
    interrupted = False
    while True:
        try:
            code = child.wait()
            return 130 if interrupted else code
        except KeyboardInterrupt:
            interrupted = True
            child.terminate()


def tracking_command(name: str, *arguments: object, settings: Sequence[str] = ()) -> list[str]:
    """The command line of one of our commands in this Python.

    Args:
        name: file in tracking/. settings: values of --set.
    """
    return [sys.executable, str(PROJECT / "tracking" / name), *map(str, arguments), *set_words(settings)]


def set_words(settings: Sequence[str]) -> list[str]:
    """["A=1", "B=2"] → ["--set", "A=1", "--set", "B=2"]."""
    return [word for setting in settings for word in ("--set", setting)]


def _terminate(signum, frame) -> None:
    """SIGTERM, as schedulers send it, ends a command the way Ctrl-C does."""
    raise KeyboardInterrupt("terminated")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    message = str(error)
    if "Original Traceback" in message:  # raised in a data loading process: only its last line says what was wrong
        message = message.strip().splitlines()[-1]
    return " ".join(message.split()) or type(error).__name__
