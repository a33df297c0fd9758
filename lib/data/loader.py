"""Builds the training and the validation DataLoader from the configuration."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
from torch.utils.data import DataLoader, Dataset

from lib.data.augment import Augmentation
from lib.data.batches import MicroBatches, plan_batches
from lib.data.cache import CachedSampler, write_cache
from lib.data.crop import CropSpec
from lib.data.datasets import all_datasets, build_dataset, build_front_end, build_rows, find_dataset
from lib.data.front_end import FrontEnd
from lib.data.processing import Processing
from lib.data.sampler import PairSampler
from lib.data.sequence import Sequence
from lib.data.skip import read_skip
from lib.data.synthetic.v2.textures import REVISION
from lib.structures import Sample
from lib.utils.cli import start_worker
from lib.utils.texts import shorten

logger = logging.getLogger(__name__)


def build_loaders(
    cfg, rank: int = 0, world_size: int = 1, pin_memory: bool = False
) -> tuple[DataLoader, DataLoader | None]:
    """Returns the training loader and the validation loader, each None if its part of DATA lists no data set.

    Args:
        rank, world_size: this process and the number of processes; each loads its share of an epoch.

    The batch sampler of each loader is a `MicroBatches`.

    Raises:
        ValueError: a data set is unknown, is a test set or is invalid, the cache has different settings, or
            TRAIN.BATCH_SIZE cannot be divided, see `plan_batches`.
        FileNotFoundError: a data set or the cache is missing.
    """
    if cfg.TRAIN.NUM_WORKER:
        cv2.setNumThreads(0)  # OpenCV's threads do not survive the fork that creates the workers
    loaders = []
    for part, augmentation in (("TRAIN", build_augmentation(cfg)), ("VAL", Augmentation())):
        data = cfg.DATA[part]
        if not data.DATASETS_NAME:
            loaders.append(None)
            continue
        if cfg.DATA.CACHE:
            sampler = CachedSampler(Path(cfg.DATA.CACHE) / part, cache_settings(cfg))
        else:
            sampler = build_sampler(cfg, part, augmentation)
        loaders.append(_build_loader(cfg, sampler, part, rank, world_size, pin_memory))
    return tuple(loaders)


def build_proxy_loaders(cfg, rank: int = 0, world_size: int = 1, pin_memory: bool = False) -> dict[str, DataLoader]:
    """Returns a validation loader for each data set of DATA.PROXY, by its name. See `build_loaders`."""
    loaders = {}
    for name in cfg.DATA.PROXY.DATASETS_NAME:
        sampler = _pair_sampler(cfg, "PROXY", Augmentation(), [_load(cfg, "PROXY", name)], [1.0])
        loaders[name] = _build_loader(cfg, sampler, "PROXY", rank, world_size, pin_memory)
    return loaders


def _build_loader(cfg, sampler: Dataset, part: str, rank: int, world_size: int, pin_memory: bool) -> DataLoader:
    training, train = part == "TRAIN", cfg.TRAIN
    if training:
        plan = plan_batches(train.BATCH_SIZE, train.MICRO_BATCH, len(sampler), world_size)
        if plan.batch < train.BATCH_SIZE:
            logger.warning(
                "TRAIN.BATCH_SIZE %d is more than the %d samples of an epoch (DATA.TRAIN.SAMPLE_PER_EPOCH): batches "
                "have %d samples, %d in each of %d processes",
                *(train.BATCH_SIZE, len(sampler), plan.batch, plan.batch // world_size, world_size),
            )
        length = plan.steps * plan.batch
        order = MicroBatches(length, plan.micro, rank, world_size, cfg.DATA.TRAIN.REPEAT, plan)
    else:
        size = train.MICRO_BATCH or max(1, train.BATCH_SIZE // world_size)
        order = MicroBatches(len(sampler), min(size, len(sampler)), rank, world_size)
    return DataLoader(
        sampler,
        batch_sampler=order,
        num_workers=train.NUM_WORKER,
        pin_memory=pin_memory,
        persistent_workers=training and train.NUM_WORKER > 0,
        worker_init_fn=_initialise_worker,
    )


def batches(loader: DataLoader) -> Iterator[Sample]:
    """Iterates over a loader. If a worker process has died, the error comes between two batches.

    torch's handler of SIGCHLD would raise it anywhere, also in the middle of an optimizer step, which then could not be
    saved, and again when the process ends. A worker that dies while it sends a batch is first seen as a connection that
    has broken, before the system reports the process as dead.

    Raises:
        RuntimeError: a worker process has died, see `is_dead_worker`.
    """
    iterator = iter(loader)  # the first one installs the handler
    if loader.num_workers and hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield from iterator
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # no file: its socket is gone
        if not loader.num_workers or "Original Traceback" in str(error):  # raised by the data, here or in a worker
            raise
        raise RuntimeError("DataLoader worker died while it sent a batch") from error


def is_dead_worker(error: RuntimeError) -> bool:
    """Returns whether an error of a loader says that a worker process has died."""
    return "DataLoader worker" in str(error) and "Original Traceback" not in str(error)


def fill_cache(cfg, workers: int) -> None:
    """Writes all samples of a training run and of its validation to DATA.CACHE.

    Args:
        workers: number of processes that draw samples.

    Raises:
        ValueError: a data set is unknown, is a test set or is invalid, or the cache has different settings.
        FileNotFoundError: a data set is missing.
    """
    epochs = {"TRAIN": range(1, cfg.TRAIN.EPOCH + 1), "VAL": [0]}
    for part, augmentation in (("TRAIN", build_augmentation(cfg)), ("VAL", Augmentation())):
        sampler = build_sampler(cfg, part, augmentation)
        write_cache(sampler, Path(cfg.DATA.CACHE) / part, cache_settings(cfg), epochs[part], workers)


def cache_settings(cfg) -> dict:
    """Returns the settings that the samples of a run depend on, as plain values."""
    apart = ("CACHE", "ROOT", "ROOTS", "PROXY", "SYNTHETIC", "SKIP", "CUSTOM", "PARTIAL_DECODE")
    settings = {key: value for key, value in cfg.DATA.items() if key not in apart}
    if skip := build_skip(cfg):  # its names, not the path of the file; caches without it stay valid
        settings["SKIP"] = {dataset: sorted(names) for dataset, names in skip.items()}
    if build_front_end(cfg) == FrontEnd():  # caches from before it was a setting stay valid
        settings.pop("INPUT")
    if {"Synthetic_train", "Synthetic_val"} & {*cfg.DATA.TRAIN.DATASETS_NAME, *cfg.DATA.VAL.DATASETS_NAME}:
        settings["GENERATOR"] = REVISION  # caches of files alone stay valid
    if own := cfg.DATA.CUSTOM:
        settings["CUSTOM"] = {name: {**entry, "ROOT": ""} for name, entry in own.items()}
    return json.loads(json.dumps({**settings, "SEED": cfg.TRAIN.SEED}))


def build_skip(cfg) -> dict[str, dict[str, str]]:
    """Returns the sequences that DATA.SKIP leaves out, with the reasons, see `read_skip`; {} without such a file."""
    return read_skip(cfg.DATA.SKIP, all_datasets(build_rows(cfg))) if cfg.DATA.SKIP else {}


def build_augmentation(cfg) -> Augmentation:
    """Returns the augmentation of training samples, DATA.AUGMENT."""
    a = cfg.DATA.AUGMENT
    return Augmentation(a.FLIP, a.BRIGHTNESS, a.GRAYSCALE, a.DROP_RGB, a.DROP_AUX, a.DEGRADE)


def build_sampler(cfg, part: str, augmentation: Augmentation) -> PairSampler:
    """Returns the pair sampler of `part`, "TRAIN" or "VAL". Raises ValueError if this part of DATA lists a test set."""
    data = cfg.DATA[part]
    datasets = [_load(cfg, part, name) for name in data.DATASETS_NAME]
    return _pair_sampler(cfg, part, augmentation, datasets, data.DATASETS_RATIO)


def _load(cfg, part: str, name: str) -> list[Sequence]:
    dataset = find_dataset(name, build_rows(cfg))
    if dataset.split not in ("train", "val"):
        raise ValueError(
            f"DATA.{part}.DATASETS_NAME: {name} is a test set; did you mean "
            f"{dataset.root}_{'train' if part == 'TRAIN' else 'val'}?"
        )
    skip = build_skip(cfg).get(name, {})
    sequences = build_dataset(cfg, name, skip)
    if skip:
        logger.info("%s: %d sequences are left out (DATA.SKIP): %s", name, len(skip), shorten(sorted(skip)))
    if not sequences:
        raise ValueError(f"{cfg.DATA.SKIP}: leaves no sequence of {name}; remove lines, or {name} from DATA.{part}")
    logger.info("%s: %d sequences, %d frames", name, len(sequences), sum(map(len, sequences)))
    return sequences


def _pair_sampler(
    cfg, part: str, augmentation: Augmentation, datasets: list[list[Sequence]], ratios: list[float]
) -> PairSampler:
    specs = [
        CropSpec(spec.SIZE, spec.FACTOR, spec.CENTER_JITTER, spec.SCALE_JITTER)
        for spec in (cfg.DATA.TEMPLATE, cfg.DATA.SEARCH)
    ]
    training = part == "TRAIN"
    return PairSampler(
        datasets,
        ratios,
        Processing(*specs, augmentation),
        cfg.DATA[part].SAMPLE_PER_EPOCH,
        cfg.DATA.MAX_SAMPLE_INTERVAL,
        causal=cfg.DATA.SAMPLER_MODE == "causal",
        seed=cfg.TRAIN.SEED + (0 if training else 1),
        negatives=cfg.DATA.NEGATIVES if training else 0.0,
        with_distractors=not training,
        partial_decode=cfg.DATA.PARTIAL_DECODE,
    )


def _initialise_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # the worker processes already use the cores
    start_worker()
