"""One tracker × several data sets × several drops → result files: what tracking/test.py runs."""

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
from lib.running.runner import Job, run_sequences, worker_device
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
) -> dict[str, str]:
    """Tracks every sequence of every data set, once for each drop, unless its result is there.

    Args:
        datasets: name → sequences; none is empty.
        folders: (data set, drop) → where the results go; see `folder_names`.
        debug: "", "pictures" or "video".

    Returns:
        What failed, "<data set>/<sequence>" → the reason.

    Raises:
        ValueError: the tracker cannot be made, e.g. because its weights are of another network; nothing is changed.
    """
    for sequences in datasets.values():  # a tracker that cannot be made ends the run here, not every worker
        built.make(sequences[0].modality, worker_device(0, num_gpus))
        break
    failed = {}
    for drop, (name, sequences) in itertools.product(drops, datasets.items()):
        fingerprint = hashlib.sha256(f"{built.fingerprint} {drop or ''}".encode()).hexdigest()[:16]
        job = Job(partial(built.make, sequences[0].modality), folders(name, drop), fingerprint, drop, debug)
        reasons = run_sequences(sequences, job, workers, num_gpus)
        done = len(sequences) - len(reasons)
        logger.info("%s: %d of %d sequences finished, in %s", name, done, len(sequences), job.folder)
        where = f"{name}, --drop {drop}: " if drop else f"{name}/"
        failed.update({f"{where}{sequence}": reason for sequence, reason in reasons.items()})
    return failed


def parse_drops(specifications: Iterable[str], seed: int) -> list[Drop | None]:
    """What to take away, one for each run: nothing in the only one unless there is a specification.

    Args:
        seed: of specifications that do not end in one.

    Raises:
        ValueError: a specification that is none, or a negative seed.
    """
    if seed < 0:
        raise ValueError(f"--drop_seed {seed}: expected a whole number from 0 on")
    try:
        return list(dict.fromkeys(Drop.parse(text, seed) for text in specifications)) or [None]
    except ValueError as error:
        raise ValueError(f"--drop {error}") from None


def pick_sequences(sequences: list[Sequence], wanted: str | None, dataset: str) -> list[Sequence]:
    """All sequences, or the one of that name or number. Raises ValueError, with the nearest name, if it is missing."""
    names = [sequence.name for sequence in sequences]
    if wanted and wanted not in names and wanted.isdecimal() and int(wanted) < len(names):
        wanted = names[int(wanted)]
    picked = [sequence for sequence in sequences if wanted in (None, sequence.name)]
    if not picked:
        near = difflib.get_close_matches(wanted, names, n=1)
        raise ValueError(f"--sequence {wanted}: {dataset} has none{f'; did you mean {near[0]}?' if near else ''}")
    return picked


def folder_names(
    save_dir: str | Path, tracker: str, experiment: str, name: str | None = None, several: bool = False
) -> Callable[[str, Drop | None], Path]:
    """(data set, drop) → the folder of the results.

    Args:
        experiment: names the folder, with the drop behind it where there is one.
        name: the whole name in its place, unless there are several drops.
    """

    def folder(dataset: str, drop: Drop | None) -> Path:
        label = f"_drop_{drop.label}" if drop and (several or not name) else ""
        return results_folder(save_dir, tracker, f"{name or experiment}{label}", dataset)

    return folder
