"""The whole architecture on one page."""

from __future__ import annotations

from torch import nn

from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.student import Student
from lib.models.vit import VARIANTS


def build_model(cfg) -> nn.Module:
    """The network of MODEL.TYPE, freshly initialised."""
    return MODELS[cfg.MODEL.TYPE](cfg)


def build_student(cfg) -> Student:
    """The student that MODEL and DATA.{TEMPLATE,SEARCH}.SIZE describe.

    Raises:
        ValueError: MODEL.BACKBONE.INTERACTION_LAYERS names a block that is not there.
    """
    model, stride = cfg.MODEL, cfg.MODEL.BACKBONE.STRIDE
    variant = VARIANTS[model.BACKBONE.TYPE]
    return Student(
        variant,
        template_size=cfg.DATA.TEMPLATE.SIZE,
        search_size=cfg.DATA.SEARCH.SIZE,
        stride=stride,
        interaction_layers=model.BACKBONE.INTERACTION_LAYERS,
        fusion=FUSIONS[model.FUSION.TYPE](variant.width, (cfg.DATA.TEMPLATE.SIZE // stride) ** 2, model.FUSION.RANK),
        head=HEADS[model.HEAD.TYPE](variant.width, model.HEAD.NUM_CHANNELS),
        mean=cfg.DATA.MEAN,
        std=cfg.DATA.STD,
        drop_path_rate=cfg.TRAIN.DROP_PATH_RATE,
    )


MODELS = {"student": build_student}
