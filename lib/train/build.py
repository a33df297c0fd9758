"""Builds the task of a training stage with its networks. Contains the table TASKS."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from torch import nn

from lib.config.loader import load_config, restore_config
from lib.config.schema import STAGES
from lib.losses import DISTILL_LOSSES
from lib.losses.common import FeatureSpec
from lib.models.build import BACKBONES, build_mae, build_model, load_trained_content, network_settings
from lib.models.features import FeatureEncoder
from lib.models.vit import Normalize
from lib.models.weights.read import read_checkpoint
from lib.train.balance import Balance
from lib.train.prerequisites import finished_checkpoint
from lib.train.speed import compile_networks, share_batch_norms, store_in_bfloat16
from lib.train.tasks import DistillTask, FeaturesTask, PretrainTask, Task, TrackTask, part_names
from lib.train.teacher_cache import CachedEncoder, CachedTeacher
from lib.utils.paths import find_weights
from lib.utils.trees import to_plain

logger = logging.getLogger(__name__)


class RunInfo(NamedTuple):
    """The run for which a task is built."""

    script: str
    save_dir: Path
    total_steps: int  # number of optimizer steps of the whole training


def build_task(cfg, run: RunInfo) -> Task:
    """Returns the task of TRAIN.STAGE with a model with initial weights.

    Raises:
        ValueError: a key of MODEL or TRAIN.FREEZE does not fit the network, or see `load_teacher`.
        FileNotFoundError: the teacher has not been trained.
    """
    train, model = cfg.TRAIN, build_model(cfg)
    model.checkpointing = train.CHECKPOINTING
    if train.ONE_STREAM:
        model.one_stream = True
    if train.SYNC_BN:
        share_batch_norms(model)
    task = TASKS[train.STAGE](cfg, model, run)
    if train.COMPILE:
        compile_networks(task)
    return task


def build_track(cfg, model: nn.Module, run: RunInfo) -> TrackTask:
    """Returns the task of supervised training of a student or a teacher."""
    model.kept_layers = frozenset()  # no loss needs features of blocks
    return TrackTask(model, tracking_weights(cfg), cfg.TRAIN.FREEZE)


def build_pretrain(cfg, model: nn.Module, run: RunInfo) -> PretrainTask:
    """Returns the task of masked-autoencoder training. Raises ValueError if the backbone cannot be masked."""
    return PretrainTask(model, build_mae(cfg, model), cfg.TRAIN.FREEZE)


def build_features(cfg, model: nn.Module, run: RunInfo) -> FeaturesTask:
    """Returns the task of feature distillation from the encoder of TRAIN.FEATURES.

    Raises:
        FileNotFoundError: the weights of the encoder are missing.
        ValueError: the weights do not fit, or TRAIN.FEATURES.FILE is empty.
    """
    own = cfg.TRAIN.FEATURES
    if not own.FILE:
        raise ValueError("TRAIN.FEATURES.FILE is empty; expected the weights of a pretrained encoder")
    backbone = BACKBONES[own.BACKBONE](
        template_size=cfg.DATA.TEMPLATE.SIZE,
        search_size=cfg.DATA.SEARCH.SIZE,
        stride=cfg.MODEL.BACKBONE.STRIDE,
        prefix_tokens=own.PREFIX_TOKENS,
    )
    encoder = FeatureEncoder(backbone, own.LAYER, Normalize(cfg.DATA.MEAN, cfg.DATA.STD))
    logger.info("encoder: %s", encoder.load(find_weights(own.FILE)))
    width = encoder.width
    return FeaturesTask(model, CachedEncoder(encoder, own.CACHE) if own.CACHE else encoder, width, cfg.TRAIN.FREEZE)


def build_distill(cfg, model: nn.Module, run: RunInfo) -> DistillTask:
    """Returns the task of distillation from a teacher.

    Raises:
        ValueError: the teacher does not fit the student or a loss, see `load_teacher` and DISTILL_LOSSES.
        FileNotFoundError: the teacher has not been trained.
    """
    teacher = load_teacher(cfg, run)
    weights = {name: cfg.TRAIN.DISTILL[name] for name in DISTILL_LOSSES if cfg.TRAIN.DISTILL[name]}
    specs = [feature_spec(network) for network in (model, teacher)]
    losses = {name: DISTILL_LOSSES[name](*specs) for name in weights}
    parts = tuple(part for name, loss in losses.items() for part in part_names(name, loss))
    balance = Balance(parts, run.total_steps, cfg.TRAIN.DISTILL.BALANCE)
    if cfg.TRAIN.TEACHER.DTYPE == "bfloat16":
        store_in_bfloat16(teacher)
    model.kept_layers = layers_of(losses.values(), of_teacher=False)
    if not cfg.TRAIN.TEACHER.CACHE:  # a cache serves runs with other losses as well
        teacher.kept_layers = layers_of(losses.values(), of_teacher=True)
    if cfg.TRAIN.TEACHER.CACHE:
        teacher = CachedTeacher(teacher, cfg.TRAIN.TEACHER.CACHE)
    return DistillTask(model, teacher, tracking_weights(cfg), losses, weights, balance, cfg.TRAIN.FREEZE)


def layers_of(losses: Iterable[nn.Module], of_teacher: bool) -> frozenset[int] | None:
    """Returns the blocks, counted from 1, whose features the losses need; None if one of them does not say."""
    pairs = [getattr(loss, "layers", None) for loss in losses]
    return None if None in pairs else frozenset(pair[of_teacher] for each in pairs for pair in each)


def feature_spec(network: nn.Module) -> FeatureSpec:
    """Returns the properties of a student or a teacher that losses need."""
    backbone = network.streams[0]
    paths = getattr(network.fusion, "paths", ())
    return FeatureSpec(backbone.width, backbone.depth, backbone.template_tokens, backbone.matched_layers, paths)


def load_teacher(cfg, run: RunInfo) -> nn.Module:
    """Returns the trained teacher of TRAIN.TEACHER, as described by the configuration in its checkpoint.

    The YAML file of TRAIN.TEACHER.CONFIG describes it if the checkpoint contains no configuration. So a teacher that
    was trained with other settings than those of its file, e.g. with --set in a chain, needs no second statement.

    Raises:
        ValueError: its crops or stride differ from the student's, or it is no teacher.
        FileNotFoundError: the teacher has not been trained.
    """
    own = cfg.TRAIN.TEACHER
    path = teacher_checkpoint(cfg, run)
    content = read_checkpoint(path)
    stored = content.get("config")
    teacher_cfg = restore_config(stored, str(path)) if stored else load_config(run.script, own.CONFIG)
    if teacher_cfg.MODEL.TYPE != "teacher":
        raise ValueError(f"TRAIN.TEACHER.CONFIG {own.CONFIG}: MODEL.TYPE is {teacher_cfg.MODEL.TYPE}, expected teacher")
    wanted, given = (network_settings(to_plain(c)) for c in (cfg, teacher_cfg))
    for key in wanted:
        if (key.startswith("DATA.") or key == "MODEL.BACKBONE.STRIDE") and wanted[key] != given[key]:
            raise ValueError(f"TRAIN.TEACHER.CONFIG {own.CONFIG}: {key} is {given[key]}, the student's {wanted[key]}")
    teacher = load_trained_content(teacher_cfg, content, path)
    logger.info("teacher: %s", path)
    return teacher


def teacher_checkpoint(cfg, run: RunInfo) -> Path:
    """Returns the path of the teacher's weights. Raises FileNotFoundError if it has not been trained."""
    own = cfg.TRAIN.TEACHER
    if not own.CHECKPOINT:
        return finished_checkpoint(run.script, own.CONFIG, run.save_dir, "TRAIN.TEACHER.CONFIG")
    path = find_weights(own.CHECKPOINT)
    if not path.is_file():
        raise FileNotFoundError(
            f"TRAIN.TEACHER.CHECKPOINT {own.CHECKPOINT}: no such file, nor in pretrained_models/; leave it empty "
            f"to use the result of python tracking/train.py --script {run.script} --config {own.CONFIG}"
        )
    return path


def tracking_weights(cfg) -> dict[str, float]:
    """Returns the weights of the terms of the tracking loss, by name; each at least 0."""
    train = cfg.TRAIN
    return {
        "focal": train.FOCAL_WEIGHT,
        "giou": train.GIOU_WEIGHT,
        "l1": train.L1_WEIGHT,
        "paths": train.PATH_WEIGHT,
    }


TASKS = dict(zip(STAGES, (build_track, build_pretrain, build_features, build_distill), strict=True))
