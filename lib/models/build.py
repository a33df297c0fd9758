"""Builds student, teacher and CMAE from a configuration. Contains the tables MODELS and BACKBONES."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lib.models.backbone import Backbone
from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.mae import CMAE
from lib.models.student import Student
from lib.models.teacher import Teacher
from lib.models.vit import VARIANTS, Normalize, ViT
from lib.models.weights.read import network_of, read_checkpoint
from lib.models.weights.report import load_exact
from lib.utils.trees import flatten, to_plain

MODELS = {"student": Student, "teacher": Teacher}
BACKBONES: dict[str, Callable[..., Backbone]] = {
    **{name: partial(ViT, variant) for name, variant in VARIANTS.items()},
}
# Settings that older checkpoints lack → the value that they were trained with.
LATER_SETTINGS = {
    "MODEL.BACKBONE.ATTENTION": "joint",
    "DATA.INPUT.DEPTH": "colormap",
    "DATA.INPUT.EVENTS": "frames",
}
# Settings without weights, which a trained network may also be used with.
FREE_SETTINGS = ("MODEL.BACKBONE.ELIMINATION.LAYERS", "MODEL.BACKBONE.ELIMINATION.KEEP")


def build_model(cfg) -> nn.Module:
    """Returns the student or teacher that MODEL and DATA.{TEMPLATE,SEARCH}.SIZE describe, with initial weights.

    Raises:
        ValueError: MODEL.BACKBONE.INTERACTION_LAYERS or ELIMINATION.LAYERS contains a number that is not that of a
            block, or the backbone cannot have MODEL.BACKBONE.ATTENTION or ELIMINATION.
    """
    model = cfg.MODEL
    encoder = BACKBONES[model.BACKBONE.TYPE](
        template_size=cfg.DATA.TEMPLATE.SIZE,
        search_size=cfg.DATA.SEARCH.SIZE,
        stride=model.BACKBONE.STRIDE,
        drop_path_rate=cfg.TRAIN.DROP_PATH_RATE,
        prefix_tokens=model.BACKBONE.PREFIX_TOKENS,
        layer_scale=model.BACKBONE.LAYER_SCALE,
    )
    return MODELS[model.TYPE](
        encoder,
        interaction_layers=model.BACKBONE.INTERACTION_LAYERS,
        fusion=FUSIONS[model.FUSION.TYPE].build(encoder.width, encoder.template_tokens, model.FUSION.RANK),
        head=HEADS[model.HEAD.TYPE](encoder.width, model.HEAD.NUM_CHANNELS),
        normalize=Normalize(cfg.DATA.MEAN, cfg.DATA.STD),
        target_embed=model.TARGET_EMBED,
        **(_student_arguments(model.BACKBONE) if model.TYPE == "student" else {}),
    )


def _student_arguments(backbone) -> dict[str, Any]:
    removal = backbone.ELIMINATION
    return {"attention": backbone.ATTENTION, "elimination": dict.fromkeys(removal.LAYERS, removal.KEEP)}


def load_trained_model(cfg, checkpoint: str | Path) -> nn.Module:
    """Returns the network that `cfg` describes with the weights of a checkpoint, on the CPU.

    Raises:
        FileNotFoundError: the checkpoint is missing.
        ValueError: the file is not a checkpoint, or its network differs from `cfg`, even if all shapes are equal.
    """
    return load_trained_content(cfg, read_checkpoint(checkpoint), checkpoint)


def load_trained_content(cfg, content: dict[str, Any], checkpoint: str | Path) -> nn.Module:
    """As `load_trained_model`, from the content of a checkpoint that was read already."""
    model = build_model(cfg)
    load_exact(model, network_of(content, checkpoint).tensors, str(checkpoint))
    check_settings(content, cfg, checkpoint)
    return model


def check_settings(content: dict[str, Any], cfg, checkpoint: Path) -> None:
    """Raises ValueError if the settings in a checkpoint's content describe a different network than `cfg`."""
    trained, wanted = network_settings(content.get("config", {})), network_settings(to_plain(cfg))
    if trained:  # checkpoints without a configuration are only checked by their shapes
        trained = {**LATER_SETTINGS, **trained}
    for key, value in trained.items():
        if wanted.get(key, value) != value and key not in FREE_SETTINGS:
            raise ValueError(f"{checkpoint}: trained with {key} {value}, the config has {wanted[key]}")


def network_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a configuration that a network depends on, e.g. {'MODEL.BACKBONE.STRIDE': 16}.

    Of the front ends, these are the kinds of pictures that depth and events become. Those of thermal images only set
    which grey levels are black and white, and may fit each data set.
    """
    keys = (
        "DATA.MEAN",
        "DATA.STD",
        "DATA.TEMPLATE.SIZE",
        "DATA.TEMPLATE.FACTOR",
        "DATA.SEARCH.SIZE",
        "DATA.SEARCH.FACTOR",
        "DATA.INPUT.DEPTH",
        "DATA.INPUT.EVENTS",
    )
    return {
        key: value
        for key, value in flatten(config)
        if key in keys or (key.startswith("MODEL.") and not key.startswith("MODEL.PRETRAIN"))
    }


def build_mae(cfg, model: nn.Module) -> CMAE:
    """Returns the masked autoencoder that TRAIN.PRETRAIN describes, for `model`.

    Raises:
        ValueError: the backbone of `model` cannot be masked, or all its blocks are joint; see `CMAE`.
    """
    pretrain = cfg.TRAIN.PRETRAIN
    return CMAE(
        model,
        strategy=pretrain.STRATEGY,
        mask_ratio=pretrain.MASK_RATIO,
        other_ratio=pretrain.OTHER_RATIO,
        template_ratio=pretrain.TEMPLATE_RATIO,
        width=pretrain.DECODER.WIDTH,
        depth=pretrain.DECODER.DEPTH,
        heads=pretrain.DECODER.HEADS,
        target=pretrain.TARGET,
    )
