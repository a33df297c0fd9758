"""Pictures of the behaviour of a trained network on held-out pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from lib.data.loader import build_loaders
from lib.models.build import check_settings, load_trained_model
from lib.models.fusion import PATHS
from lib.models.network import network_inputs
from lib.structures import Pair, Sample, take_rows, to_device
from lib.study.views import draw_paths, draw_reconstruction, pick_samples
from lib.train.build import RunInfo, build_task
from lib.train.checkpoint import read_training_state
from lib.utils.files import atomic_path
from lib.utils.misc import seed_step

BATCHES = 8  # number of validation batches from which samples are selected


@torch.inference_mode()
def draw_stage(cfg, name: str, checkpoint: Path, save_dir: Path, samples: int, device: torch.device) -> np.ndarray:
    """Draws masks and reconstructions of CMAE (stage pretrain), or the path weights of a teacher.

    Args:
        cfg: an experiment that `check_stage` accepts.
        name: name of the experiment, for error texts.
        samples: number of rows.

    Returns:
        One picture, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the experiment has no validation data, or the checkpoint has a different network.
        FileNotFoundError: the checkpoint or a data set is missing.
    """
    pretrains = cfg.TRAIN.STAGE == "pretrain"
    if pretrains and cfg.TRAIN.PRETRAIN.TARGET != "pixels":
        raise ValueError(f"--config {name}: TRAIN.PRETRAIN.TARGET {cfg.TRAIN.PRETRAIN.TARGET} has no pictures to show")
    if pretrains:
        stage = build_task(cfg, RunInfo("transcmd", save_dir, total_steps=1))
        state = read_training_state(checkpoint)
        check_settings(state, cfg, checkpoint)
        stage.restore(state["net"], state["task"])
    else:
        stage = load_trained_model(cfg, checkpoint)
        if tuple(getattr(stage.fusion, "paths", ())) != PATHS:
            raise ValueError(f"--config {name}: the pictures need a fusion with the paths {', '.join(PATHS)}")
    stage.to(device).eval()
    loader = build_loaders(cfg)[1]
    if loader is None:
        raise ValueError(f"--config {name}: DATA.VAL contains no data set")
    pool = concatenate([batch for _, batch in zip(range(BATCHES), loader, strict=False)])
    rows, labels = pick_samples(pool.search, samples)
    sample = to_device(take_rows(pool, rows), device)
    seed_step(cfg.TRAIN.SEED)
    if pretrains and cfg.TRAIN.PRETRAIN.TARGET != "pixels":
        raise ValueError(f"--config {name}: TRAIN.PRETRAIN.TARGET {cfg.TRAIN.PRETRAIN.TARGET} has no pictures to show")
    if pretrains:
        return draw_reconstruction(sample, stage.mae(stage.model, sample, exponent=1.0), cfg.MODEL.BACKBONE.STRIDE)
    inputs = network_inputs(sample)
    rgb, aux, _ = stage.encode(*inputs)
    return draw_paths(sample, stage(*inputs), stage.fusion.path_weights(rgb, aux), labels)


def check_stage(cfg, name: str) -> None:
    """Raises ValueError if an experiment is neither of stage pretrain nor a teacher."""
    if cfg.TRAIN.STAGE != "pretrain" and cfg.MODEL.TYPE != "teacher":
        raise ValueError(f"--config {name}: nothing to show; expected an experiment of stage pretrain, or a teacher")


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes an (H, W, 3) uint8 RGB picture, atomically. Raises OSError if it cannot be written."""
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), picture[..., ::-1]):
            raise OSError(f"{path}: cannot write the picture")


def concatenate(batches: list[Sample]) -> Sample:
    """Concatenates batches along dimension B, for all tensors of shape (B, ...)."""
    fields = zip(*batches, strict=True)
    return Sample(
        *(Pair(*map(torch.cat, zip(*f, strict=True))) if isinstance(f[0], Pair) else torch.cat(f) for f in fields)
    )
