"""Runs a tracker on several data sets with several drops and writes result files, for tracking/test.py."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from lib.data.drop import Drop
from lib.data.sequence import Sequence
from lib.running.runner import WHOLE, Job, Shard, run_sequences
from lib.tracker.build import Built
from lib.utils.paths import results_folder

logger = logging.getLogger(__name__)


def track_datasets(
    built: Built,
    datasets: Mapping[str, list[Sequence]],
    folders: Callable[[str, Drop | None], Path],
    drops: Iterable[Drop | None] = (None,),
    workers: int = 1,
    num_gpus: int = 0,
    debug: str = "",
    shard: Shard = WHOLE,
) -> dict[str, str]:
    """Tracks every sequence of every data set, once for each drop. Finished results are kept.

    Args:
        datasets: name → sequences, at least one per data set.
        folders: function (data set, drop) that returns the folder of the results; see `folder_names`.
        workers: number of processes.
        num_gpus: number of GPUs that the processes share; 0: CPU.
        debug: "", "pictures" or "video".
        shard: the part of each data set to track.

    Returns:
        The failures, "<data set>/<sequence>" → reason.

    Raises:
        ValueError: the tracker cannot be made, e.g. because its weights have a different network; nothing is changed.
        KeyboardInterrupt: the run was stopped; finished sequences are kept.
    """
    for modality in dict.fromkeys(sequences[0].modality for sequences in datasets.values()):
        built.make(modality, "cpu")  # fails here, and not in every worker, which need the GPUs
    failed = {}
    for drop, (name, sequences) in itertools.product(drops, datasets.items()):
        fingerprint = hashlib.sha256(f"{built.fingerprint} {drop or ''}".encode()).hexdigest()[:16]
        job = Job(partial(built.make, sequences[0].modality), folders(name, drop), fingerprint, drop, debug)
        reasons = run_sequences(sequences, job, workers, num_gpus, shard)
        total = len(shard.pick(sequences))
        logger.info("%s: %d of %d sequences finished, in %s", name, total - len(reasons), total, job.folder)
        where = f"{name}, --drop {drop}: " if drop else f"{name}/"
        failed.update({f"{where}{sequence}": reason for sequence, reason in reasons.items()})
    return failed


def parse_drops(specifications: Iterable[str], seed: int) -> list[Drop | None]:
    """Parses specifications of missing images, one per run. Without a specification, returns [None].

    Args:
        specifications: see `lib.data.drop`.
        seed: seed of specifications without a seed, at least 0.

    Raises:
        ValueError: a specification is invalid, or the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"--drop_seed {seed}: expected an integer of at least 0")
    try:
        return list(dict.fromkeys(Drop.parse(text, seed) for text in specifications)) or [None]
    except ValueError as error:
        raise ValueError(f"--drop {error}") from None


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
) -> Callable[[str, Drop | None], Path]:
    """Returns a function (data set, drop) that returns the folder of the results.

    Args:
        experiment: default name of the folder; the label of the drop, if any, is appended.
        name: name of the folder to use instead. The label is appended only if there are several drops.
        several: whether there are several drops.
    """

    def folder(dataset: str, drop: Drop | None) -> Path:
        label = f"_drop_{drop.label}" if drop and (several or not name) else ""
        return results_folder(save_dir, tracker, f"{name or experiment}{label}", dataset)

    return folder
