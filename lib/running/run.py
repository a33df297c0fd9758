"""Runs a tracker on several data sets with several drops and writes result files, for tracking/test.py."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lib.data.drop import AnyDrop, ListedDrop, load_drop
from lib.data.sequence import Sequence
from lib.running.group import Job, check_batch
from lib.running.runner import WHOLE, Shard, default_workers, run_sequences
from lib.tracker.build import Built
from lib.utils.paths import results_folder
from lib.utils.texts import shorten

logger = logging.getLogger(__name__)


def track_datasets(
    built: Built,
    datasets: Mapping[str, list[Sequence]],
    folders: Callable[[str, AnyDrop | None], Path],
    drops: Iterable[AnyDrop | None] = (None,),
    workers: int | None = 1,
    num_gpus: int = 0,
    debug: str = "",
    shard: Shard = WHOLE,
    batch: int = 1,
    config: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Tracks every sequence of every data set, once for each drop. Finished results are kept.

    Args:
        datasets: name → sequences, at least one per data set.
        folders: function (data set, drop) that returns the folder of the results; see `folder_names`.
        workers: number of processes; None: see `default_workers`.
        num_gpus: number of GPUs that the processes share; 0: CPU.
        debug: "", "pictures" or "video".
        shard: the part of each data set to track.
        batch: number of sequences that a process tracks at the same time.
        config: the resolved configuration of the tracker's experiment, for the manifest in each folder.

    Returns:
        The failures, "<data set>/<sequence>" → reason.

    Raises:
        ValueError: the tracker cannot be made, e.g. because its weights have a different network, or cannot track
            `batch` sequences at the same time; a data set has several modalities; or a list of missing images does
            not fit the sequences. Nothing is changed.
        KeyboardInterrupt: the run was stopped; finished sequences are kept.
    """
    for name, sequences in datasets.items():
        if len(kinds := sorted({sequence.modality for sequence in sequences})) > 1:
            raise ValueError(f"{name}: its sequences are {shorten(kinds)}; a run tracks in one modality")
    for modality in dict.fromkeys(sequences[0].modality for sequences in datasets.values()):
        # Fails here, and not in every worker, which need the GPUs.
        check_batch(built.make(modality, "cpu"), batch)
    drops = list(drops)
    for drop, sequences in itertools.product(drops, datasets.values()):
        if isinstance(drop, ListedDrop):
            drop.check({sequence.name: len(sequence) for sequence in sequences})
    failed = {}
    for drop, (name, sequences) in itertools.product(drops, datasets.items()):
        fingerprint = hashlib.sha256(f"{built.fingerprint} {drop or ''}".encode()).hexdigest()[:16]
        make = partial(built.make, sequences[0].modality)
        job = Job(make, folders(name, drop), fingerprint, drop, debug, batch, config)
        part = shard.pick(sequences)
        number = default_workers(part, num_gpus, batch) if workers is None else workers
        reasons = run_sequences(sequences, job, number, num_gpus, shard)
        total = len(part)
        logger.info("%s: %d of %d sequences finished, in %s", name, total - len(reasons), total, job.folder)
        where = f"{name}, --drop {drop}: " if drop else f"{name}/"
        failed.update({f"{where}{sequence}": reason for sequence, reason in reasons.items()})
    return failed


def parse_drops(specifications: Iterable[str], seed: int) -> list[AnyDrop | None]:
    """Parses specifications of missing images, one per run. Without a specification, returns [None].

    Args:
        specifications: see `lib.data.drop`.
        seed: seed of specifications without a seed, at least 0.

    Raises:
        ValueError: a specification or a file that it names is invalid, two files have the same name, or the seed is
            negative.
        FileNotFoundError: a file is missing.
    """
    if seed < 0:
        raise ValueError(f"--drop_seed {seed}: expected an integer of at least 0")
    try:
        drops = list(dict.fromkeys(load_drop(text, seed) for text in specifications))
    except ValueError as error:
        raise ValueError(f"--drop {error}") from None
    labels = [drop.label for drop in drops]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"--drop: different lists are called {shorten(twice)}, so their results too; rename a file")
    return drops or [None]


def pick_sequences(sequences: list[Sequence], wanted: str | None, dataset: str) -> list[Sequence]:
    """Returns all sequences, or the one with the wanted name or index.

    Args:
        wanted: name, or index from 0; None: all sequences.
        dataset: name of the data set, for error texts.

    Raises:
        ValueError: there is no such sequence; the message contains the nearest name.
    """
    names = [sequence.name for sequence in sequences]
    if wanted and wanted not in names and wanted.isdecimal() and int(wanted) < len(names):
        wanted = names[int(wanted)]
    picked = [sequence for sequence in sequences if wanted in (None, sequence.name)]
    if not picked:
        near = difflib.get_close_matches(wanted, names, n=1)
        raise ValueError(
            f"--sequence {wanted}: {dataset} has no such sequence{f'; did you mean {near[0]}?' if near else ''}"
        )
    return picked


def folder_names(
    save_dir: str | Path, tracker: str, experiment: str, name: str | None = None, several: bool = False
) -> Callable[[str, AnyDrop | None], Path]:
    """Returns a function (data set, drop) that returns the folder of the results.

    Args:
        experiment: default name of the folder; the label of the drop, if any, is appended.
        name: name of the folder to use instead. The label is appended only if there are several drops.
        several: whether there are several drops.
    """

    def folder(dataset: str, drop: AnyDrop | None) -> Path:
        label = f"_drop_{drop.label}" if drop and (several or not name) else ""
        return results_folder(save_dir, tracker, f"{name or experiment}{label}", dataset)

    return folder
