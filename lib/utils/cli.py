"""Functions shared by all commands: logging, one-line errors, exit codes, signals, worker processes."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import json
import logging
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import NoReturn, TextIO, TypeVar

from lib.utils.paths import PROJECT, is_plain_name
from lib.utils.texts import one_line

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
WARNINGS = tuple(
    getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name)
)  # schedulers send it before SIGTERM
PREEMPTION_SIGNALS = (*STOP_SIGNALS, *WARNINGS)
PREEMPTED = 75  # exit status of a training that a scheduler ended and that can be resumed; EX_TEMPFAIL in sysexits.h
LAUNCHED = "TRANSCMD_LAUNCHED"  # in the processes that tracking/_launch.py starts: the file for the message of a stop
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent dies
Item, Result = TypeVar("Item"), TypeVar("Result")


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGUSR1, which schedulers send; handled in the same way as Ctrl-C."""


class Preempted(KeyboardInterrupt):
    """Stopped by the signal of a scheduler, with all that is needed to go on. Commands exit with status 75."""

    exit_code = PREEMPTED


def _report_thread(failed: threading.ExceptHookArgs) -> None:
    """Writes one line for a background thread that meets a full disk, e.g. TensorBoard's; the command goes on."""
    if isinstance(failed.exc_value, OSError):
        logging.getLogger(__name__).warning("a background thread stopped: %s", _one_line(failed.exc_value))
    else:
        threading.__excepthook__(failed)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command and exits with 0 on success, 1 on failure, 2 on wrong usage or configuration, 130 if interrupted,
    75 if a scheduler interrupted a training that can be resumed.

    Errors that a user can cause (ValueError, OSError, FloatingPointError for a diverged loss) and a killed worker
    process (BrokenExecutor) become one line on stderr; TRANSCMD_TRACEBACK=1 shows the traceback. Other exceptions are
    defects and always show it. A reader of the output that stops reading, as in `command | head`, is no error: the
    command runs to its end.
    """
    sys.stdout, sys.stderr = (_Output(s) if s else s for s in (sys.stdout, sys.stderr))  # None: closed by the caller
    logging.raiseExceptions = False  # do not report a full disk again for every log line
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    threading.excepthook = _report_thread
    for number in (signal.SIGTERM, *WARNINGS):
        signal.signal(number, _terminate)
    try:
        code = main() or 0
        if sys.stdout:
            sys.stdout.flush()  # an error here, e.g. a full disk, is one of the command
    except (ValueError, OSError, FloatingPointError, BrokenExecutor) as error:
        if os.environ.get("TRANSCMD_TRACEBACK"):
            raise
        _report(_one_line(error))
        code = getattr(error, "exit_code", 1)
    except KeyboardInterrupt as stop:
        _report_stop(stop)
        code = getattr(stop, "exit_code", 130)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.end()
    sys.exit(code)


class _Output:
    """A text stream whose reader may stop reading. What is written after that is dropped, without an error.

    Args:
        stream: the stream. Everything but writing is left to it.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text and returns its length. Raises OSError, naming the stream, e.g. if the disk is full."""
        with self._dropping(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered. Raises OSError as `write`."""
        with self._dropping(BrokenPipeError):
            self._stream.flush()

    def end(self) -> None:
        """Writes what is buffered, and drops it after an error: Python would report it a second time at exit."""
        with self._dropping(OSError):
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self, kind: type[OSError]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not isinstance(error, kind):
                raise OSError(error.errno, error.strerror, self._stream.name) from error
            # The buffer keeps its text and is written again at exit. From here on it goes nowhere, and so does the
            # output of processes that this one starts.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class Parser(argparse.ArgumentParser):
    """Parses a command line. The help text is the module's docstring, and the default of each option follows its help.

    A wrong command line ends with one `error:` line and exit status 2.
    """

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=_HelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Ends the command with a message."""
        message = " ".join(message.split()).removeprefix("argument ")
        self.exit(2, f"error: {message}; {self.prog} --help shows all options\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if "default" in text or action.required or not action.option_strings or action.nargs == 0:
            return text  # a switch is off by default
        return f"{text} (default: {'%(default)s' if action.default not in (None, '', []) else 'none'})"


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns a function for `type=` of an option: text → integer of at least `least` and at most `most`."""
    expected = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (number := int(text)) <= (number if most is None else most):
                return number
        raise argparse.ArgumentTypeError(f"expected {expected}, got '{text}'")

    return parse


def number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """Returns a function for `type=` of an option: text → finite number of at least `least` and at most `most`."""
    limits = (f" of at least {least:g}" if least > -math.inf else "") + (f" up to {most:g}" if most < math.inf else "")

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if math.isfinite(value := float(text)) and least <= value <= most:
                return value
        raise argparse.ArgumentTypeError(f"expected a number{limits}, got '{text}'")

    return parse


def plain_name(text: str) -> str:
    """For `type=` of an option: a name that is used as the name of a file or folder, and no path."""
    if is_plain_name(text):
        return text
    raise argparse.ArgumentTypeError(f"expected a name without '/' and '..', got '{text}'")


class StopRequest:
    """A context manager that delays a stop until the current unit of work is complete.

    The first Ctrl-C or SIGTERM only sets `requested`; the caller checks it between units of work. The second one raises
    KeyboardInterrupt immediately. In a thread other than the main thread it has no effect.

    Args:
        signals: the numbers of the signals that it delays.
        repeated: whether a second signal stops immediately; if not, it has no effect.
    """

    def __init__(self, signals: Sequence[int] = STOP_SIGNALS, repeated: bool = True):
        self.requested = False
        self.number: int | None = None  # of the first signal
        self._signals, self._repeated = signals, repeated
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle_signal) for number in self._signals}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle_signal(self, signum, frame) -> None:
        if self.requested:
            if self._repeated:
                raise KeyboardInterrupt("stopped immediately")
            return
        self.requested, self.number = True, signum
        if LAUNCHED in os.environ:
            return
        sys.stderr.write("\nstopping at the next safe point; press Ctrl-C again to stop immediately\n")


def start_worker() -> None:
    """Prepares a worker process: it ignores Ctrl-C, which it also receives, and ends when its parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in WARNINGS:  # for the training process alone
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Ends this process when its parent process has ended, for any reason, also if it is killed."""
    owner, parent = multiprocessing.parent_process(), os.getppid()

    def wait() -> None:
        if owner is not None:
            owner.join()
        while owner is None and os.getppid() == parent:  # the parent is no Python process that started this one
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def worker_context(*preload: str) -> multiprocessing.context.BaseContext:
    """Returns a context that does not fork this process, because OpenCV and CUDA can deadlock in a forked child.

    If the system supports it, workers are forked from a server process, which has imported the modules `preload` but
    uses neither OpenCV's threads nor CUDA.
    `preload` should name modules of other packages: before Python 3.12 the server could import ours from elsewhere.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def run_child(command: Sequence[str]) -> int:
    """Runs another command and returns its exit status; 130 if it was interrupted, or 75 as `Preempted`.

    The first Ctrl-C or SIGTERM is passed on as SIGTERM; the command may then finish its current work. A further Ctrl-C
    is passed on as SIGINT, a further SIGTERM is not. Processes that the command leaves running are killed.

    Raises:
        OSError: the command cannot be started.
    """
    child, interruption = start_child(command), None
    try:
        while True:
            try:
                code = child.wait()
                preempted = isinstance(interruption, Terminated) and code == PREEMPTED
                return code if preempted or not interruption else 130
            except KeyboardInterrupt as stop:
                if interruption is None:
                    interruption = stop
                    child.terminate()
                elif not isinstance(stop, Terminated):
                    child.send_signal(signal.SIGINT)
    finally:
        kill_group(child)


def start_child(command: Sequence[str], **options) -> subprocess.Popen:
    """Starts a command as the leader of a new process group.

    The command does not receive the terminal's Ctrl-C, and `kill_group` can end all processes that it starts. On Linux,
    it receives SIGTERM when this process, or the thread that calls this function, ends.

    Args:
        options: further arguments of subprocess.Popen.

    Raises:
        OSError: the command cannot be started.
    """
    ask_for_signal = None
    if sys.platform == "linux":
        ask_for_signal = functools.partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGTERM.value)
    return subprocess.Popen(command, start_new_session=True, preexec_fn=ask_for_signal, **options)


def kill_group(child: subprocess.Popen) -> None:
    """Kills the remaining processes of the group of a process that `start_child` started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.poll()


class Children:
    """Commands that run in parallel, one per thread, until they end or `stop` is called."""

    def __init__(self):
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    def run(self, command: Sequence[str], **options) -> subprocess.CompletedProcess:
        """Runs a command until it ends; returns its exit status and, if piped, its output.

        Args:
            options: further arguments of subprocess.Popen.

        Raises:
            OSError: the command cannot be started.
        """
        child = start_child(command, **options)
        self._running.add(child)
        if self._stopped:  # `stop` was called while the command was started
            child.terminate()
        try:
            output, _ = child.communicate()
        finally:
            kill_group(child)
            self._running.discard(child)
        return subprocess.CompletedProcess(command, child.returncode, output)

    def stop(self) -> None:
        """Sends SIGTERM to every running command, which may then finish its current work."""
        self._stopped = True
        for child in list(self._running):
            child.terminate()


def run_side_by_side(run: Callable[[Children, Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yields run(children, item) for every item, in order; `jobs` of them run at a time, in threads.

    `run` must start its commands with `children.run`. An exception or Ctrl-C stops the running commands, and no further
    command is started.
    """
    children, pool = Children(), ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(functools.partial(run, children), items)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.stop()
        try:
            pool.shutdown()
        except KeyboardInterrupt:  # a second Ctrl-C: the commands then stop immediately
            children.stop()
            pool.shutdown()
            raise


def tracking_command(name: str, *arguments: object, settings: Sequence[str] = ()) -> list[str]:
    """Returns the command line that runs one of the project's commands with this Python interpreter.

    Args:
        name: file name in tracking/.
        settings: values of --set.
    """
    return [sys.executable, str(PROJECT / "tracking" / name), *map(str, arguments), *set_words(settings)]


def set_words(settings: Sequence[str]) -> list[str]:
    """Returns settings as command-line arguments: ["A=1", "B=2"] → ["--set", "A=1", "--set", "B=2"]."""
    return [word for setting in settings for word in ("--set", setting)]


def _report(line: str) -> None:
    """Prints the line of an error. One of several training processes tells torchrun, so that only one is printed."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path and LAUNCHED in os.environ:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"message": line, "timestamp": int(time.time())}, file)
    else:
        sys.stderr.write(f"error: {line}\n")


def _report_stop(stop: KeyboardInterrupt) -> None:
    """Says that the command was interrupted. The first of several training processes tells tracking/_launch.py."""
    text = f"interrupted{f': {stop}' if str(stop) else ''}"
    if LAUNCHED not in os.environ:
        sys.stderr.write(f"\n{text}\n")
    elif isinstance(stop, Preempted) and os.environ.get("LOCAL_RANK") == "0":
        with open(os.environ[LAUNCHED], "w", encoding="utf-8") as file:
            file.write(text)


def _terminate(signum, frame) -> None:
    raise Terminated("terminated")


def _one_line(error: Exception) -> str:
    if isinstance(error, BrokenExecutor):
        return "a worker process was killed (out of memory?); run the command again to continue, with fewer workers"
    if "Original Traceback" in str(error):  # from a data loading worker: the last line contains the error
        return " ".join(re.sub(r"^[\w.]+: ", "", str(error).strip().splitlines()[-1]).split())
    return one_line(error)
