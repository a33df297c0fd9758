"""The data sets by name. A reader lists a download as it is and returns its sequences; pixels come later."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lib.data.datasets.coco import coco
from lib.data.datasets.depthtrack import depthtrack
from lib.data.datasets.got10k import got10k
from lib.data.datasets.lasher import lasher
from lib.data.datasets.lasot import lasot
from lib.data.datasets.rgbt234 import gtot, rgbt210, rgbt234
from lib.data.datasets.trackingnet import trackingnet
from lib.data.datasets.visevent import visevent
from lib.data.sequence import Sequence
from lib.data.storage import Store, open_store


class DatasetEntry(NamedTuple):
    reader: Callable[[Store, str], list[Sequence]]
    root: str  # its folder below DATA.ROOT, its key in DATA.ROOTS
    split: str


READERS = {
    "LasHeR": lasher,
    "DepthTrack": depthtrack,
    "VisEvent": visevent,
    "RGBT234": rgbt234,
    "RGBT210": rgbt210,
    "GTOT": gtot,
    "LaSOT": lasot,
    "GOT10k": got10k,
    "TrackingNet": trackingnet,
    "COCO": coco,
}
ALL = {"test": "", "train": "_train", "val": "_val"}
# Those that have not all splits: test sets, and data sets of RGB alone, for pretraining.
SPLITS = {
    **dict.fromkeys(("RGBT234", "RGBT210", "GTOT"), ("test",)),
    **dict.fromkeys(("LaSOT", "TrackingNet"), ("train",)),
    **dict.fromkeys(("GOT10k", "COCO"), ("train", "val")),
}
# "LasHeR" is the test set, as benchmarks are called; "LasHeR_train" and "LasHeR_val" split its training set.
DATASETS = {
    f"{root}{ALL[split]}": DatasetEntry(reader, root, split)
    for root, reader in READERS.items()
    for split in SPLITS.get(root, ALL)
}


def find_dataset(name: str) -> DatasetEntry:
    """Raises ValueError, with the nearest and all known names, for an unknown one."""
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"unknown data set '{name}'; {hint}known: {', '.join(DATASETS)}")


def load_dataset(name: str, store: Store) -> list[Sequence]:
    """All sequences of a data set. Raises ValueError or FileNotFoundError for what is not as it should be."""
    entry = find_dataset(name)
    return entry.reader(store, entry.split)


def build_store(cfg, name: str) -> Store:
    """The store that holds data set `name`, from DATA.ROOTS or DATA.ROOT."""
    root = find_dataset(name).root
    for key in set(cfg.DATA.ROOTS) - set(READERS):
        near = difflib.get_close_matches(key, READERS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"DATA.ROOTS.{key}: no such data set; {hint}known: {', '.join(READERS)}")
    return open_store(cfg.DATA.ROOTS.get(root, Path(cfg.DATA.ROOT) / root), root)
