"""The helpers that run commands, and properties of all tests."""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.processes import children_of, kill_with_children, run, run_tracking

# Its child has its own session, so that a signal to the group of its parent does not end it.
HANGS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
open("child", "w").write(str(child.pid))
time.sleep(100)
"""


def has_ended(pid: int) -> bool:
    """Waits up to 5 s for a process that was killed to be gone, or a zombie."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        with contextlib.suppress(ProcessLookupError):
            if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.02)
    return False


def test_a_command_that_times_out_leaves_no_process_behind(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run([sys.executable, "-c", HANGS], timeout=2, cwd=tmp_path)
    child = int((tmp_path / "child").read_text())
    assert has_ended(child)


def test_a_command_of_ours_that_times_out_leaves_no_process_behind_and_the_next_one_runs(tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS)
    with pytest.raises(subprocess.TimeoutExpired):
        run_tracking(tmp_path / "hangs.py", cwd=tmp_path, timeout=2)
    assert has_ended(int((tmp_path / "child").read_text()))
    assert run_tracking("train.py", "--help").returncode == 0


def test_commands_have_their_own_folder_environment_output_and_exit_status(tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['WORD'], sys.argv[1:]); sys.stderr.write('no'); sys.exit(7)"
    (tmp_path / "command.py").write_text(code)
    done = run_tracking(tmp_path / "command.py", "a b", 3, cwd=tmp_path, env={"WORD": "x"})
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{tmp_path} x ['a b', '3']\n", "no")
    (tmp_path / "command.py").write_text("1 / 0")
    done = run_tracking(tmp_path / "command.py", cwd=tmp_path)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and "WORD" not in os.environ


def test_a_test_that_times_out_leaves_no_process_behind(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_hangs.py").write_text(
        "import subprocess, sys, time\n"
        "def test_it():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'], start_new_session=True)\n"
        "    open('child', 'w').write(str(child.pid))\n"
        "    time.sleep(100)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "3", "-p", "no:cacheprovider", "test_hangs.py"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert run(command, cwd=tmp_path, env=environment).returncode == 1
    assert has_ended(int((tmp_path / "child").read_text()))


def test_commands_run_again_after_a_test_that_timed_out(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "command.py").write_text("import sys, time; time.sleep(float(sys.argv[1])); print('done')")
    (tmp_path / "test_hangs.py").write_text(
        "from tests.processes import run_tracking\n"
        "def test_hangs(): run_tracking(__file__.replace('test_hangs', 'command'), 100)\n"
        "def test_runs(): assert run_tracking(__file__.replace('test_hangs', 'command'), 0).stdout == 'done\\n'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "20", "-p", "no:cacheprovider", "test_hangs.py"]
    done = run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert "1 failed, 1 passed" in done.stdout, done.stdout


def test_children_of_children_are_found():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'])"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (found := children_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) == 1 and found[0] in children_of(os.getpid())
    kill_with_children(process.pid)
    process.wait()
    assert has_ended(found[0])


FIRST: dict = {}


@pytest.mark.parametrize("time_of_drawing", [1, 2])
@pytest.mark.parametrize("draw", [random.random, np.random.rand, torch.rand], ids=["random", "numpy", "torch"])
def test_every_test_draws_the_same_random_numbers(draw, time_of_drawing):
    number = float(draw(1) if draw is torch.rand else draw())
    assert FIRST.setdefault(draw, number) == number
