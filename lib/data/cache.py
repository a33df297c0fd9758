"""Training samples drawn once and kept as arrays, for runs that share them: a comparison of losses, say.

Exact, because a sample is a pure function of its settings, epoch and index.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from lib.data.sampler import PairSampler, SampleKey
from lib.structures import Pair, Sample
from lib.utils.cli import ignore_interrupt, worker_context
from lib.utils.files import write_text

CHUNK = 64  # samples a worker draws at a time


class CachedSampler(Dataset):
    """Takes the place of a PairSampler: same keys, same samples, read from <folder>/epoch0001/*.npy and its siblings.

    Args:
        settings: what the samples depend on, as plain values; a cache of others is refused.

    Raises:
        ValueError: the cache was made with other settings.
        FileNotFoundError: there is none, or it was not finished.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder = folder
        record = folder / "cache.json"
        if not record.is_file():
            raise FileNotFoundError(f"{folder}: no finished cache of samples; make it with lib.data.cache.write_cache")
        made = json.loads(record.read_text(encoding="utf-8"))
        check_settings(folder, made["settings"], settings)
        self.samples_per_epoch, self.epochs = made["samples_per_epoch"], frozenset(made["epochs"])

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __getitem__(self, key: SampleKey) -> Sample:
        """Raises IndexError for an epoch that was not kept."""
        if key.epoch not in self.epochs:
            raise IndexError(f"{self.folder}: holds no epoch {key.epoch}, only {sorted(self.epochs)}")
        arrays = _open(self.folder / f"epoch{key.epoch:04d}", "r")
        template, search, boxes, modality = (torch.from_numpy(np.array(array[key.index])) for array in arrays)
        return Sample(Pair(*template), Pair(*search), *boxes, modality[0])


def write_cache(sampler: PairSampler, folder: Path, settings: dict, epochs: Sequence[int], workers: int) -> None:
    """Draws every sample of `epochs`, in `workers` processes. Finished epochs are kept; an unfinished one is redone.

    Raises:
        ValueError: the folder holds samples of other settings.
    """
    _claim(folder, settings)
    pool = ProcessPoolExecutor(workers, worker_context("torch", __name__), initializer=ignore_interrupt)
    try:
        for epoch in epochs:
            path, temporary = folder / f"epoch{epoch:04d}", folder / f".epoch{epoch:04d}.part"
            if not path.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
                _create(temporary, sampler)
                list(pool.map(partial(_fill, sampler, temporary, epoch), range(0, len(sampler), CHUNK)))
                temporary.rename(path)
    finally:
        pool.shutdown(cancel_futures=True)
    made = sorted(int(path.name.removeprefix("epoch")) for path in folder.glob("epoch*"))
    record = {"settings": settings, "samples_per_epoch": len(sampler), "epochs": made}
    write_text(folder / "cache.json", json.dumps(record, indent=1))


def _claim(folder: Path, settings: dict) -> None:
    """Notes the settings before the first sample is drawn; refuses others, also where nothing was finished."""
    path = folder / "settings.json"
    if path.is_file():
        check_settings(folder, json.loads(path.read_text(encoding="utf-8")), settings)
    write_text(path, json.dumps(settings))


def check_settings(folder: Path, made: dict, wanted: dict) -> None:
    """Raises ValueError where the samples in a folder depend on other settings than the wanted ones."""
    if different := sorted(key for key in made.keys() | wanted.keys() if made.get(key) != wanted.get(key)):
        raise ValueError(f"{folder}: a cache of other samples: {', '.join(different)} differ; remove it")


def _create(folder: Path, sampler: PairSampler) -> None:
    folder.mkdir(parents=True)
    sizes = sampler.processing.template.size, sampler.processing.search.size
    count = len(sampler)
    shapes = [(count, 2, 3, size, size) for size in sizes]
    for name, shape, kind in zip(
        ("template", "search", "boxes", "modality"),
        (*shapes, (count, 2, 4), (count, 1)),
        (np.uint8, np.uint8, np.float32, np.int64),
        strict=True,
    ):
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape).flush()


def _fill(sampler: PairSampler, folder: Path, epoch: int, start: int) -> None:
    cv2.setNumThreads(1)
    template, search, boxes, modality = _open(folder, "r+")
    for index in range(start, min(start + CHUNK, len(sampler))):
        sample = sampler[SampleKey(epoch, index)]
        template[index] = np.stack([image.numpy() for image in sample.template])
        search[index] = np.stack([image.numpy() for image in sample.search])
        boxes[index] = np.stack([sample.template_box.numpy(), sample.search_box.numpy()])
        modality[index] = sample.modality.item()


def _open(folder: Path, mode: str) -> list[np.ndarray]:
    return [np.load(folder / f"{name}.npy", mmap_mode=mode) for name in ("template", "search", "boxes", "modality")]
