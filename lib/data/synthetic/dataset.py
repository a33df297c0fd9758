"""Writes complete synthetic data sets and the manifest that marks them as complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lib.data.storage import SYNTHETIC
from lib.data.synthetic.scene import DATASETS, SPLITS
from lib.data.synthetic.write import SPLIT_FOLDERS, DrawingRenderer, Job, Renderer, write_sequence
from lib.utils.cli import start_worker, worker_context
from lib.utils.files import write_text
from lib.utils.locks import LOCK, lock_folder

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"  # written last, so that it marks a complete data set
UNFINISHED = "manifest.unfinished.json"  # written first, removed last: lists what an interrupted run may have written
FRAMES = (12, 2000)  # minimum and maximum per sequence
SEQUENCES = (1, 999)  # minimum and maximum per split


def write_datasets(
    root: str | Path,
    seed: int = 0,
    datasets: tuple[str, ...] = DATASETS,
    train_sequences: int = 100,
    test_sequences: int = 8,
    train_frames: int = 20,
    test_frames: int = 60,
    workers: int = 0,
    force: bool = False,
    renderer: Renderer | None = None,
) -> dict:
    """Writes training and test sets below `root`. Does nothing if they already exist with the same arguments.

    Args:
        train_sequences, test_sequences: per data set.
        train_frames, test_frames: per sequence.
        workers: number of processes, 0 for one per core. The data do not depend on it.
        force: delete the files listed in the manifest of `root` and write new ones. No other file is deleted.
        renderer: the version of the generator; None: version 1.

    Returns:
        The manifest: generator_version, arguments, sha256 of the whole set, written (paths), sequences (path → sha256).

    Raises:
        ValueError: an argument is out of range, or `root` contains other files or other synthetic data.
        OSError: `root` cannot be written.
    """
    root = Path(root)
    counts, frames = {"train": train_sequences, "test": test_sequences}, {"train": train_frames, "test": test_frames}
    _check(datasets, seed, counts, frames, workers)
    names = [name for name in DATASETS if name in datasets]
    renderer = renderer or DrawingRenderer()
    arguments = {"seed": seed, "datasets": names, "sequences": counts, "frames": frames, **renderer.arguments()}
    wanted = {"generator_version": renderer.version, "arguments": arguments}
    found = read_manifest(root)
    if found and not force and {key: found.get(key) for key in wanted} == wanted:
        logger.info("%s is complete: generator version %d, sha256 %s", root, renderer.version, found["sha256"])
        with contextlib.suppress(OSError):  # data of an earlier version of this code may have none, and be read-only
            _mark(root, names)
        return found
    with lock_folder(root, "writing synthetic data"):
        return _write(root, names, seed, counts, frames, workers, force, renderer, wanted)


def _write(root, names, seed, counts, frames, workers, force, renderer, wanted) -> dict:
    """Writes all data sets and returns the manifest, see `write_datasets`."""
    jobs = [
        Job(str(root), name, seed, split, index, frames[split], renderer)
        for name in names
        for split in SPLITS
        for index in range(counts[split])
    ]
    written = [job.folder for job in jobs] + [job.attributes for job in jobs]
    written += [_list_file(split) for split in SPLITS if "VisEvent" in names]
    written += [f"{name}/{SYNTHETIC}" for name in names]
    _remove_previous(root, written, force)
    logger.info("writing %d sequences to %s", len(jobs), root)
    _mark(root, names)
    digests = _run(jobs, workers or os.cpu_count() or 1)
    for split in SPLITS if "VisEvent" in names else ():
        listed = [Path(job.folder).name for job in jobs if (job.dataset, job.split) == ("VisEvent", split)]
        (root / _list_file(split)).write_text("".join(f"{name}\n" for name in listed))
    sequences = {job.folder: digest for job, digest in zip(jobs, digests, strict=True)}
    total = hashlib.sha256(json.dumps(sequences, sort_keys=True).encode()).hexdigest()
    manifest = wanted | {"sha256": total, "written": written, "sequences": sequences}
    write_text(root / MANIFEST, json.dumps(manifest, indent=1))
    (root / UNFINISHED).unlink()
    logger.info("%s: generator version %d, sha256 %s", root, renderer.version, total)
    return manifest


def _mark(root: Path, names: list[str]) -> None:
    """Marks each data set, also for the LMDB file that may be made of it, as not the published one."""
    for name in names:
        if not (root / name / SYNTHETIC).is_file():
            text = f"Synthetic data, written by tracking/make_demo_data.py with the folders of {name}.\n"
            write_text(root / name / SYNTHETIC, text)


def read_manifest(root: str | Path) -> dict | None:
    """Returns the manifest of a complete data set, or None. Raises ValueError if the file is not a manifest."""
    path = Path(root) / MANIFEST
    if not path.is_file() or (Path(root) / UNFINISHED).exists():
        return None
    return _read(path)


def _read(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        safe = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in manifest["written"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a manifest of this generator ({error!r}); choose another folder") from error
    if not safe:
        raise ValueError(f"{path}: lists files outside its folder; choose another folder")
    return manifest


def _check(datasets, seed: int, counts: dict, frames: dict, workers: int) -> None:
    """Raises ValueError if an argument is out of range."""
    unknown = [name for name in datasets if name not in DATASETS]
    if unknown or not datasets:
        raise ValueError(f"unknown data sets {unknown}; expected at least one of {', '.join(DATASETS)}")
    if seed < 0 or workers < 0:
        raise ValueError(f"seed and workers must not be negative, got {seed} and {workers}")
    for what, numbers, (low, high) in (("sequences", counts, SEQUENCES), ("frames", frames, FRAMES)):
        for split, number in numbers.items():
            if not low <= number <= high:
                raise ValueError(f"{split}_{what} must be {low} to {high}, got {number}")


def _list_file(split: str) -> str:
    """Returns the path of VisEvent's list of sequence names, relative to the root."""
    return f"VisEvent/{SPLIT_FOLDERS['VisEvent'][SPLITS.index(split)]}/{split}list.txt"


def _remove_previous(root: Path, written: list[str], force: bool) -> None:
    """Removes the files of an earlier run and records what this run is going to write.

    The record is written before any other change, so that the next run can clean up after an interruption.

    Raises:
        ValueError: `root` contains other files, or other synthetic data and `force` is False.
    """
    manifests = [path for path in (root / UNFINISHED, root / MANIFEST) if path.exists()]
    if not manifests and root.exists() and any(path.name != LOCK for path in root.iterdir()):
        raise ValueError(f"{root}: the folder is not empty and has no {MANIFEST}; choose another folder")
    if manifests and manifests[0].name == MANIFEST and not force:
        found = _read(manifests[0])
        raise ValueError(
            f"{root}: contains other synthetic data (version {found.get('generator_version')}, "
            f"{found.get('arguments')}); choose another folder, or replace the data with --force"
        )
    old = [name for path in manifests for name in _read(path)["written"]]
    write_text(root / UNFINISHED, json.dumps({"written": sorted({*old, *written})}))
    (root / MANIFEST).unlink(missing_ok=True)
    for name in old:
        path = root / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _run(jobs: list[Job], workers: int) -> list[str]:
    """Writes all sequences in `workers` processes. Returns their digests in the order of the jobs."""
    if workers == 1:
        return [write_sequence(job) for job in jobs]
    # The parent process handles Ctrl-C; each worker finishes its current sequence.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), worker_context("cv2"), initializer=start_worker)
    try:
        return list(pool.map(write_sequence, jobs, chunksize=4))
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C, no further sequence is started
