"""Locks on folders, taken by processes that are really killed, and the files that these leave."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest

from lib.results.raw import read_record
from lib.utils import locks
from lib.utils.files import atomic_path, host_name, remove_abandoned, write_text
from lib.utils.locks import exclusive, lock_folder
from tests.processes import ROOT, started

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
HOLD = """
import sys, time
from lib.utils.locks import lock_folder
with lock_folder(sys.argv[1], "training", *sys.argv[2:3], shared=len(sys.argv) > 3):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held_by_another(folder, *options):
    """A process that holds a lock until the block ends or it is killed."""
    command = [sys.executable, "-c", HOLD, folder, *options]
    with started(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_held_folder_is_refused_with_the_holder_and_taken_over_when_it_was_killed(tmp_path, caplog):
    with held_by_another(tmp_path) as process:
        with pytest.raises(ValueError) as error, lock_folder(tmp_path, "training"):
            pass
        expected = f"{tmp_path}: process {process.pid} on {host_name()}, started "
        assert str(error.value).startswith(expected) and "is at work here (training)" in str(error.value)
        with pytest.raises(ValueError, match="is at work here"), lock_folder(tmp_path, "training", shared=True):
            pass
        process.kill()
        process.wait()
        assert list(tmp_path.iterdir())  # the lock file of the dead process
        with caplog.at_level("INFO"), lock_folder(tmp_path, "training"):
            assert f"taken over from process {process.pid} on {host_name()}" in caplog.text
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_several_share_a_lock_but_not_with_one_that_holds_it_alone(tmp_path):
    with held_by_another(tmp_path, ".lock", "shared"), lock_folder(tmp_path, "tracking", shared=True):
        pass
    with held_by_another(tmp_path, ".lock", "shared"):
        with pytest.raises(ValueError, match="another process is at work here"), lock_folder(tmp_path, "tracking"):
            pass
    with lock_folder(tmp_path, "tracking"):
        pass


def test_without_locks_of_the_system_the_process_in_the_file_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid, host, is_refused in (
        (os.getppid(), host_name(), True),
        (ended.pid, host_name(), False),
        (os.getppid(), "another-host", False),  # nothing is known about it
    ):
        (tmp_path / ".lock").write_text(json.dumps({"pid": pid, "host": host}))
        refusal = pytest.raises(ValueError, match=f"process {pid} on") if is_refused else contextlib.nullcontext()
        with refusal, lock_folder(tmp_path, "training"):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), lock_folder(tmp_path / "file" / "x", "training"):
        pass


ADD = """
import sys
from lib.results.raw import add_to_record
for number in range(60):
    add_to_record(sys.argv[1], f"{sys.argv[2]}{number}", {"fingerprint": "x"})
"""


def test_processes_that_add_to_one_record_lose_nothing(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", ADD, tmp_path, name], env=ENVIRONMENT) for name in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert set(read_record(tmp_path)) == {f"{name}{number}" for name in "ab" for number in range(60)}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_lock_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere"), exclusive(tmp_path / "nowhere" / "lock"):
        pass


WRITE = """
import os, signal, sys
from lib.utils.files import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE, tmp_path / "result.1.txt"], env=ENVIRONMENT)
    assert len(list(tmp_path.glob(".*.part.txt"))) == 1
    mine = [f".x.{host_name()}.{os.getppid()}.part.txt", ".x.other-host.12.part.txt", ".x.y.part.txt", "x.part.txt"]
    for name in mine:  # of a running process, of another host, and of other programs
        write_text(tmp_path / name, "")
    old = tmp_path / ".x.other-host.13.part.txt"
    old.write_text("")
    os.utime(old, (time.time() - 90000,) * 2)
    remove_abandoned.cache_clear()  # as in a new process
    with atomic_path(tmp_path / "new.txt") as path:
        path.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "new.txt"])


def test_a_lock_removes_them_too(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE, tmp_path / "result.txt"], env=ENVIRONMENT)
    with lock_folder(tmp_path, "tracking"):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
