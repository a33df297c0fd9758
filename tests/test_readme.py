"""The README's commands and its Python example are run as they stand."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines() if line.startswith("python ")
]
SMALL = ["--train_sequences", "4", "--test_sequences", "2", "--train_frames", "12", "--test_frames", "12"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which all commands of the README have run, on a smaller set than theirs."""
    folder = tmp_path_factory.mktemp("readme")
    environment = {**os.environ, "TRANSCMD_DATA": str(folder / "data" / "demo")}
    for line in COMMANDS:
        words = shlex.split(line)[1:]
        words = [sys.executable, str(ROOT / words[0]), *words[1:], *(SMALL if "make_demo_data" in line else [])]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


def test_commands_leave_what_the_readme_says(workplace):
    assert len(COMMANDS) >= 8
    assert (workplace / "output/checkpoints/train/transcmd/debug/TransCMD_ep0002.pth.tar").is_file()
    assert list((workplace / "output/test/tracking_results/transcmd/debug_drop_rgb/LasHeR/debug").glob("*.mp4"))
    assert (workplace / "output/test/reports/LasHeR/success.pdf").is_file()
    assert (workplace / "data/LasHeR.lmdb").is_file()


def test_python_example_runs(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    images = [np.random.default_rng(i).integers(0, 255, (90, 120, 3), np.uint8) for i in range(4)]
    names = {"rgb": images[0], "thermal": images[1], "box_xywh": [40, 30, 20, 25], "frames": [(images[2], images[3])]}
    (example,) = (block for kind, block in BLOCKS if kind == "python")
    exec(example, names)
    assert np.shape(names["box_xywh"]) == (4,) and 0 <= names["score"] <= 1


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (ROOT / target).exists(), target
