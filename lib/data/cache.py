"""Training samples stored as arrays, so that several runs (a comparison of losses, for example) draw them only once.

Cached and drawn samples are equal, because a sample is a pure function of the settings, the epoch and the index.
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
from lib.structures import MAX_DISTRACTORS, Pair, Sample
from lib.utils.cli import start_worker, worker_context
from lib.utils.files import write_text

ARRAYS = ("template", "search", "boxes", "modality", "present", "distractors")
CHUNK = 64  # samples per task of a worker process


class CachedSampler(Dataset):
    """Replaces a PairSampler: same keys, same samples, read from <folder>/epoch<number>/*.npy.

    Args:
        settings: the settings that the samples depend on, as plain values; they must equal those of the cache.

    Raises:
        ValueError: the cache was made with different settings.
        FileNotFoundError: the cache is missing or unfinished.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder = folder
        record = folder / "cache.json"
        if not record.is_file():
            raise FileNotFoundError(f"{folder}: no finished cache of samples; make it with lib.data.loader.fill_cache")
        stored = json.loads(record.read_text(encoding="utf-8"))
        check_settings(folder, stored["settings"], settings)
        self.samples_per_epoch, self.epochs = stored["samples_per_epoch"], frozenset(stored["epochs"])

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __getitem__(self, key: SampleKey) -> Sample:
        """Returns one sample without a batch dimension. Raises IndexError for an epoch that is not in the cache."""
        if key.epoch not in self.epochs:
            raise IndexError(f"{self.folder}: the cache has no epoch {key.epoch}, only {sorted(self.epochs)}")
        arrays = _open_arrays(self.folder / f"epoch{key.epoch:04d}", "r")
        template, search, boxes, modality, present, distractors = (
            torch.from_numpy(np.array(array[key.index])) for array in arrays
        )
        return Sample(Pair(*template), Pair(*search), *boxes, modality[0], present[0], distractors)


def write_cache(sampler: PairSampler, folder: Path, settings: dict, epochs: Sequence[int], workers: int) -> None:
    """Draws every sample of `epochs` in `workers` processes. Keeps finished epochs and repeats an unfinished one.

    Raises:
        ValueError: `folder` contains samples drawn with different settings.
    """
    _record_settings(folder, settings)
    pool = ProcessPoolExecutor(workers, worker_context("torch", __name__), initializer=start_worker)
    try:
        for epoch in epochs:
            path, temporary = folder / f"epoch{epoch:04d}", folder / f".epoch{epoch:04d}.part"
            if not path.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
                _create_arrays(temporary, sampler)
                list(pool.map(partial(_write_chunk, sampler, temporary, epoch), range(0, len(sampler), CHUNK)))
                temporary.rename(path)
    finally:
        pool.shutdown(cancel_futures=True)
    finished = sorted(int(path.name.removeprefix("epoch")) for path in folder.glob("epoch*"))
    record = {"settings": settings, "samples_per_epoch": len(sampler), "epochs": finished}
    write_text(folder / "cache.json", json.dumps(record, indent=1))


def _record_settings(folder: Path, settings: dict) -> None:
    """Writes the settings before the first sample is drawn, so that an unfinished cache is checked as well.

    Raises:
        ValueError: the folder already records different settings.
    """
    path = folder / "settings.json"
    if path.is_file():
        check_settings(folder, json.loads(path.read_text(encoding="utf-8")), settings)
    write_text(path, json.dumps(settings))


def check_settings(folder: Path, stored: dict, wanted: dict) -> None:
    """Raises ValueError, naming the keys, if the settings stored in a cache differ from the wanted ones."""
    if different := sorted(key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key)):
        raise ValueError(
            f"{folder}: the cached samples were drawn with different settings ({', '.join(different)}); "
            "remove this folder or restore the settings"
        )


def _create_arrays(folder: Path, sampler: PairSampler) -> None:
    folder.mkdir(parents=True)
    sizes = sampler.processing.template.size, sampler.processing.search.size
    count = len(sampler)
    shapes = [(count, 2, 3, size, size) for size in sizes]
    for name, shape, kind in zip(
        ARRAYS,
        (*shapes, (count, 2, 4), (count, 1), (count, 1), (count, MAX_DISTRACTORS, 4)),
        (np.uint8, np.uint8, np.float32, np.int64, bool, np.float32),
        strict=True,
    ):
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape).flush()


def _write_chunk(sampler: PairSampler, folder: Path, epoch: int, start: int) -> None:
    cv2.setNumThreads(1)
    template, search, boxes, modality, present, distractors = _open_arrays(folder, "r+")
    for index in range(start, min(start + CHUNK, len(sampler))):
        sample = sampler[SampleKey(epoch, index)]
        template[index] = np.stack([image.numpy() for image in sample.template])
        search[index] = np.stack([image.numpy() for image in sample.search])
        boxes[index] = np.stack([sample.template_box.numpy(), sample.search_box.numpy()])
        modality[index], present[index] = sample.modality.item(), sample.present.item()
        distractors[index] = sample.distractors.numpy()


def _open_arrays(folder: Path, mode: str) -> list[np.ndarray]:
    return [_open_array(folder / f"{name}.npy", mode) for name in ARRAYS]


def _open_array(path: Path, mode: str) -> np.ndarray:
    """Maps a file. Raises ValueError that names it if it is cut off: to read beyond its end would kill the process."""
    try:
        return np.load(path, mmap_mode=mode)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a stored array, or cut off ({error}); remove its folder") from error
