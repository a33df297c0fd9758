"""Runs one experiment: data → task → optimizer → Trainer."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lib.config.loader import dump_config, restore_config
from lib.data.loader import build_loaders, build_proxy_loaders
from lib.train.build import RunInfo, build_task
from lib.train.checkpoint import CheckpointFolder, read_training_state
from lib.train.logger import RunLogger
from lib.train.manifest import build_manifest, describe_difference
from lib.train.optim import build_optimizer, build_scheduler, load_optimizer_state
from lib.train.prerequisites import check_teacher
from lib.train.replay import describe_terms, read_replay
from lib.train.start import earlier_checkpoint, resume_from, start_from
from lib.train.step import OptimizerStep, StepOptions
from lib.train.tasks import DistillTask, Task
from lib.train.trainer import Trainer, TrainerOptions
from lib.train.trials import dry_run, overfit_one_batch
from lib.utils import distributed
from lib.utils import manifest as manifests
from lib.utils.files import write_text
from lib.utils.locks import lock_folder
from lib.utils.misc import count_parameters, pick_device, seed_step
from lib.utils.paths import epoch_path
from lib.utils.texts import shorten
from lib.utils.trees import to_plain

logger = logging.getLogger(__name__)


def train(
    cfg,
    script: str,
    config: str,
    save_dir: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    finetune: str | None = None,
    device_name: str = "",
    expected: dict | None = None,
    until: int | None = None,
    sinks: Sequence[str] = (),
) -> None:
    """Trains the experiment and writes checkpoints, logs and the resolved YAML below `save_dir`.

    Args:
        cfg: the configuration.
        script, config: names of the configuration, for the output folders.
        resume: continue from the newest checkpoint, if there is one.
        overwrite: first remove the checkpoints of an earlier run of this config.
        finetune: initial weights, used instead of MODEL.PRETRAIN_FILE; tensors that do not fit are logged.
        device_name: e.g. "cpu" or "cuda:1"; "": a GPU if available.
        expected: the manifest of a run to repeat; differences are logged.
        until: the epoch after which the run ends; None: the last one.
        sinks: where curves and pictures go besides TensorBoard, keys of SINKS.

    Raises:
        ValueError: checkpoints exist and neither `resume` nor `overwrite` is set; another process trains this
            experiment; weights, data sets or a checkpoint to resume from do not fit; or the data are not those of
            `expected`.
        FileNotFoundError: data, weights or a prerequisite are missing.
        FloatingPointError: the loss is not finite.
        KeyboardInterrupt: the run was stopped; a checkpoint was saved.
    """
    run = {"script": script, "config": config, "save_dir": str(save_dir), "finetune": finetune or ""}
    checkpoints = CheckpointFolder(save_dir, script, config, cfg.TRAIN.SAVE_EPOCH_INTERVAL)
    device = start_process(device_name, cfg.TRAIN.PROCESS_TIMEOUT)
    with contextlib.ExitStack() as held:
        if distributed.is_main():
            held.enter_context(lock_folder(checkpoints.path, "training"))
        latest = earlier_checkpoint(checkpoints, resume, overwrite)
        logs = RunLogger(save_dir, script, config, distributed.is_main(), sinks, to_plain(cfg))
        run_logger = held.enter_context(logs)
        parts = build_parts(cfg, run, device, not (resume and latest), expected)
        trainer = build_trainer(cfg, checkpoints=checkpoints, run_logger=run_logger, device=device, **parts)
        if overwrite and distributed.is_main():
            checkpoints.clear()
            run_logger.clear_curves()
        elif resume and latest:
            resume_from(checkpoints.candidates(), trainer)
        elif resume:
            logger.info("--resume: no checkpoint in %s; starting from the beginning", checkpoints.path)
        if distributed.is_main():
            write_text(checkpoints.path / "config.yaml", dump_config(cfg))
            write_text(checkpoints.path / manifests.FILE, json.dumps(trainer.manifest, indent=1))
        trainer.fit(until)
        logger.info("done: %s", checkpoints.latest())
        distributed.stop()  # not after an error: it could wait for processes that have ended


def start_process(device_name: str, minutes: float) -> torch.device:
    """Joins the other processes, if there are any, and returns the device of this one.

    Args:
        minutes: how long a process waits for the others, TRAIN.PROCESS_TIMEOUT.
    """
    device = pick_device(device_name)
    distributed.start(device, minutes)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return device


def build_parts(
    cfg, run: dict[str, str], device: torch.device, fresh: bool, expected: dict | None = None
) -> dict[str, Any]:
    """Returns the arguments of `build_trainer` that a configuration describes: task, loaders, proxies, manifest.

    Args:
        run: "script", "config", "save_dir" and "finetune", see `train`.
        fresh: the run starts from its initial weights, and not from a checkpoint that is loaded later.
        expected: see `train`.

    Raises:
        ValueError, FileNotFoundError: see `train`.
    """
    sharing = distributed.rank(), distributed.world_size(), device.type == "cuda"
    loaders, proxies = build_loaders(cfg, *sharing), build_proxy_loaders(cfg, *sharing)
    manifest = build_manifest(cfg, run, {**dict(zip(("TRAIN", "VAL"), loaders, strict=True)), **proxies})
    if expected:
        check_manifest(expected, manifest)
    seed_step(cfg.TRAIN.SEED)
    save_dir = Path(run["save_dir"])
    task = build_task(cfg, RunInfo(run["script"], save_dir, cfg.TRAIN.EPOCH * loaders[0].batch_sampler.plan.steps))
    if fresh:
        start_from(task, cfg, run["script"], save_dir, run["finetune"])
    task.to(device)
    logger.info("%s: %.3f M trainable parameters, on %s", run["config"], count_parameters(task.model) / 1e6, device)
    if isinstance(task, DistillTask) and cfg.TRAIN.TEACHER.MIN_IOU and fresh:
        with step_options(cfg).autocast(device):
            check_teacher(task.teacher, loaders[1], cfg.TRAIN.TEACHER.MIN_IOU, device)
    return {"task": task, "loaders": loaders, "proxies": proxies, "manifest": manifest}


def rehearse(
    cfg,
    script: str,
    config: str,
    save_dir: str | Path,
    finetune: str | None = None,
    device_name: str = "",
    overfit: int = 0,
) -> str:
    """Builds everything that a training needs and runs a few steps. Writes nothing below `save_dir`.

    Args:
        cfg, script, config, save_dir, finetune, device_name: see `train`.
        overfit: instead of measuring the run, train on one batch for so many steps, see `overfit_one_batch`. The
            learning rate falls to 0, as a cosine, and no path is dropped.

    Returns:
        What the run needs, see `dry_run`, or how the loss fell.

    Raises:
        ValueError, FileNotFoundError, FloatingPointError: as `train`; or the loss on one batch did not fall.
    """
    run = {"script": script, "config": config, "save_dir": str(save_dir), "finetune": finetune or ""}
    if overfit:
        cfg = copy.deepcopy(cfg)
        cfg.TRAIN.SCHEDULER.update(TYPE="cosine", DECAY_RATE=0.0, WARMUP_STEPS=overfit // 20)
        cfg.TRAIN.EPOCH, cfg.TRAIN.DROP_PATH_RATE = 1, 0.0
        cfg.DATA.TRAIN.SAMPLE_PER_EPOCH, cfg.DATA.CACHE = overfit * cfg.TRAIN.BATCH_SIZE, ""
    device = start_process(device_name, cfg.TRAIN.PROCESS_TIMEOUT)
    parts = build_parts(cfg, run, device, fresh=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLogger(folder, script, config, enabled=distributed.is_main()) as run_logger,
    ):
        checkpoints = CheckpointFolder(folder, script, config, cfg.TRAIN.SAVE_EPOCH_INTERVAL)
        trainer = build_trainer(cfg, checkpoints=checkpoints, run_logger=run_logger, device=device, **parts)
        text = overfit_one_batch(trainer, overfit) if overfit else dry_run(trainer, save_dir)
    distributed.stop()
    return text


def check_manifest(expected: dict, manifest: dict) -> None:
    """Logs what differs from the manifest of a run to repeat. Raises ValueError if the data do."""
    for line in manifests.differences(expected, manifest):
        logger.warning("not as in the run to repeat: %s", line)
    wrong = [name for name, value in expected["data"].items() if manifest["data"].get(name) != value]
    if wrong:
        raise ValueError(
            f"{shorten(wrong)}: sequences or annotations are not those of the run to repeat; set DATA.ROOT to its "
            "data, and take the code of that time if they are drawn"
        )


def reproduce(
    path: str | Path, save_dir: str | Path, overrides: Sequence[str] = (), resume: bool = False, device_name: str = ""
) -> str:
    """Repeats the training that led to a checkpoint, and returns how far the new network is from it, in words.

    Args:
        path: a checkpoint of a finished epoch.
        save_dir: for the files of the new run; not that of the old one.
        overrides: values of --set, e.g. for folders of data.
        resume, device_name: see `train`.

    Raises:
        ValueError: the checkpoint has no manifest or is of an unfinished epoch; the data are others; or see `train`.
    """
    path = Path(path)
    state = read_training_state(path)
    manifest, epoch = state.get("manifest"), state["epoch"]
    if not manifest:
        raise ValueError(f"{path}: has no manifest, it is of an older version; expected one of this or a later version")
    if state["step"]:
        raise ValueError(f"{path}: is of an unfinished epoch; expected the checkpoint of a finished one")
    run, cfg = manifest["run"], restore_config(state["config"], str(path), overrides)
    folder = CheckpointFolder(save_dir, run["script"], run["config"])
    if folder.path.resolve() == path.resolve().parent:
        raise ValueError(f"{path}: the new run would have the same folder; set another --save_dir")
    finetune = run["finetune"] or None
    train(cfg, run["script"], run["config"], save_dir, resume, False, finetune, device_name, manifest, epoch)
    found = read_training_state(epoch_path(folder.path, epoch))
    return f"epoch {epoch}: {describe_difference(found['net'], state['net'])}"


def replay(path: str | Path, device_name: str = "") -> dict[str, float]:
    """Runs the step of a replay.pt again, in one process, and returns its values: loss, terms, norm of the gradient.

    Args:
        device_name: see `train`.

    Raises:
        FloatingPointError: the step is not finite again; the message contains its terms.
        ValueError: the file is damaged or another one, or its configuration does not fit this version.
        FileNotFoundError: the file is missing, or the teacher's checkpoint.
    """
    path = Path(path)
    content = read_replay(path)
    state = content["state"]  # its weights may have been the cause, so that they may be anything
    cfg, device = restore_config(state["config"], str(path)), pick_device(device_name)
    run = state["manifest"].get("run", {})
    steps = cfg.TRAIN.EPOCH * state["steps_per_epoch"]
    info = RunInfo(run.get("script", "transcmd"), Path(run.get("save_dir", "output")), steps)
    task = build_task(cfg, info).to(device)
    optimizer = build_optimizer(cfg, task)
    scheduler = build_scheduler(cfg, optimizer, state["steps_per_epoch"])
    step = OptimizerStep(task, optimizer, scheduler, step_options(cfg), device)
    task.restore(state["net"], state["task"])
    load_optimizer_state(optimizer, scheduler, task, state)
    step.scaler.load_state_dict(state["scaler"])
    task.train()
    outcome = step.run(content["samples"], content["step"], content["progress"])
    where = f"epoch {state['epoch'] + 1}, step {state['step'] + 1}"
    if outcome.problem:
        raise FloatingPointError(f"{where}: {outcome.problem}: {describe_terms(outcome.terms)}")
    logger.info("%s is finite here; it was stopped with: %s", where, content["problem"])
    return {**{name: value.item() for name, value in outcome.values.items()}, "gradient norm": step.norm.item()}


def build_trainer(
    cfg,
    task: Task,
    loaders,
    checkpoints,
    run_logger,
    device: torch.device,
    proxies: dict | None = None,
    manifest: dict | None = None,
) -> Trainer:
    """Returns the training loop of a task, which must be on `device`. Raises ValueError if nothing is trainable."""
    optimizer = build_optimizer(cfg, task)
    return Trainer(
        task,
        optimizer,
        build_scheduler(cfg, optimizer, loaders[0].batch_sampler.plan.steps),
        *loaders,
        checkpoints,
        run_logger,
        TrainerOptions(
            **asdict(step_options(cfg)),
            epochs=cfg.TRAIN.EPOCH,
            skip_nonfinite=cfg.TRAIN.SKIP_NONFINITE,
            print_interval=cfg.TRAIN.PRINT_INTERVAL,
            picture_interval=cfg.TRAIN.PICTURE_INTERVAL,
            val_epoch_interval=cfg.TRAIN.VAL_EPOCH_INTERVAL,
        ),
        device,
        to_plain(cfg),
        proxies,
        manifest,
    )


def step_options(cfg) -> StepOptions:
    """Returns the options of an optimizer step."""
    train = cfg.TRAIN
    return StepOptions(train.SEED, train.AMP, train.AMP_DTYPE, train.GRAD_CLIP_NORM, train.EMA)
