"""Ground truth of a benchmark: from its data set, or from annotation files that were published without images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lib.data.datasets import load_dataset
from lib.data.sequence import Sequence
from lib.data.storage import DiskStore, Store, open_store
from lib.data.synthetic import read_manifest
from lib.evaluation.annotations import (
    Annotation,
    annotations_from_folder,
    annotations_from_sequences,
    is_annotation_folder,
)
from lib.evaluation.rules.base import Benchmark


class Truth(NamedTuple):
    """The ground truth against which results are scored."""

    annotations: list[Annotation]
    sequences: dict[str, Sequence]  # by name; empty without images
    source: str  # kind of the data, if not the benchmark's own
    folder: Path | None  # folder that may contain attributes


def truth_from_folder(benchmark: Benchmark, folder: Path, with_size: bool = True) -> Truth:
    """Reads annotation files, or a data set if the folder (or .lmdb file) is a data set.

    Args:
        with_size: read one image per sequence to get the image size, if the benchmark's rule needs it.

    Raises:
        FileNotFoundError: the folder is missing or contains no annotation.
        ValueError: a file is invalid.
    """
    if folder.is_dir() and is_annotation_folder(folder):
        return Truth(annotations_from_folder(folder), {}, "", folder)
    return truth_from_store(benchmark, open_store(folder, benchmark.dataset), with_size)


def truth_from_store(benchmark: Benchmark, store: Store, with_size: bool = True) -> Truth:
    """Reads the annotations of a data set. Raises FileNotFoundError and ValueError as `truth_from_folder`."""
    return truth_from_sequences(benchmark, load_dataset(benchmark.dataset, store), store, with_size)


def truth_from_sequences(
    benchmark: Benchmark, sequences: list[Sequence], store: Store, with_size: bool = True
) -> Truth:
    """Returns the annotations of sequences that were read from `store`. Raises ValueError as `truth_from_folder`."""
    rule, root = benchmark.rule, store.root if isinstance(store, DiskStore) else None
    annotations = annotations_from_sequences(sequences, with_size and rule.needs_size, rule.needs_anchors, rule.every)
    source = "synthetic data" if root and read_manifest(root.parent) else ""
    return Truth(annotations, {s.name: s.every_nth(rule.every) for s in sequences}, source, root)
