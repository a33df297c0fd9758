"""Runs one experiment: data → task → optimizer → Trainer."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lib.config.loader import dump_config, restore_config
from lib.data.loader import build_loaders, build_proxy_loaders
from lib.models.weights.convert import convert
from lib.models.weights.read import read_foreign
from lib.models.weights.report import load_fitting
from lib.train.build import RunInfo, build_task
from lib.train.checkpoint import CheckpointFolder, check_training_state, read_newest, read_training_state
from lib.train.logger import RunLogger
from lib.train.manifest import build_manifest, check_data, check_textures, describe_difference
from lib.train.optim import build_optimizer, build_scheduler, load_optimizer_state
from lib.train.prerequisites import check_teacher, finished_checkpoint
from lib.train.replay import describe_terms, read_replay
from lib.train.step import OptimizerStep, StepOptions
from lib.train.tasks import DistillTask, Task
from lib.train.trainer import Trainer, TrainerOptions
from lib.train.trials import dry_run, overfit_one_batch
from lib.utils import distributed
from lib.utils import manifest as manifests
from lib.utils.files import write_text
from lib.utils.locks import lock_folder
from lib.utils.misc import count_parameters, pick_device, seed_step
from lib.utils.paths import epoch_path, find_weights
from lib.utils.texts import shorten
from lib.utils.trees import flatten, to_plain

logger = logging.getLogger(__name__)

# Settings below DATA, MODEL and TRAIN that may change when a run is resumed.
MAY_CHANGE = (
    "ROOTS",
    "CACHE",
    "PARTIAL_DECODE",
    "SYNTHETIC",
    "NUM_WORKER",
    "MICRO_BATCH",
    "SKIP_NONFINITE",
    "PROCESS_TIMEOUT",
    "COMPILE",
    "CHECKPOINTING",
    "TEACHER.DTYPE",
    "PRINT_INTERVAL",
    "PICTURE_INTERVAL",
    "VAL",
    "PROXY",
    "SAVE_EPOCH_INTERVAL",
    "TEACHER.CACHE",
    "FEATURES.CACHE",
)
# Settings below DATA that, with ROOTS, say where the data are. They may change as well, if the data do not.
PLACES = re.compile(r"ROOT|SKIP|CUSTOM\..*\.ROOT")


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
            f"{shorten(wrong)}: sequences or annotations are not those of the run to repeat; set DATA.ROOT to its data"
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


def resume_from(paths: Sequence[Path], trainer: Trainer) -> None:
    """Loads the newest of some checkpoints that is not damaged, and logs where the run goes on.

    Raises:
        ValueError: none can be read, or see `check_match`.
    """
    path, content = read_newest(paths)
    state = check_match(check_training_state(content, path), path, trainer)
    if not state.get("manifest"):
        logger.warning("%s: has no manifest (commit, versions, data); it is of an older version", path)
    trainer.load_state(state)
    logger.info(describe_resume(trainer, path))
    if (before := state["world_size"]) != (now := distributed.world_size()):
        logger.info("it was written by %d processes and goes on in %d, with the same samples per step", before, now)


def describe_resume(trainer: Trainer, path: Path) -> str:
    """Says where a resumed run continues."""
    if trainer.epoch >= trainer.options.epochs:
        return f"--resume: all {trainer.options.epochs} epochs are trained, see {path}"
    return f"resumed from {path}: epoch {trainer.epoch + 1}, step {trainer.step}"


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
    differ = [*report.missing, *report.mismatched]
    absent = [key for key in differ if not key.startswith(tuple(model.PRETRAIN_MISSING))]
    if absent and not finetune:
        raise ValueError(
            f"{path}: {len(absent)} tensors of the model are missing ({', '.join(absent[:3])}); if they may be, "
            f"--set MODEL.PRETRAIN_MISSING={_missing_prefixes(absent, report.used, model.PRETRAIN_MISSING)}"
        )


def _missing_prefixes(absent: Sequence[str], used: Sequence[str], listed: Sequence[str]) -> str:
    """Returns the shortest prefixes, in whole words, of absent tensors that begin no used one, as a value of --set."""
    prefixes = list(listed)
    for name in (text.partition(" ")[0] for text in absent):  # without the shapes
        words = name.split(".")
        starts = [".".join(words[:count]) + "." for count in range(1, len(words))] + [name]
        prefixes.append(next((s for s in starts if not any(key.startswith(s) for key in used)), name))
    return "'[" + ",".join(dict.fromkeys(prefixes)) + "]'"


def check_match(state: dict, path: Path, trainer: Trainer) -> dict:
    """Returns a training state if it fits this trainer; the number of processes may differ.

    Raises:
        ValueError: the state was written with different settings or a different number of steps; the message contains
            the key. Or it was written with other textures, or with other data at another place.
    """
    was, now = state["config"], trainer.config
    if "batch" not in state:  # of a version in which TRAIN.BATCH_SIZE was that of one process
        was = {**was, "TRAIN": {**was["TRAIN"], "BATCH_SIZE": was["TRAIN"]["BATCH_SIZE"] * state["world_size"]}}
    moved = ["DATA.ROOTS"] if was["DATA"].get("ROOTS", {}) != now["DATA"].get("ROOTS", {}) else []
    for part in ("MODEL", "DATA", "TRAIN"):
        before, current = (dict(flatten(config.get(part, {}))) for config in (was, now))
        for key in sorted(key for key in before.keys() & current.keys() if before[key] != current[key]):
            if part == "DATA" and PLACES.fullmatch(key):
                moved.append(f"DATA.{key}")
            elif not key.startswith(MAY_CHANGE):
                raise ValueError(
                    f"{path}: written with {part}.{key} {before[key]}, the config has {current[key]}: "
                    "resume with the same config, or use --finetune"
                )
    if state["steps_per_epoch"] != trainer.steps_per_epoch:
        raise ValueError(
            f"{path}: written with {state['steps_per_epoch']} steps per epoch, this run has {trainer.steps_per_epoch}; "
            "use the same TRAIN.BATCH_SIZE and DATA.TRAIN.SAMPLE_PER_EPOCH"
        )
    check_textures(state.get("manifest", {}), trainer.manifest, path)
    check_data(state.get("manifest", {}), trainer.manifest, path, moved)
    return state
