"""Runs one experiment: data → task → optimizer → Trainer."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import torch

from lib.config.loader import dump_config
from lib.data.loader import build_loaders, build_proxy_loaders
from lib.models.weights.convert import convert
from lib.models.weights.read import read_foreign
from lib.models.weights.report import load_fitting
from lib.train.build import RunInfo, build_task
from lib.train.checkpoint import CheckpointFolder, read_training_state
from lib.train.logger import RunLogger
from lib.train.optim import build_optimizer, build_scheduler
from lib.train.prerequisites import finished_checkpoint
from lib.train.tasks import Task
from lib.train.trainer import Trainer, TrainerOptions
from lib.utils import distributed
from lib.utils.files import write_text
from lib.utils.locks import lock_folder
from lib.utils.misc import count_parameters, pick_device, seed_step
from lib.utils.paths import find_weights
from lib.utils.trees import flatten, to_plain

logger = logging.getLogger(__name__)

# Settings below DATA, MODEL and TRAIN that may change when a run is resumed.
MAY_CHANGE = (
    "ROOT",
    "CACHE",
    "SYNTHETIC",
    "NUM_WORKER",
    "PRINT_INTERVAL",
    "VAL",
    "PROXY",
    "SAVE_EPOCH_INTERVAL",
    "TEACHER.CACHE",
    "FEATURES.CACHE",
)


def train(
    cfg,
    script: str,
    config: str,
    save_dir: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    finetune: str | None = None,
    device_name: str = "",
) -> None:
    """Trains the experiment and writes checkpoints, logs and the resolved YAML below `save_dir`.

    Args:
        cfg: the configuration.
        script, config: names of the configuration, for the output folders.
        resume: continue from the newest checkpoint, if there is one.
        overwrite: first remove the checkpoints of an earlier run of this config.
        finetune: initial weights, used instead of MODEL.PRETRAIN_FILE; tensors that do not fit are logged.
        device_name: e.g. "cpu" or "cuda:1"; "": a GPU if available.

    Raises:
        ValueError: checkpoints exist and neither `resume` nor `overwrite` is set; another process trains this
            experiment; or weights, data sets or a checkpoint to resume from do not fit.
        FileNotFoundError: data, weights or a prerequisite are missing.
        FloatingPointError: the loss is not finite.
        KeyboardInterrupt: the run was stopped; a checkpoint was saved.
    """
    checkpoints = CheckpointFolder(save_dir, script, config, cfg.TRAIN.SAVE_EPOCH_INTERVAL)
    device = pick_device(device_name)
    distributed.start(device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    with contextlib.ExitStack() as held:
        if distributed.is_main():
            held.enter_context(lock_folder(checkpoints.path, "training"))
        latest = earlier_checkpoint(checkpoints, resume, overwrite)
        run_logger = held.enter_context(RunLogger(save_dir, script, config, enabled=distributed.is_main()))
        sharing = distributed.rank(), distributed.world_size(), device.type == "cuda"
        loaders, proxies = build_loaders(cfg, *sharing), build_proxy_loaders(cfg, *sharing)
        seed_step(cfg.TRAIN.SEED)
        task = build_task(cfg, RunInfo(script, Path(save_dir), cfg.TRAIN.EPOCH * len(loaders[0])))
        if not (resume and latest):
            start_from(task, cfg, script, save_dir, finetune)
        task.to(device)
        logger.info("%s: %.3f M trainable parameters, on %s", config, count_parameters(task.model) / 1e6, device)
        trainer = build_trainer(cfg, task, loaders, checkpoints, run_logger, device, proxies)
        if overwrite and distributed.is_main():
            checkpoints.clear()
            run_logger.clear_curves()
        elif resume and latest:
            trainer.load_state(matching_state(latest, trainer))
            logger.info(describe_resume(trainer, latest))
        elif resume:
            logger.info("--resume: no checkpoint in %s; starting from the beginning", checkpoints.path)
        if distributed.is_main():
            write_text(checkpoints.path / "config.yaml", dump_config(cfg))
        trainer.fit()
        logger.info("done: %s", checkpoints.latest())
        distributed.stop()  # not after an error: it could wait for processes that have ended


def earlier_checkpoint(checkpoints: CheckpointFolder, resume: bool, overwrite: bool) -> Path | None:
    """Returns the newest checkpoint of an earlier run, if there is one.

    Raises:
        ValueError: there is one, and the run may neither resume nor overwrite it.
    """
    latest = checkpoints.latest()
    if latest and not (resume or overwrite):
        raise ValueError(
            f"{latest} exists already: continue with --resume, start again with --overwrite, or set --save_dir"
        )
    return latest


def describe_resume(trainer: Trainer, path: Path) -> str:
    """Says where a resumed run continues."""
    if trainer.epoch >= trainer.options.epochs:
        return f"--resume: all {trainer.options.epochs} epochs are trained, see {path}"
    return f"resumed from {path}: epoch {trainer.epoch + 1}, step {trainer.step}"


def build_trainer(
    cfg, task: Task, loaders, checkpoints, run_logger, device: torch.device, proxies: dict | None = None
) -> Trainer:
    """Returns the training loop of a task, which must be on `device`. Raises ValueError if nothing is trainable."""
    optimizer = build_optimizer(cfg, task)
    return Trainer(
        task,
        optimizer,
        build_scheduler(cfg, optimizer, len(loaders[0])),
        *loaders,
        checkpoints,
        run_logger,
        TrainerOptions(
            epochs=cfg.TRAIN.EPOCH,
            seed=cfg.TRAIN.SEED,
            amp=cfg.TRAIN.AMP,
            amp_dtype=cfg.TRAIN.AMP_DTYPE,
            grad_clip_norm=cfg.TRAIN.GRAD_CLIP_NORM,
            print_interval=cfg.TRAIN.PRINT_INTERVAL,
            val_epoch_interval=cfg.TRAIN.VAL_EPOCH_INTERVAL,
        ),
        device,
        to_plain(cfg),
        proxies,
    )


def start_from(task: Task, cfg, script: str, save_dir: str | Path, finetune: str | None) -> None:
    """Loads the initial weights, if any, and logs every key that was converted or did not fit.

    Raises:
        ValueError: a parameter is missing in MODEL.PRETRAIN_FILE or in the network of MODEL.PRETRAIN_CONFIG and is not
            listed in MODEL.PRETRAIN_MISSING. With `finetune`, any parameter may be missing.
        FileNotFoundError: the weights are missing, or the run of MODEL.PRETRAIN_CONFIG is not finished.
    """
    model, start = cfg.MODEL, finetune or cfg.MODEL.PRETRAIN_FILE
    if start:
        path = find_weights(start)
    elif model.PRETRAIN_CONFIG:
        path = finished_checkpoint(script, model.PRETRAIN_CONFIG, save_dir, "MODEL.PRETRAIN_CONFIG")
    else:
        return
    read = read_foreign(path)
    net, converted = convert(read.tensors, task.model, str(path))
    report = load_fitting(task.model, net, str(path), {**read.converted, **converted})
    logger.info("%s: %s", path, report.describe())
    for line in report.lines():
        logger.info("  %s", line)
    absent = [key for key in (*report.missing, *report.mismatched) if not key.startswith(tuple(model.PRETRAIN_MISSING))]
    if absent and not finetune:
        raise ValueError(
            f"{path}: {len(absent)} tensors of the model are missing ({', '.join(absent[:3])}); "
            "list tensors that may be missing in MODEL.PRETRAIN_MISSING"
        )


def matching_state(path: Path, trainer: Trainer) -> dict:
    """Reads a training state that fits this trainer.

    Raises:
        ValueError: the state was written with different settings or a different number of processes or steps; the
            message contains the key. Or see `read_training_state`.
    """
    state = read_training_state(path)
    was, now = state["config"], trainer.config
    for part in ("MODEL", "DATA", "TRAIN"):
        before, current = (dict(flatten(config.get(part, {}))) for config in (was, now))
        for key in sorted(key for key in before.keys() & current.keys() if before[key] != current[key]):
            if not key.startswith(MAY_CHANGE):
                raise ValueError(
                    f"{path}: written with {part}.{key} {before[key]}, the config has {current[key]}: "
                    "resume with the same config, or use --finetune"
                )
    expected = {"world_size": distributed.world_size(), "steps_per_epoch": trainer.steps_per_epoch}
    for key, value in expected.items():
        if state[key] != value:
            raise ValueError(f"{path}: written with {key} {state[key]}, this run has {value}; use the same number")
    return state
