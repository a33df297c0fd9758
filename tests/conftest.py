"""What tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Ground truth and published results that are not part of the repository; tests that need them skip without."""
    folder = Path(os.environ.get("TRANSCMD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data in {folder}; set TRANSCMD_SHARED")
    return folder
