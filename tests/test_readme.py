"""The README's commands and its Python example are run unchanged."""

import re
import shlex

import cv2
import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.models.build import build_model
from lib.models.weights.read import read_checkpoint
from lib.utils.paths import epoch_path
from tests.processes import ROOT, run_tracking

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines() if line.startswith("python ")
]
SMALL = ["--train_sequences", "4", "--test_sequences", "2", "--train_frames", "12", "--test_frames", "12"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which all commands of the README have run, on a smaller data set."""
    folder = tmp_path_factory.mktemp("readme")
    environment = {"TRANSCMD_DATA": str(folder / "data" / "demo")}
    for line in COMMANDS:
        _, command, *arguments = shlex.split(line)
        arguments += SMALL if "make_demo_data" in line else []
        done = run_tracking(command.removeprefix("tracking/"), *arguments, cwd=folder, env=environment)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


def check_plain_commands(workplace):
    assert len(COMMANDS) >= 8
    assert (workplace / "output/checkpoints/train/transcmd/debug/TransCMD_ep0002.pth.tar").is_file()
    assert list((workplace / "output/test/tracking_results/transcmd/debug_drop_rgb/LasHeR/debug").glob("*.mp4"))
    assert (workplace / "output/test/reports/LasHeR/success.pdf").is_file()
    assert (workplace / "data/demo_packed/LasHeR.lmdb").is_file()


def check_chain(workplace):
    folder = workplace / "output/checkpoints/train/transcmd"
    nets = {
        config: torch.load(epoch_path(folder / config, 2), weights_only=True)["net"]
        for config in ("debug_pretrain", "debug_teacher", "debug_distill")
    }
    plain = build_model(load_config("transcmd", "debug")).state_dict()
    for config in ("debug_pretrain", "debug_distill"):
        assert {n: v.shape for n, v in nets[config].items()} == {n: v.shape for n, v in plain.items()}
    state = torch.load(epoch_path(folder / "debug_distill", 2), weights_only=True)
    assert {name.split(".")[1] for name in state["task"] if name.startswith("losses.")} >= {"SCFD", "MPSD"}
    exported = read_checkpoint(workplace / "output/debug_distill.safetensors")["net"]
    assert exported.keys() == plain.keys()  # parts that only training needs are not included
    picture = cv2.imread(str(workplace / "output/visualised/debug_pretrain.png"))
    assert picture.shape == (22 + 9 * 192, 7 * 192, 3)


def check_python_example(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    images = [np.random.default_rng(i).integers(0, 255, (90, 120, 3), np.uint8) for i in range(4)]
    names = {"rgb": images[0], "thermal": images[1], "box_xywh": [40, 30, 20, 25], "frames": [(images[2], images[3])]}
    (example,) = (block for kind, block in BLOCKS if kind == "python")
    exec(example, names)
    assert np.shape(names["box_xywh"]) == (4,) and 0 <= names["score"] <= 1


def test_the_commands_and_the_example_of_the_readme_work(workplace, monkeypatch):
    """One test, so that the commands run only once."""
    check_plain_commands(workplace)
    check_chain(workplace)
    check_python_example(workplace, monkeypatch)


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (ROOT / target).exists(), target
