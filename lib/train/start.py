"""How a run starts: from initial weights, or from a checkpoint of its own."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from lib.models.weights.convert import convert
from lib.models.weights.read import read_foreign
from lib.models.weights.report import load_fitting
from lib.train.checkpoint import CheckpointFolder, check_training_state, read_newest
from lib.train.manifest import check_data, check_textures
from lib.train.prerequisites import finished_checkpoint
from lib.train.tasks import Task
from lib.train.trainer import Trainer
from lib.utils import distributed
from lib.utils.paths import find_weights
from lib.utils.trees import flatten

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
