"""Whole sets: which sequences, in which folders, and the manifest that says that all of it is there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lib.data.synthetic.scene import DATASETS, GENERATOR_VERSION, SPLITS
from lib.data.synthetic.write import SPLIT_FOLDERS, Job, write_sequence
from lib.utils.cli import ignore_interrupt, worker_context
from lib.utils.files import write_text

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"  # written last: all of the set is there
UNFINISHED = "manifest.unfinished.json"  # written first, removed last: what an interrupted run may have left behind
FRAMES = (12, 2000)  # fewest and most frames of a sequence
SEQUENCES = (1, 999)


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
) -> dict:
    """Writes train and test sets under `root`, unless the same ones are there already.

    Args:
        train_sequences, test_sequences: per data set.
        train_frames, test_frames: per sequence.
        workers: processes; the data do not depend on it. 0: one per core.
        force: replace what the manifest in `root` says was written; nothing else is ever deleted.

    Returns:
        The manifest: generator_version, arguments, sha256 over everything, written (paths), sequences (sha256 of each).

    Raises:
        ValueError: bad arguments, or `root` holds something else.
        OSError: `root` cannot be written.
    """
    root = Path(root)
    counts, frames = {"train": train_sequences, "test": test_sequences}, {"train": train_frames, "test": test_frames}
    _check(datasets, seed, counts, frames, workers)
    names = [name for name in DATASETS if name in datasets]
    wanted = {
        "generator_version": GENERATOR_VERSION,
        "arguments": {"seed": seed, "datasets": names, "sequences": counts, "frames": frames},
    }
    found = read_manifest(root)
    if found and not force and {key: found.get(key) for key in wanted} == wanted:
        logger.info("%s is complete: generator version %d, sha256 %s", root, GENERATOR_VERSION, found["sha256"])
        return found
    jobs = [
        Job(str(root), name, seed, split, index, frames[split])
        for name in names
        for split in SPLITS
        for index in range(counts[split])
    ]
    written = [job.folder for job in jobs] + [job.attributes for job in jobs]
    written += [_list_file(split) for split in SPLITS if "VisEvent" in names]
    _make_room(root, written, force)
    logger.info("writing %d sequences to %s", len(jobs), root)
    digests = _run(jobs, workers or os.cpu_count() or 1)
    for split in SPLITS if "VisEvent" in names else ():
        listed = [Path(job.folder).name for job in jobs if (job.dataset, job.split) == ("VisEvent", split)]
        (root / _list_file(split)).write_text("".join(f"{name}\n" for name in listed))
    sequences = {job.folder: digest for job, digest in zip(jobs, digests, strict=True)}
    total = hashlib.sha256(json.dumps(sequences, sort_keys=True).encode()).hexdigest()
    manifest = wanted | {"sha256": total, "written": written, "sequences": sequences}
    write_text(root / MANIFEST, json.dumps(manifest, indent=1))
    (root / UNFINISHED).unlink()
    logger.info("%s: generator version %d, sha256 %s", root, GENERATOR_VERSION, total)
    return manifest


def read_manifest(root: str | Path) -> dict | None:
    """The manifest of a finished set, or None. Raises ValueError if the file is no manifest."""
    path = Path(root) / MANIFEST
    if not path.is_file() or (Path(root) / UNFINISHED).exists():
        return None
    return _read(path)


def _read(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in manifest["written"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} was not written by this generator: {error!r}") from error
    if not inside:
        raise ValueError(f"{path} names files outside its folder")
    return manifest


def _check(datasets, seed: int, counts: dict, frames: dict, workers: int) -> None:
    """Raises ValueError for arguments that make no data set."""
    unknown = [name for name in datasets if name not in DATASETS]
    if unknown or not datasets:
        raise ValueError(f"unknown data sets {unknown}: choose from {', '.join(DATASETS)}")
    if seed < 0 or workers < 0:
        raise ValueError(f"seed and workers cannot be negative, got {seed} and {workers}")
    for what, numbers, (low, high) in (("sequences", counts, SEQUENCES), ("frames", frames, FRAMES)):
        for split, number in numbers.items():
            if not low <= number <= high:
                raise ValueError(f"{split}_{what} must be {low} to {high}, got {number}")


def _list_file(split: str) -> str:
    """VisEvent's list of sequence names, relative to the root."""
    return f"VisEvent/{SPLIT_FOLDERS['VisEvent'][SPLITS.index(split)]}/{split}list.txt"


def _make_room(root: Path, written: list[str], force: bool) -> None:
    """Leaves a folder that holds nothing of an earlier run, and a note of what this one is going to write.

    The note is there before the first file goes or comes, so the next run knows what an interrupted one may have left.
    """
    notes = [path for path in (root / UNFINISHED, root / MANIFEST) if path.exists()]
    if not notes and root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and holds no {MANIFEST}: choose another folder")
    if notes and notes[0].name == MANIFEST and not force:
        found = _read(notes[0])
        raise ValueError(
            f"{root} holds other synthetic data (version {found.get('generator_version')}, {found.get('arguments')}): "
            "choose another folder, or --force to replace it"
        )
    old = [name for path in notes for name in _read(path)["written"]]
    write_text(root / UNFINISHED, json.dumps({"written": sorted({*old, *written})}))
    (root / MANIFEST).unlink(missing_ok=True)
    for name in old:
        path = root / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _run(jobs: list[Job], workers: int) -> list[str]:
    """Writes all sequences, in `workers` processes; the digests in the order of the jobs."""
    if workers == 1:
        return [write_sequence(job) for job in jobs]
    # Ctrl-C is the parent's business: the workers finish what they are at.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), worker_context("cv2"), initializer=ignore_interrupt)
    try:
        return list(pool.map(write_sequence, jobs, chunksize=4))
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C: what has not begun is not begun
