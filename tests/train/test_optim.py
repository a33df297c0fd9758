"""The groups of the optimizer: learning rates, weight decay; states of older versions."""

import copy
import math

import pytest
import torch
from torch import nn

from lib.config.loader import load_config
from lib.train.optim import build_optimizer, build_scheduler, load_optimizer_state
from tests.train.test_trainer import cfg, encoder_settings, make_task, stage_cfg, teacher  # noqa: F401

MATRICES = (nn.Linear, nn.Conv2d)


def groups_of(settings, task) -> dict[int, dict]:
    """Parameter id → its group."""
    return {id(p): group for group in build_optimizer(settings, task).param_groups for p in group["params"]}


def test_weight_decay_is_for_matrices_alone(stage_cfg):  # noqa: F811
    """Norms, biases, positions, embeddings, mask vectors and gates have none; all weights of layers have it."""
    stage_cfg.TRAIN.WEIGHT_DECAY = 0.1
    task = make_task(stage_cfg)
    groups = groups_of(stage_cfg, task)
    decayed = {id(p) for p in task.parameters() if id(p) in groups and groups[id(p)]["weight_decay"]}
    assert {groups[number]["weight_decay"] for number in decayed} == {0.1}
    expected = {id(m.weight) for m in task.modules() if isinstance(m, MATRICES) and m.weight.requires_grad}
    names = {id(p): name for name, p in task.named_parameters()}
    others = {names[number] for number in decayed - expected}
    assert others <= {"mae.decoder.weight"} and not expected - decayed
    free = {name for number, name in names.items() if number in groups and number not in decayed}
    wanted = {"model.modality_embed", "model.encoder.search_position", "model.encoder.norm.weight"}
    wanted |= {"mae.mask_vectors", "mae.decoder.modality_embed"} if stage_cfg.TRAIN.STAGE == "pretrain" else set()
    assert wanted <= free


def test_both_streams_of_a_teacher_have_the_rate_of_a_backbone(demo_data):
    settings = load_config("transcmd", "debug_teacher", ["TRAIN.BACKBONE_MULTIPLIER=0.25", "TRAIN.GATE_MULTIPLIER=3"])
    task = make_task(settings)
    groups, base = groups_of(settings, task), settings.TRAIN.LR
    for stream in (task.model.rgb, task.model.aux):
        assert {groups[id(p)]["lr"] for p in stream.parameters()} == {0.25 * base}
    assert {groups[id(p)]["lr"] for p in task.model.fusion.parameters()} == {base}


def older_state(settings, task) -> tuple[dict, dict, dict]:
    """What a version with a group per learning rate has written after a step, and the averages by parameter name."""
    streams = {id(p) for p in task.model.encoder.parameters()}
    trained = [p for p in task.parameters() if p.requires_grad]
    new, backbone = [p for p in trained if id(p) not in streams], [p for p in trained if id(p) in streams]
    rates = {"new": settings.TRAIN.LR, "backbone": settings.TRAIN.LR * settings.TRAIN.BACKBONE_MULTIPLIER}
    members = {"new": new, "backbone": backbone}
    optimizer = torch.optim.AdamW(
        [{"params": members[name], "lr": rate, "weight_decay": 0.1, "name": name} for name, rate in rates.items()]
    )
    scheduler = build_scheduler(settings, optimizer, 4)
    for parameter in trained:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    scheduler.step()
    names = {id(p): name for name, p in task.named_parameters()}
    averages = {names[id(p)]: optimizer.state[p]["exp_avg"].clone() for p in trained}
    return copy.deepcopy(optimizer.state_dict()), scheduler.state_dict(), averages


def test_the_state_of_an_older_version_goes_to_the_same_parameters(cfg, caplog):  # noqa: F811
    cfg.TRAIN.BACKBONE_MULTIPLIER, cfg.TRAIN.WEIGHT_DECAY = 0.5, 0.1
    task = make_task(cfg)
    saved, schedule, averages = older_state(cfg, task)
    optimizer = build_optimizer(cfg, task)
    scheduler = build_scheduler(cfg, optimizer, 4)
    load_optimizer_state(optimizer, scheduler, task, {"optimizer": saved, "scheduler": schedule})
    assert "decayed norms, biases and positions as well" in caplog.text
    for name, parameter in task.named_parameters():
        assert torch.equal(optimizer.state[parameter]["exp_avg"], averages[name]), name
    rates = {group["name"]: group["lr"] for group in saved["param_groups"]}
    for group in optimizer.param_groups:
        assert group["lr"] == rates[group["name"].removesuffix("/no_decay")]
        assert group["weight_decay"] == (0 if group["name"].endswith("/no_decay") else 0.1)
    before = [group["lr"] for group in optimizer.param_groups]
    scheduler.step()  # warm-up from 2 to 3 of 20 steps, times the cosine of 8 steps
    change = 1.5 * (1 + math.cos(math.pi * 2 / 8)) / (1 + math.cos(math.pi / 8))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [rate * change for rate in before], rel=0.01
    )
    saved["param_groups"][0]["params"] = saved["param_groups"][0]["params"][1:]
    with pytest.raises(ValueError, match="groups .* do not fit; use --finetune"):
        load_optimizer_state(optimizer, scheduler, task, {"optimizer": saved, "scheduler": schedule})
