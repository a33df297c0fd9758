"""What commands share: processes that are stopped leave none behind, and a closed pipe is no error."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lib.utils.cli import run_child, run_side_by_side
from tests.processes import ROOT, children_of, run

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SLEEP = "import time; time.sleep(600)"
# A command that starts a process which does not listen to SIGTERM, writes both numbers and goes on for ten minutes.
STUBBORN = f"""
import os, subprocess, sys, time
code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {SLEEP}"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
open(sys.argv[1], "w").write(f"{{os.getpid()}} {{child.pid}}\\n")
if len(sys.argv) < 3:
    time.sleep(600)
"""
RUNNER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lib.utils.cli import run_child, run_command
run_command(lambda: run_child([sys.executable, "-c", {STUBBORN!r}, *sys.argv[1:]]))
"""
# A command that waits until its reader has gone, then writes, runs another command and leaves a file.
TALKER = f"""
import logging, pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
from lib.utils.cli import run_child, run_command

def main():
    stream = getattr(sys, sys.argv[1])
    print("begin", file=stream, flush=True)
    sys.stdin.readline()
    for number in range(5000):
        print("line", number, file=stream)
    logging.info("a log line")
    code = run_child([sys.executable, "-c", f"import sys; print('child', file=sys.{{sys.argv[1]}})"])
    pathlib.Path(sys.argv[2]).write_text("written")
    return code

run_command(main)
"""
COMMANDS = sorted(path for path in (ROOT / "tracking").glob("*.py") if not path.name.startswith("_"))


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def numbers_in(path) -> list[int]:
    assert wait_until(lambda: path.exists() and path.read_text().endswith("\n")), "the command never started"
    return [int(word) for word in path.read_text().split()]


@linux
def test_what_a_command_leaves_running_is_killed(tmp_path):
    assert run_child([sys.executable, "-c", STUBBORN, str(tmp_path / "pids"), "end at once"]) == 0
    _, left = numbers_in(tmp_path / "pids")
    assert wait_until(lambda: not is_running(left))


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_ends_all_that_it_started(tmp_path, number):
    parent = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path / "pids")])
    pids = numbers_in(tmp_path / "pids")
    assert all(map(is_running, pids))
    parent.send_signal(number)
    assert parent.wait(timeout=20) == 130
    assert wait_until(lambda: not any(map(is_running, pids)))


@linux
def test_a_killed_command_takes_the_one_it_runs_with_it(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path / "pids")])
    child, grandchild = numbers_in(tmp_path / "pids")
    parent.kill()
    parent.wait()
    try:
        assert wait_until(lambda: not is_running(child))
    finally:
        os.kill(grandchild, signal.SIGKILL)  # it does not listen to SIGTERM, and nobody is left to kill it


@linux
@pytest.mark.parametrize("killed", ["train.py", pytest.param("_launch.py", marks=pytest.mark.slow)])
def test_killed_training_in_two_processes_leaves_none_behind(tmp_path, demo_data, killed):
    """The command, or its torchrun, is killed as the system or a time limit does it: the others end by themselves."""
    command = [sys.executable, str(ROOT / "tracking/train.py"), "--config", "debug", "--device", "cpu"]
    command += ["--mode", "multiple", "--nproc_per_node", "2", "--set", "TRAIN.EPOCH=500"]
    environment = {**os.environ, "TRANSCMD_DATA": str(demo_data), "TRANSCMD_TEST": str(tmp_path)}
    parent = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    log = tmp_path / "output/logs/transcmd-debug.log"
    try:
        assert wait_until(lambda: log.exists() and "epoch 2/500" in log.read_text(), 120)
        assert len(marked_processes(tmp_path)) >= 4
        if killed == "_launch.py":
            (torchrun,) = (pid for pid in children_of(parent.pid) if os.getppid() != pid and is_torchrun(pid))
            os.kill(torchrun, signal.SIGKILL)
            assert parent.wait(timeout=30) != 0
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not marked_processes(tmp_path), 60), marked_processes(tmp_path)


def is_torchrun(pid: int) -> bool:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        return file.read().split("\0")[1].endswith("_launch.py")


# A pool whose workers wait, as they do between two tasks; the first one may kill itself.
POOL = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from concurrent.futures import ProcessPoolExecutor
from lib.utils.cli import run_command, start_worker, worker_context

def work(how):
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()

def main():
    pool = ProcessPoolExecutor(2, worker_context(), initializer=start_worker)
    pids = set(pool.map(work, sys.argv[2:]))
    open(sys.argv[1], "w").write(" ".join(map(str, pids)) + "\\n")
    import time; time.sleep(600)

if __name__ == "__main__":
    run_command(main)
"""


@linux
def test_workers_that_wait_end_when_their_command_is_killed(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    parent = subprocess.Popen([sys.executable, tmp_path / "pool.py", tmp_path / "pids", *"abcdef"])
    pids = numbers_in(tmp_path / "pids")
    assert all(map(is_running, pids))
    parent.kill()
    parent.wait()
    try:
        assert wait_until(lambda: not any(map(is_running, pids)))
    finally:
        for pid in filter(is_running, pids):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_of_any_pool_ends_the_command_with_one_line(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    done = run([sys.executable, tmp_path / "pool.py", tmp_path / "pids", "live", "die"], timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: a worker process was killed (out of memory?)") and done.stderr.count("\n") == 1
    )


def test_every_pool_starts_its_workers_so():
    for path in (ROOT / "lib").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "ProcessPoolExecutor(" in text or "DataLoader(" in text:
            assert "start_worker" in text, path


@linux
def test_killed_tracking_leaves_no_worker_behind(tmp_path, demo_data):
    command = [sys.executable, str(ROOT / "tracking/test.py"), "mil", "--dataset_name", "LasHeR", "DepthTrack"]
    environment = {**os.environ, "TRANSCMD_DATA": str(demo_data), "TRANSCMD_TEST": str(tmp_path)}
    parent = subprocess.Popen([*command, "--threads", "2"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: list(tmp_path.rglob("*_time.txt")), 120)
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not marked_processes(tmp_path), 30), marked_processes(tmp_path)


def marked_processes(mark) -> list[str]:
    """Command lines of the running processes whose environment says TRANSCMD_TEST=`mark`."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                marked = f"TRANSCMD_TEST={mark}\0".encode() in file.read()
            if marked and is_running(int(name)):
                with open(f"/proc/{name}/cmdline", encoding="utf-8") as file:
                    found.append(file.read().replace("\0", " "))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def test_commands_run_side_by_side_and_answer_in_order():
    def run(children, number: int) -> str:
        code = f"import time; time.sleep({0.3 - number / 10}); print({number})"
        return children.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip()

    assert list(run_side_by_side(run, [0, 1, 2], jobs=3)) == ["0", "1", "2"]


def test_an_error_in_one_of_several_commands_stops_the_others():
    def run(children, fails: bool) -> None:
        if fails:
            raise ValueError("this one fails")
        children.run([sys.executable, "-c", SLEEP])

    begin = time.monotonic()
    with pytest.raises(ValueError, match="this one fails"):
        list(run_side_by_side(run, [True, False, False], jobs=2))
    assert time.monotonic() - begin < 30


# what a command writes


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_runs_to_its_end_when_its_reader_stops_reading(tmp_path, stream):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", TALKER, stream, str(tmp_path / "file")]
    with subprocess.Popen(command, text=True, **pipes) as talker:
        assert getattr(talker, stream).readline() == "begin\n"
        getattr(talker, stream).close()
        talker.stdin.write("go on\n")
        talker.stdin.close()
        other = (talker.stderr if stream == "stdout" else talker.stdout).read()
        assert talker.wait(timeout=60) == 0, other
    assert other == ("a log line\n" if stream == "stdout" else "") and (tmp_path / "file").read_text() == "written"


def run_unread(*command) -> subprocess.CompletedProcess:
    """Runs a command whose output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run_into(writer, *command)
    finally:
        os.close(writer)


def run_into(output, *command) -> subprocess.CompletedProcess:
    """Runs a command that writes its output when its buffer is full, or at exit, as for users."""
    users = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = list(map(str, command))
    return subprocess.run(
        line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, env=users, text=True, timeout=120
    )


full_disk = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@full_disk
def test_output_that_cannot_be_written_is_one_error(tmp_path):
    with open("/dev/full", "w") as full:
        done = run_into(full, sys.executable, "-c", TALKER, "stdout", tmp_path / "file")
    assert (done.returncode, done.stderr) == (1, "error: <stdout>: No space left on device\n")


@pytest.mark.parametrize("name", ["pack_lmdb.py", "pack_results.py", "train.py"])
def test_help_into_a_closed_pipe_is_no_error(name):
    done = run_unread(sys.executable, ROOT / "tracking" / name, "--help")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_every_command_is_run_by_run_command(path):
    assert path.read_text(encoding="utf-8").endswith('if __name__ == "__main__":\n    run_command(main)\n')


@full_disk
@pytest.mark.parametrize("reader", ["gone", "full disk"])
def test_analysis_writes_all_files_before_it_prints(tmp_path, reader):
    for folder in ("gt", "results"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ant.txt").write_text("10,10,20,20\n" * 4)
    command = [sys.executable, ROOT / "tracking/analysis_results.py", "--benchmark", "STC", "--output_dir", tmp_path]
    command += ["--annotations", tmp_path / "gt", "--results", f"t={tmp_path / 'results'}"]
    if reader == "gone":
        done = run_unread(*command)
        assert (done.returncode, done.stderr) == (0, "")
    else:
        with open("/dev/full", "w") as full:
            done = run_into(full, *command)
        assert (done.returncode, done.stderr) == (1, "error: <stdout>: No space left on device\n")
    tables = {"report.json", "report.md", "report.csv", "report.tex", "sequences.csv", "report.html"}
    assert tables | {"success.png", "success.pdf"} <= {path.name for path in tmp_path.iterdir()}
