"""Prerequisites: a teacher that is too weak stops the command."""

import pytest
import torch

from lib.config.loader import load_config
from lib.data.loader import build_loaders
from lib.losses.tracking import box_iou
from lib.models.build import build_model
from lib.models.network import network_inputs
from lib.train.prerequisites import check_teacher
from tests.processes import run_tracking

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def held_out(demo_data):
    cfg = load_config("transcmd", "debug_teacher", [f"DATA.ROOT={demo_data}", "TRAIN.NUM_WORKER=0"])
    torch.manual_seed(0)
    return build_model(cfg).eval(), build_loaders(cfg)[1]


def test_the_iou_of_a_teacher_is_the_mean_over_all_held_out_pairs(held_out):
    teacher, loader = held_out
    with torch.no_grad():
        ious = torch.cat([box_iou(teacher(*network_inputs(s)).boxes, s.search_box)[s.present] for s in loader])
    found = ious.mean().item()
    check_teacher(teacher, loader, found - 1e-4, CPU)
    with pytest.raises(
        ValueError, match=rf"MIN_IOU is {found + 0.01}.* on {len(ious)} pairs of DATA.VAL is {found:.4f}"
    ):
        check_teacher(teacher, loader, found + 0.01, CPU)


def test_without_held_out_pairs_the_gate_says_so(held_out):
    with pytest.raises(ValueError, match="MIN_IOU needs held-out pairs, but DATA.VAL contains no data set"):
        check_teacher(held_out[0], None, 0.5, CPU)


def test_a_weak_teacher_stops_the_training_command_before_a_step(demo_data, tmp_path):
    common = ["--script", "transcmd", "--save_dir", tmp_path, "--set", f"DATA.ROOT={demo_data}"]
    for name in ("debug_teacher", "debug_pretrain"):
        assert run_tracking("train.py", *common, "--config", name, "--set", "TRAIN.EPOCH=1").returncode == 0
    failed = run_tracking("train.py", *common, "--config", "debug_distill", "--set", "TRAIN.TEACHER.MIN_IOU=0.99")
    assert failed.returncode == 1
    assert "error: TRAIN.TEACHER.MIN_IOU is 0.99, but the teacher's mean IoU on" in failed.stderr
    assert not list((tmp_path / "checkpoints/train/transcmd/debug_distill").glob("*.pth.tar"))
