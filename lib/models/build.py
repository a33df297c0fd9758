"""The whole architecture on one page."""

from __future__ import annotations

from torch import nn

from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.mae import CMAE
from lib.models.student import Student
from lib.models.teacher import Teacher
from lib.models.vit import VARIANTS, Normalize, ViT

MODELS = {"student": Student, "teacher": Teacher}


def build_model(cfg) -> nn.Module:
    """The student or teacher that MODEL and DATA.{TEMPLATE,SEARCH}.SIZE describe, freshly initialised.

    Raises:
        ValueError: MODEL.BACKBONE.INTERACTION_LAYERS names a block that is not there.
    """
    model = cfg.MODEL
    vit = ViT(
        VARIANTS[model.BACKBONE.TYPE],
        template_size=cfg.DATA.TEMPLATE.SIZE,
        search_size=cfg.DATA.SEARCH.SIZE,
        stride=model.BACKBONE.STRIDE,
        drop_path_rate=cfg.TRAIN.DROP_PATH_RATE,
        prefix_tokens=model.BACKBONE.PREFIX_TOKENS,
        layer_scale=model.BACKBONE.LAYER_SCALE,
    )
    return MODELS[model.TYPE](
        vit,
        interaction_layers=model.BACKBONE.INTERACTION_LAYERS,
        fusion=FUSIONS[model.FUSION.TYPE](vit.width, vit.template_tokens, model.FUSION.RANK),
        head=HEADS[model.HEAD.TYPE](vit.width, model.HEAD.NUM_CHANNELS),
        normalize=Normalize(cfg.DATA.MEAN, cfg.DATA.STD),
    )


def build_mae(cfg, model: nn.Module) -> CMAE:
    """The pretraining that TRAIN.PRETRAIN describes, around a model that it shares."""
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
    )
