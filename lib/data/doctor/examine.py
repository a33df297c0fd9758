"""Examines the data sets of an experiment: reads them, then checks every sequence in worker processes."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from lib.data.datasets import Dataset, all_datasets, build_dataset, build_rows, build_store
from lib.data.datasets.folders import SPLITS, read_text
from lib.data.doctor.environment import Needs
from lib.data.doctor.findings import Finding
from lib.data.doctor.known import count_hint, known_of
from lib.data.doctor.sequences import check_sequence
from lib.data.loader import build_skip
from lib.data.sequence import Sequence
from lib.data.storage import Store
from lib.utils.cli import start_worker, worker_context
from lib.utils.texts import one_line, shorten

LISTS = ("list.txt", "training_set.txt")  # endings of files that list the sequences of a split


class Patient(NamedTuple):
    """A data set as far as it could be read, and what is wrong with it before an image is decoded."""

    name: str  # e.g. "LasHeR_train"
    path: str
    sequences: list[Sequence]  # also DrawnSequence, whose pictures the reader has decoded
    findings: list[Finding]

    @property
    def total(self) -> int:
        """Number of sequences, with those that cannot be read."""
        return len(self.sequences) + sum(finding.kind == "sequence" for finding in self.findings)

    @property
    def frames(self) -> int:
        return sum(map(len, self.sequences))


def build_needs(cfg, save_dir: str) -> Needs:
    """Returns what a training run with this configuration asks of the machine."""
    data, train = cfg.DATA, cfg.TRAIN
    pixels = data.TEMPLATE.SIZE**2 + data.SEARCH.SIZE**2
    return Needs(train.NUM_WORKER, train.BATCH_SIZE * 2 * 3 * pixels, save_dir)


def build_names(cfg) -> list[str]:
    """Returns the names of the data sets that a configuration trains on and validates with."""
    return list(dict.fromkeys(name for part in ("TRAIN", "VAL", "PROXY") for name in cfg.DATA[part].DATASETS_NAME))


def build_patients(cfg, names: Iterable[str]) -> Iterator[Patient]:
    """Reads the data sets `names` without their images; what cannot be read becomes a finding.

    Sequences of DATA.SKIP are left out.

    Raises:
        ValueError: a name is unknown, or DATA.SKIP is invalid.
        FileNotFoundError: the file DATA.SKIP is missing.
    """
    known, skip = all_datasets(build_rows(cfg)), build_skip(cfg)
    for name in names:
        if name not in known:
            raise ValueError(f"unknown data set '{name}'; known: {', '.join(known)}")
        with captured_warnings() as warnings:
            try:
                failed: dict[str, str] = {}
                store, left_out = build_store(cfg, name), list(skip.get(name, {}))
                sequences = build_dataset(cfg, name, left_out, failed, store)
                findings = check_reading(known[name], store, sequences, failed, left_out)
                path = str(getattr(store, "root", getattr(store, "path", "")))
                patient = Patient(name, path, sequences, findings)
            except (OSError, ValueError) as error:
                patient = Patient(name, "", [], [Finding("dataset", one_line(error))])
        patient.findings.extend(Finding("reader", text) for text in dict.fromkeys(warnings))
        yield patient


def check_reading(
    dataset: Dataset, store: Store, sequences: list[Sequence], failed: Mapping[str, str], left_out: list[str]
) -> list[Finding]:
    """Returns what is wrong with a data set, as far as its reader and its lists tell.

    Args:
        failed: error of each sequence that could not be read, by its name.
        left_out: names of the sequences that DATA.SKIP leaves out.
    """
    findings = []
    for sequence, text in failed.items():
        hint = count_hint(dataset.root, text)
        findings.append(Finding("sequence", f"{text}{f' ({hint})' if hint else ''}", sequence))
    findings += [Finding("skipped", sequence) for sequence in left_out]
    names = [sequence.name for sequence in sequences]
    for sequence in (*names, *failed):
        if text := known_of(dataset.root, sequence):
            findings.append(Finding("known", f"{sequence} ({text})"))
    findings += check_lists(store)
    findings += check_held_out(dataset, {*names, *failed, *left_out})
    return findings


def check_lists(store: Store) -> Iterator[Finding]:
    """Yields list files that name a sequence twice, or that do not name all folders beside them."""
    for folder in ("", *(entry for entry in store.list() if "." not in entry)):
        try:
            entries = store.list(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for file in (entry for entry in entries if entry.endswith(LISTS)):
            key = f"{folder}/{file}" if folder else file
            names = [line.strip() for line in read_text(store, key).splitlines() if line.strip()]
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                yield Finding("list", f"{store.name}/{key} names {len(twice)} sequences twice: {shorten(twice)}")
            others = [entry for entry in entries if "." not in entry and entry not in names]
            if others and set(names) & set(entries):
                where = f"{store.name}/{key} does not name {len(others)} folders beside it: {shorten(others)}"
                yield Finding("reader", f"{where}; they are not read")


def check_held_out(dataset: Dataset, names: set[str]) -> Iterator[Finding]:
    """Yields whether a validation split lacks sequences of the published list of held-out sequences."""
    path = SPLITS / f"{dataset.root.lower()}_val.txt"
    if dataset.split == "val" and path.is_file():
        listed = path.read_text(encoding="utf-8").split()
        missing = sorted(set(listed) - names)
        if len(missing) == len(listed):
            yield Finding("reader", f"{path.name}: none of its sequences is here; a tenth is held out by name instead")
        elif missing:
            yield Finding("reader", f"{path.name}: {len(missing)} of {len(listed)} are not here: {shorten(missing)}")


def check_sequences(patient: Patient, workers: int, every: int = 1) -> Iterator[tuple[int, list[Finding]]]:
    """Checks every sequence of a data set. Yields the number of its frames and its findings, in order.

    Args:
        workers: number of processes; 0: this process.
        every: decodes every n-th image; 0: none.
    """
    sequences = [sequence for sequence in patient.sequences if isinstance(sequence, Sequence)]
    check = partial(check_sequence, every=every)
    if not workers:
        yield from zip(map(len, sequences), map(check, sequences), strict=True)
        return
    pool = ProcessPoolExecutor(workers, worker_context("cv2", "numpy"), initializer=start_worker)
    try:
        yield from zip(map(len, sequences), pool.map(check, sequences), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Collects the texts of the warnings that the package `lib.data` logs, instead of showing them."""
    texts: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = logging.getLogger("lib.data")
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
