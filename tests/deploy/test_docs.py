"""docs/deploy.md: its commands and its Python example are run unchanged, on a smaller data set."""

import json
import re
import shlex

import numpy as np
import pytest

from tests.deploy.streams import read_video
from tests.processes import ROOT, run_tracking

pytest.importorskip("onnx", reason="pip install -e .[deploy]")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

TEXT = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
SMALL = {
    "make_demo_data.py": "--train_sequences 1 --test_sequences 1 --train_frames 12 --test_frames 12 --workers 1",
    "profile_model.py": "--rounds 1 --frames 2",
}


def test_the_commands_and_the_example_work(tmp_path, monkeypatch):
    assert len(COMMANDS) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for line in COMMANDS:
        _, path, *arguments = shlex.split(line)
        command = path.removeprefix("tracking/")
        done = run_tracking(command, *arguments, *SMALL.get(command, "").split(), cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    proof = json.loads((tmp_path / "output/exports/nano/nano.fp32.onnx.json").read_text())
    assert all(row["overlap"] > 0.99 for row in proof["parity"])
    assert list((tmp_path / "output/test/tracking_results/transcmd/nano_onnx/LasHeR").glob("*_score.txt"))
    assert len(read_video(tmp_path / "output/live.mp4")) == 12
    assert {"nano", "ostrack-256"} <= set(json.loads((tmp_path / "output/profile.json").read_text())["networks"])
    monkeypatch.chdir(tmp_path)
    images = [np.random.default_rng(i).integers(0, 255, (90, 120, 3), np.uint8) for i in range(4)]
    names = {"rgb": images[0], "thermal": images[1], "box_xywh": [40, 30, 20, 25], "frames": [(images[2], images[3])]}
    (example,) = (block for kind, block in BLOCKS if kind == "python")
    exec(example, names)
    assert np.shape(names["box_xywh"]) == (4,) and 0 <= names["score"] <= 1


def test_linked_files_exist():
    for path in [ROOT / "docs" / target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]:
        assert path.exists(), path
