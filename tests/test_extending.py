"""docs/extending.md: every example runs as it stands, against an unchanged lib."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config.loader import ConfigError, dump_config, load_config
from lib.data.crop import CropSpec
from lib.data.sequence import Sequence
from lib.losses import DISTILL_LOSSES
from lib.models.build import BACKBONES, build_model, load_trained_model
from lib.models.fusion import FUSIONS
from lib.models.weights.read import network_of, read_checkpoint, write_net
from lib.structures import MODALITIES, modality_index
from lib.tracker.transcmd import TransCMDTracker
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer
from lib.train.run import train
from lib.utils.paths import checkpoint_folder, epoch_path
from lib.utils.trees import to_plain
from tests.helpers import MemoryStore, encode, numbered_picture
from tests.samples import random_sample

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
NANO = ROOT / "pretrained_models/teacher_nano.safetensors"


def run_example(title: str) -> dict:
    """Runs the Python blocks of one section of docs/extending.md, one after the other, in one namespace."""
    (section,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    names: dict = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, f"docs/extending.md, {title}", "exec"), names)
    return names


def add_rows(monkeypatch, table: dict, names: dict) -> None:
    for name, row in names["ROW"].items():
        assert name not in table
        monkeypatch.setitem(table, name, row)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Weights of `debug_teacher`, never trained."""
    torch.manual_seed(0)
    cfg, path = load_config("transcmd", "debug_teacher"), tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    write_net(path, build_model(cfg).state_dict(), to_plain(cfg), torch.float32)
    return path


def distill_settings(teacher: Path) -> list[str]:
    return [f"TRAIN.TEACHER.CHECKPOINT={teacher}", "TRAIN.EPOCH=1", "MODEL.PRETRAIN_CONFIG=''"]


def test_a_fusion_trains_and_tracks(monkeypatch, tmp_path, demo_data):
    with pytest.raises(ConfigError, match="'gated' is not a choice"):
        load_config("transcmd", "debug", ["MODEL.FUSION.TYPE=gated"])
    add_rows(monkeypatch, FUSIONS, run_example("A fusion"))
    cfg = load_config("transcmd", "debug", ["MODEL.FUSION.TYPE=gated", "TRAIN.EPOCH=1", f"DATA.ROOT={demo_data}"])
    train(cfg, "transcmd", "gated", tmp_path, device_name="cpu")
    model = load_trained_model(cfg, epoch_path(checkpoint_folder(tmp_path, "transcmd", "gated"), 1))
    output = model.eval()(*random_sample()[:2], random_sample().modality)
    assert output.score_map.isfinite().all() and not output.paths
    with pytest.raises(ConfigError, match="gated does not go with MODEL.TYPE teacher: expected multi_path"):
        load_config("transcmd", "debug_teacher", ["MODEL.FUSION.TYPE=gated"])


def test_a_parameter_called_gate_has_no_learning_rate_of_its_own(monkeypatch):
    add_rows(monkeypatch, FUSIONS, run_example("A fusion"))
    cfg = load_config("transcmd", "debug", ["MODEL.FUSION.TYPE=gated"])
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 1))
    groups = {group["name"]: group for group in build_optimizer(cfg, task).param_groups}
    assert "gates" not in groups
    assert any(parameter is task.model.fusion.mix_gate for parameter in groups["new"]["params"])


def test_a_distillation_loss_is_off_until_it_has_a_weight(monkeypatch, teacher):
    with pytest.raises(ConfigError, match="unknown key TRAIN.DISTILL.RELATION"):
        load_config("transcmd", "debug_distill", ["TRAIN.DISTILL.RELATION=1"])
    add_rows(monkeypatch, DISTILL_LOSSES, run_example("A distillation loss"))
    cfg = load_config("transcmd", "debug_distill", distill_settings(teacher))
    assert cfg.TRAIN.DISTILL.RELATION == 0.0 and "RELATION: 0.0" in dump_config(cfg)
    with pytest.raises(ConfigError, match="TRAIN.DISTILL.RELATION: expected a value at least 0"):
        load_config("transcmd", "debug_distill", ["TRAIN.DISTILL.RELATION=-1"])


def test_a_distillation_loss_trains(monkeypatch, teacher):
    add_rows(monkeypatch, DISTILL_LOSSES, run_example("A distillation loss"))
    only = [f"TRAIN.DISTILL.{name}=0" for name in ("SCFD", "MPSD", "RESPONSE")]
    cfg = load_config(
        "transcmd", "debug_distill", [*distill_settings(teacher), *only, "TRAIN.DISTILL.RELATION=2", "TRAIN.LR=1e-5"]
    )
    torch.manual_seed(0)
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 8)).train()
    optimizer, values = build_optimizer(cfg, task), []
    for _ in range(8):
        terms, logs = task(random_sample(), 0.5)
        optimizer.zero_grad()
        terms["RELATION"].backward()
        optimizer.step()
        values.append(terms["RELATION"].item())
    assert values[-1] < 0.98 * values[0] and "relation/aux" in logs


def test_a_distillation_loss_is_zero_for_equal_networks(monkeypatch, teacher):
    add_rows(monkeypatch, DISTILL_LOSSES, run_example("A distillation loss"))
    cfg = load_config("transcmd", "debug_distill", [*distill_settings(teacher), "TRAIN.DISTILL.RELATION=1"])
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 8))
    output = task.teacher(*random_sample()[:2], random_sample().modality)
    assert task.losses["RELATION"](output, output, random_sample(), 0.0)[0] == 0


def test_old_weights_load_with_a_new_modality(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    plain = network_of(read_checkpoint(NANO), NANO).tensors
    add_rows(monkeypatch, MODALITIES, run_example("An auxiliary modality"))
    cfg = load_config("transcmd", "teacher_nano")
    model = load_trained_model(cfg, NANO)
    rows = model.modality_embed
    assert len(rows) == 5 and torch.equal(rows[:4], plain["modality_embed"].float())
    assert torch.equal(rows[modality_index("nir")], rows[modality_index("rgb")])
    assert any("row of nir copied from rgb" in message for message in caplog.messages)


def test_a_new_modality_is_read_tracked_and_stored_by_name(monkeypatch, tmp_path):
    before = list(MODALITIES)
    add_rows(monkeypatch, MODALITIES, run_example("An auxiliary modality"))
    pictures = {f"{part}/{t}.png": encode(numbered_picture(t), ".png") for part in ("rgb", "nir") for t in range(3)}
    keys = [[f"{part}/{t}.png" for t in range(3)] for part in ("rgb", "nir")]
    boxes = np.tile([2.0, 3, 8, 9], (3, 1))
    sequence = Sequence("one", "nir", MemoryStore(pictures), *keys, boxes, np.ones(3, bool))
    cfg = load_config("transcmd", "debug")
    model = build_model(cfg)
    tracker = TransCMDTracker(model, CropSpec(32, 2.0), CropSpec(64, 4.0), "nir", torch.device("cpu"))
    tracker.initialize(sequence.frame(0), boxes[0])
    assert np.isfinite(tracker.track(sequence.frame(1)).box_xywh).all()
    path = tmp_path / "nir.safetensors"
    write_net(path, model.state_dict(), to_plain(cfg), torch.float32)
    assert read_checkpoint(path)["modalities"] == [*before, "nir"]
    monkeypatch.undo()
    again = load_trained_model(cfg, path)  # without the row: the others keep their names
    assert torch.equal(again.modality_embed, model.modality_embed[:4])


@pytest.fixture
def modalities():
    """The table, to be changed; afterwards it is as it was, in its order."""
    before = dict(MODALITIES)
    yield MODALITIES
    MODALITIES.clear()
    MODALITIES.update(before)


def test_rows_are_matched_by_name_and_not_by_place(tmp_path, modalities):
    cfg = load_config("transcmd", "debug")
    model, path, before = build_model(cfg), tmp_path / "net.safetensors", list(modalities)
    write_net(path, model.state_dict(), to_plain(cfg), torch.float32)
    for name in ("rgb", "rgbd", "rgbt"):  # to the end, so that rgbe is the first
        modalities[name] = modalities.pop(name)
    again = load_trained_model(cfg, path)
    for number, name in enumerate(("rgbe", "rgb", "rgbd", "rgbt")):
        assert torch.equal(again.modality_embed[number], model.modality_embed[before.index(name)]), name


def test_a_convolutional_student_learns_from_a_vit_teacher(monkeypatch, tmp_path, teacher, demo_data):
    add_rows(monkeypatch, BACKBONES, run_example("A backbone"))
    settings = [*distill_settings(teacher), "MODEL.BACKBONE.TYPE=mobilenet", f"DATA.ROOT={demo_data}"]
    cfg = load_config("transcmd", "debug_distill", settings)
    assert all(cfg.TRAIN.DISTILL[name] > 0 for name in ("SCFD", "MPSD", "RESPONSE"))
    train(cfg, "transcmd", "conv", tmp_path, device_name="cpu")
    path = epoch_path(checkpoint_folder(tmp_path, "transcmd", "conv"), 1)
    model = load_trained_model(cfg, path).eval()
    assert model(*random_sample()[:2], random_sample().modality).boxes.isfinite().all()
    task = read_checkpoint(path)["task"]
    assert {"losses.SCFD.project.0.weight", "losses.MPSD.project.joint.weight"} <= task.keys()


def test_every_loss_trains_a_convolutional_student(monkeypatch, teacher):
    add_rows(monkeypatch, BACKBONES, run_example("A backbone"))
    cfg = load_config("transcmd", "debug_distill", [*distill_settings(teacher), "MODEL.BACKBONE.TYPE=mobilenet"])
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 8)).train()
    monkeypatch.setattr("lib.losses.mpsd.MIN_TEACHER_IOU", 0.0)
    for name in ("SCFD", "MPSD", "RESPONSE"):
        task.zero_grad()
        terms, _ = task(random_sample(), 0.5)
        terms[name].backward()
        gradient = task.model.encoder.project.weight.grad
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0, name


def test_cmae_refuses_a_convolutional_backbone(monkeypatch):
    add_rows(monkeypatch, BACKBONES, run_example("A backbone"))
    cfg = load_config("transcmd", "debug_pretrain", ["MODEL.BACKBONE.TYPE=mobilenet"])
    with pytest.raises(ValueError, match="CMAE cannot mask a MobileNet; set MODEL.BACKBONE.TYPE to a ViT"):
        build_task(cfg, RunInfo("transcmd", Path("output"), 1))


def test_a_backbone_says_what_it_cannot_do(monkeypatch):
    add_rows(monkeypatch, BACKBONES, run_example("A backbone"))
    cfg = load_config("transcmd", "debug", ["MODEL.BACKBONE.TYPE=mobilenet", "MODEL.BACKBONE.PREFIX_TOKENS=1"])
    with pytest.raises(ValueError, match="mobilenet has STRIDE 16 and PREFIX_TOKENS 0, got 16 and 1"):
        build_model(cfg)
