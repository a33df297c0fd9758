"""Prerequisites of an experiment: other experiments that must be trained before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from lib.config.loader import config_name, load_config
from lib.train.checkpoint import CheckpointFolder
from lib.utils.paths import checkpoint_folder


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
    """Returns whether a checkpoint is of the last epoch, TRAIN.EPOCH in config.yaml in the same folder."""
    record = path.with_name("config.yaml")
    if not record.is_file():
        return False
    epochs = yaml.safe_load(record.read_text(encoding="utf-8"))["TRAIN"]["EPOCH"]
    return path.name.endswith(f"_ep{epochs:04d}.pth.tar")
