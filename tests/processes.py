"""Runs commands. A command that exceeds its time limit is ended with all processes that it started."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def children_of(pid: int) -> list[int]:
    """Ids of all processes that a process has started, and those that these have started; needs /proc."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the process has ended
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for process in found:
        found += children.get(process, [])
    return found[1:]


def kill_with_children(pid: int) -> None:
    """Kills a process, its process group if it leads one, and all that it started, also in sessions of their own."""
    for process in (pid, *children_of(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def started(command: list, **kwargs) -> Iterator[subprocess.Popen]:
    """A process in a session of its own, as `subprocess.Popen` takes it. At the end, all its processes are killed."""
    process = subprocess.Popen(list(map(str, command)), text=True, start_new_session=True, **kwargs)
    try:
        yield process
    finally:
        kill_with_children(process.pid)
        process.communicate()


def run(command: list, timeout: float = 300, **kwargs) -> subprocess.CompletedProcess:
    """Like `subprocess.run` with captured text, but a command that exceeds `timeout` seconds leaves no process."""
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs) as process:
        stdout, stderr = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


class CommandServer:
    """The process of tests/command_server.py. It runs one command at a time, and is started again after a failure."""

    def __init__(self):
        self._process: subprocess.Popen | None = None

    def run(self, argv: list[str], cwd: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess:
        if self._process is None or self._process.poll() is not None:
            line = [sys.executable, str(ROOT / "tests/command_server.py")]
            self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        try:
            return self._run(argv, cwd, env, timeout)
        except BaseException:  # an answer may be on its way: it must not be taken for the next command's
            kill_with_children(self._process.pid)
            self._process.wait()
            raise

    def _run(self, argv: list[str], cwd: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as folder:
            files = {name: os.path.join(folder, name) for name in ("stdout", "stderr")}
            request = {"argv": argv, "cwd": str(cwd), "env": env, **files}
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._answer()  # the command's process id
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(argv, timeout)
            code = self._answer()
            output = {name: Path(path).read_text(encoding="utf-8") for name, path in files.items()}
            return subprocess.CompletedProcess(argv, code, **output)

    def _answer(self) -> int:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("tests/command_server.py has ended; its stderr says why")
        return int(line)


@functools.cache
def command_server() -> CommandServer:
    return CommandServer()


def run_tracking(command: str, *arguments: object, cwd=None, env=None, timeout=300) -> subprocess.CompletedProcess:
    """Runs a command of tracking/ as a user would, in `cwd`, with `env` added to the environment.

    It is a process of its own, but torch is imported already, which saves seconds. `run` starts one from nothing.
    """
    line = [str(ROOT / "tracking" / command), *map(str, arguments)]
    return command_server().run(line, cwd or Path.cwd(), {**os.environ, **(env or {})}, timeout)
