"""Prerequisites of an experiment: other experiments that must be trained before it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

from lib.config.loader import config_name, load_config
from lib.losses.tracking import box_iou
from lib.models.network import network_inputs
from lib.structures import to_device
from lib.train.checkpoint import VALIDATION, CheckpointFolder, read_record
from lib.utils import distributed
from lib.utils.paths import checkpoint_folder

logger = logging.getLogger(__name__)


def prerequisites(cfg) -> dict[str, str]:
    """Returns configuration key → experiment whose result is needed; the pretrained network comes first."""
    needed = {"MODEL.PRETRAIN_CONFIG": cfg.MODEL.PRETRAIN_CONFIG}
    if cfg.TRAIN.STAGE == "distill" and not cfg.TRAIN.TEACHER.CHECKPOINT:
        needed["TRAIN.TEACHER.CONFIG"] = cfg.TRAIN.TEACHER.CONFIG
    return {key: config for key, config in needed.items() if config}


def training_order(
    script: str, config: str, overrides: list[str], finished: Callable[[str], bool] = lambda config: False
) -> list[str]:
    """Returns all direct and indirect prerequisites of `config` in the order of training, then `config`.

    Args:
        finished: whether an experiment is trained; the prerequisites of a finished experiment are omitted.

    Raises:
        ValueError: an experiment is its own prerequisite, or its configuration is invalid.
    """
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"{' needs '.join((*path, name))}: an experiment cannot be its own prerequisite")
        for needed in () if finished(name) else prerequisites(load_config(script, name, overrides)).values():
            visit(needed, (*path, name))
        if name not in order:
            order.append(name)

    visit(config, ())
    return order


def check_teacher(teacher: nn.Module, loader: DataLoader | None, least: float, device: torch.device) -> None:
    """Raises ValueError if the teacher's mean IoU on the held-out pairs is less than `least`, TRAIN.TEACHER.MIN_IOU.

    Args:
        teacher: on `device`, in evaluation mode.
        loader: batches of DATA.VAL; each process measures its own.
    """
    if loader is None:
        raise ValueError("TRAIN.TEACHER.MIN_IOU needs held-out pairs, but DATA.VAL contains no data set")
    total = torch.zeros(2, device=device)  # sum of the IoU, number of pairs
    with torch.no_grad():
        for sample in loader:
            sample = to_device(sample, device)
            iou = box_iou(teacher(*network_inputs(sample)).boxes, sample.search_box)
            total += torch.stack([iou[sample.present].sum(), sample.present.sum().float()])
    found, count = distributed.sum_over_processes(total).tolist()
    logger.info("teacher: mean IoU %.4f on %d held-out pairs", found / max(count, 1), count)
    if found < least * count:
        raise ValueError(
            f"TRAIN.TEACHER.MIN_IOU is {least}, but the teacher's mean IoU on {count:.0f} pairs of DATA.VAL is "
            f"{found / count:.4f}; train the teacher further, or lower the limit"
        )


def finished_checkpoint(script: str, config: str, save_dir: str | Path, key: str) -> Path:
    """Returns the last checkpoint of a finished run.

    Args:
        key: the configuration key that needs it, for error texts.

    Raises:
        FileNotFoundError: there is no checkpoint, or the run is not finished; the message contains the command to run.
    """
    command = f"python tracking/train.py --script {script} --config {config}"
    if Path(save_dir) != Path("output"):
        command += f" --save_dir {save_dir}"
    config = config_name(config)
    path = newest(script, config, save_dir)
    if path is not None and is_finished(path):
        return path
    if path is not None:
        raise FileNotFoundError(
            f"{key}: the training of {config} is not finished (newest: {path}); continue with {command} --resume"
        )
    folder = checkpoint_folder(save_dir, script, config)
    raise FileNotFoundError(
        f"{key}: no checkpoint in {folder}; train it with {command}, or all prerequisites with --chain"
    )


def newest(script: str, config: str, save_dir: str | Path) -> Path | None:
    """Returns the newest checkpoint of an experiment, or None."""
    return CheckpointFolder(save_dir, script, config).latest()


def is_finished(path: Path) -> bool:
    """Returns whether a checkpoint is of the last epoch, and this epoch is validated if there are validation data.

    The last epoch is TRAIN.EPOCH in config.yaml in the same folder.
    """
    record = path.with_name("config.yaml")
    if not record.is_file():
        return False
    settings = yaml.safe_load(record.read_text(encoding="utf-8"))
    epochs, data = settings["TRAIN"]["EPOCH"], settings.get("DATA", {})
    if not path.name.endswith(f"_ep{epochs:04d}.pth.tar"):
        return False
    has_validation = any(data.get(part, {}).get("DATASETS_NAME") for part in ("VAL", "PROXY"))
    return not has_validation or read_record(path.with_name(VALIDATION)).get("epoch") == epochs
