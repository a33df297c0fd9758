"""The table of data sets. A reader takes a download as published and returns its sequences without reading images."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lib.data.datasets.coco import coco
from lib.data.datasets.coesot import coesot
from lib.data.datasets.depthtrack import depthtrack, rgbd1k, stc, vot_rgbd
from lib.data.datasets.got10k import got10k
from lib.data.datasets.lasher import lasher
from lib.data.datasets.lasot import lasot
from lib.data.datasets.rgbt234 import gtot, rgbt210, rgbt234
from lib.data.datasets.trackingnet import trackingnet
from lib.data.datasets.visevent import visevent
from lib.data.datasets.vtuav import vtuav
from lib.data.sequence import Sequence
from lib.data.storage import Store, open_store


class DatasetEntry(NamedTuple):
    """A row of DATASETS."""

    reader: Callable[[Store, str], list[Sequence]]  # (store, split) → sequences
    root: str  # folder below DATA.ROOT and key in DATA.ROOTS
    split: str


READERS = {
    "LasHeR": lasher,
    "DepthTrack": depthtrack,
    "VisEvent": visevent,
    "RGBT234": rgbt234,
    "RGBT210": rgbt210,
    "GTOT": gtot,
    "VTUAV": vtuav,
    "RGBD1K": rgbd1k,
    "CDTB": vot_rgbd,
    "VOT-RGBD2022": vot_rgbd,
    "STC": stc,
    "COESOT": coesot,
    "LaSOT": lasot,
    "GOT10k": got10k,
    "TrackingNet": trackingnet,
    "COCO": coco,
}
# A name without suffix is a test set: "LasHeR". "LasHeR_train" and "LasHeR_val" divide the training set.
SUFFIXES = {"test": "", "train": "_train", "val": "_val", "all": "_all", "test_ST": "_ST", "test_LT": "_LT"}
# Splits of the data sets that differ from (test, train, val).
SPLITS = {
    "LasHeR": ("test", "train", "val", "all"),
    "VTUAV": ("test_ST", "test_LT", "train", "val"),
    **dict.fromkeys(("RGBT234", "RGBT210", "GTOT", "CDTB", "VOT-RGBD2022", "STC"), ("test",)),
    **dict.fromkeys(("LaSOT", "TrackingNet"), ("train",)),
    **dict.fromkeys(("GOT10k", "COCO"), ("train", "val")),
}
DATASETS = {
    f"{root}{SUFFIXES[split]}": DatasetEntry(reader, root, split)
    for root, reader in READERS.items()
    for split in SPLITS.get(root, ("test", "train", "val"))
}


def find_dataset(name: str) -> DatasetEntry:
    """Returns the row of a data set. Raises ValueError, listing the known names, if the name is unknown."""
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"unknown data set '{name}'; {hint}known: {', '.join(DATASETS)}")


def load_dataset(name: str, store: Store) -> list[Sequence]:
    """Returns all sequences of a data set.

    Raises:
        ValueError: the name is unknown, or an annotation is invalid.
        FileNotFoundError: an annotation or a folder is missing.
    """
    entry = find_dataset(name)
    return entry.reader(store, entry.split)


def build_store(cfg, name: str) -> Store:
    """Opens the store of data set `name`, at the path in DATA.ROOTS or else below DATA.ROOT.

    Raises:
        ValueError: the name or a key of DATA.ROOTS is unknown.
        FileNotFoundError: there is no data set at that path.
    """
    root = find_dataset(name).root
    for key in set(cfg.DATA.ROOTS) - set(READERS):
        near = difflib.get_close_matches(key, READERS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"DATA.ROOTS.{key}: unknown data set; {hint}known: {', '.join(READERS)}")
    return open_store(cfg.DATA.ROOTS.get(root, Path(cfg.DATA.ROOT) / root), root)
