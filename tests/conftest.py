"""What tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny: threads would only wait for each other

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib.data.synthetic import write_datasets

# Children inherit an ignored Ctrl-C, which it is where tests run as a background job.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Ground truth and published results that are not part of the repository; tests that need them skip without."""
    folder = Path(os.environ.get("TRANSCMD_SHARED", ROOT.parent / "shared"))
    if not (folder / "reference").is_dir():
        if "TRANSCMD_SHARED" in os.environ:
            pytest.fail(f"TRANSCMD_SHARED={folder} holds no reference/")
        pytest.skip(f"no reference data in {folder}; set TRANSCMD_SHARED")
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory) -> Path:
    """A small synthetic set of all three kinds: 4 training and 2 test sequences each, 12 frames."""
    root = tmp_path_factory.mktemp("demo")
    write_datasets(root, seed=3, train_sequences=4, test_sequences=2, train_frames=12, test_frames=12, workers=2)
    return root


@pytest.fixture
def run_command(tmp_path, demo_data):
    """Runs one of our commands as a user would, in an empty folder, on the small synthetic set."""

    def run(command: str, *arguments: object, **kwargs) -> subprocess.CompletedProcess:
        environment = {**os.environ, "TRANSCMD_DATA": str(demo_data), **kwargs.pop("env", {})}
        line = [sys.executable, str(ROOT / "tracking" / command), *map(str, arguments)]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, **kwargs
        )

    return run
