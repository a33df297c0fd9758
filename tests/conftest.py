"""Fixtures and settings for all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are so small that several threads are slower than one

import fcntl
import random
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from lib.data.synthetic import write_datasets
from tests.processes import ROOT, children_of, kill_with_children, run_tracking

# Child processes inherit an ignored Ctrl-C; it is ignored if tests run as a background job.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every machine. `--hypothesis-profile thorough` draws new examples to search for failures.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("same")

SEED = int(os.environ.get("TRANSCMD_TEST_SEED", 0))


def seed_generators() -> None:
    random.seed(SEED)
    np.random.seed(SEED)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    seed_generators()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    seed_generators()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call):
    """A test that timed out leaves no process behind."""
    if call.excinfo is not None and "pytest-timeout" in str(call.excinfo.value):
        for process in children_of(os.getpid()):
            kill_with_children(process)
    return (yield)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Ground truth and published results outside the repository; without them, tests that need them are skipped."""
    folder = Path(os.environ.get("TRANSCMD_SHARED", ROOT.parent / "shared"))
    if not (folder / "reference").is_dir():
        if "TRANSCMD_SHARED" in os.environ:
            pytest.fail(f"TRANSCMD_SHARED={folder} contains no reference/")
        pytest.skip(f"no reference data in {folder}; set TRANSCMD_SHARED")
    return folder


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """`make_once(name, make)`: a folder that `make(folder)` fills once, whichever process of pytest-xdist asks first.

    Tests only read it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, make) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def demo_data(make_once) -> Path:
    """A small synthetic set of all three kinds: 4 training and 2 test sequences each, 12 frames."""
    # Worker processes of the readers start from this server, so that torch is imported only once.
    forkserver.set_forkserver_preload(["torch", "torchvision", "cv2", "timm", "lib.data.loader", "lib.running.runner"])
    forkserver.ensure_running()
    sizes = {"train_sequences": 4, "test_sequences": 2, "train_frames": 12, "test_frames": 12}
    return make_once("demo", lambda folder: write_datasets(folder, seed=3, workers=1, **sizes))


@pytest.fixture
def run_command(tmp_path, demo_data):
    """Runs one of our commands like a user, in an empty folder, on the small synthetic set."""

    def run(command: str, *arguments: object, env=None) -> subprocess.CompletedProcess:
        return run_tracking(command, *arguments, cwd=tmp_path, env={"TRANSCMD_DATA": str(demo_data), **(env or {})})

    return run
