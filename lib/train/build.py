"""cfg → the task of a stage, with the networks it needs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from torch import nn

from lib.config.loader import load_config
from lib.losses import DISTILL_LOSSES
from lib.losses.common import FeatureSpec
from lib.models.build import build_mae, build_model, load_trained_model, network_settings
from lib.models.vit import quarter_ends
from lib.models.weights.read import find_weights
from lib.train.balance import Balance
from lib.train.prerequisites import finished_checkpoint
from lib.train.tasks import DistillTask, PretrainTask, Task, TrackTask
from lib.train.teacher_cache import CachedTeacher
from lib.utils.trees import to_plain

logger = logging.getLogger(__name__)


class Surroundings(NamedTuple):
    """What a stage knows of the run it belongs to."""

    script: str
    save_dir: Path
    total_steps: int


def build_task(cfg, surroundings: Surroundings) -> Task:
    """The task of TRAIN.STAGE with its freshly initialised model."""
    return TASKS[cfg.TRAIN.STAGE](cfg, build_model(cfg), surroundings)


def build_track(cfg, model: nn.Module, surroundings: Surroundings) -> TrackTask:
    """Supervised training of a student or a teacher."""
    return TrackTask(model, tracking_weights(cfg), cfg.TRAIN.FREEZE)


def build_pretrain(cfg, model: nn.Module, surroundings: Surroundings) -> PretrainTask:
    """Masked-autoencoder training of a student's or a teacher's encoder."""
    return PretrainTask(model, build_mae(cfg, model), cfg.TRAIN.FREEZE)


def build_distill(cfg, model: nn.Module, surroundings: Surroundings) -> DistillTask:
    """Training of a student with a teacher."""
    teacher = load_teacher(cfg, surroundings)
    weights = {name: cfg.TRAIN.DISTILL[name] for name in DISTILL_LOSSES if cfg.TRAIN.DISTILL[name]}
    networks = [
        FeatureSpec(vit.width, vit.depth, vit.template_tokens, tuple(quarter_ends(vit.depth)))
        for vit in (model.streams[0], teacher.streams[0])
    ]
    losses = {name: DISTILL_LOSSES[name](*networks) for name in weights}
    balance = Balance(tuple(weights), surroundings.total_steps, cfg.TRAIN.DISTILL.BALANCE)
    if cfg.TRAIN.TEACHER.CACHE:
        teacher = CachedTeacher(teacher, cfg.TRAIN.TEACHER.CACHE)
    return DistillTask(model, teacher, tracking_weights(cfg), losses, weights, balance, cfg.TRAIN.FREEZE)


def load_teacher(cfg, surroundings: Surroundings) -> nn.Module:
    """The trained teacher of TRAIN.TEACHER, described by its own YAML.

    Raises:
        ValueError: it sees other crops than the student, or its checkpoint is of another network.
        FileNotFoundError: it has not been trained.
    """
    own = cfg.TRAIN.TEACHER
    teacher_cfg = load_config(surroundings.script, own.CONFIG)
    if teacher_cfg.MODEL.TYPE != "teacher":
        raise ValueError(f"TRAIN.TEACHER.CONFIG {own.CONFIG}: its MODEL.TYPE is {teacher_cfg.MODEL.TYPE}, not teacher")
    wanted, given = (network_settings(to_plain(c)) for c in (cfg, teacher_cfg))
    for key in wanted:
        if (key.startswith("DATA.") or key == "MODEL.BACKBONE.STRIDE") and wanted[key] != given[key]:
            raise ValueError(f"TRAIN.TEACHER.CONFIG {own.CONFIG}: {key} is {given[key]}, the student's {wanted[key]}")
    if own.CHECKPOINT:
        path = find_weights(own.CHECKPOINT)
        if not path.is_file():
            raise FileNotFoundError(
                f"TRAIN.TEACHER.CHECKPOINT {own.CHECKPOINT}: neither here nor in pretrained_models/; leave it empty to "
                f"use what python tracking/train.py --script {surroundings.script} --config {own.CONFIG} trains"
            )
    else:
        path = finished_checkpoint(surroundings.script, own.CONFIG, surroundings.save_dir, "TRAIN.TEACHER.CONFIG")
    teacher = load_trained_model(teacher_cfg, path)
    logger.info("teacher: %s", path)
    return teacher


def tracking_weights(cfg) -> dict[str, float]:
    """Of the terms of the tracking loss."""
    train = cfg.TRAIN
    return {
        "focal": train.FOCAL_WEIGHT,
        "giou": train.GIOU_WEIGHT,
        "l1": train.L1_WEIGHT,
        "paths": train.PATH_WEIGHT,
    }


TASKS = {"track": build_track, "pretrain": build_pretrain, "distill": build_distill}
