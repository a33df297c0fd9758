"""The table of data sets. A reader takes a download as published and returns its sequences without reading images."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lib.data.datasets.coco import coco
from lib.data.datasets.coesot import coesot
from lib.data.datasets.custom import Layout, read_custom
from lib.data.datasets.depthtrack import depthtrack, rgbd1k, stc, vot_rgbd
from lib.data.datasets.drones import drones
from lib.data.datasets.got10k import got10k
from lib.data.datasets.lasher import lasher
from lib.data.datasets.lasot import lasot
from lib.data.datasets.rgbt234 import gtot, rgbt210, rgbt234
from lib.data.datasets.synthetic import stills, synthetic
from lib.data.datasets.trackingnet import trackingnet
from lib.data.datasets.visevent import visevent
from lib.data.datasets.vtuav import vtuav
from lib.data.front_end import FrontEnd
from lib.data.sequence import Sequence
from lib.data.storage import SYNTHETIC, ScreenedStore, Store, open_store
from lib.utils.paths import is_plain_name

logger = logging.getLogger(__name__)


class DatasetEntry(NamedTuple):
    """A row of DATASETS.

    Args:
        reader: (store, split) → all sequences of the split.
        splits: names of the splits. By default a test set, a training set and a held-out part of the training set.
    """

    reader: Callable[[Store, str], list[Sequence]]
    splits: tuple[str, ...] = ("test", "train", "val")


class Dataset(NamedTuple):
    """One split of a row of DATASETS, as `find_dataset` finds it."""

    reader: Callable[[Store, str], list[Sequence]]
    root: str  # the folder name below DATA.ROOT and the key in DATA.ROOTS
    split: str


# Folder name → reader and splits. "LasHeR" is the test set, like the benchmark; "LasHeR_train" is another split.
DATASETS = {
    "LasHeR": DatasetEntry(lasher, ("test", "train", "val", "all")),
    "DepthTrack": DatasetEntry(depthtrack),
    "VisEvent": DatasetEntry(visevent),
    "RGBT234": DatasetEntry(rgbt234, ("test",)),
    "RGBT210": DatasetEntry(rgbt210, ("test",)),
    "GTOT": DatasetEntry(gtot, ("test",)),
    "VTUAV": DatasetEntry(vtuav, ("test_ST", "test_LT", "train", "val")),
    "RGBD1K": DatasetEntry(rgbd1k),
    "CDTB": DatasetEntry(vot_rgbd, ("test",)),
    "VOT-RGBD2022": DatasetEntry(vot_rgbd, ("test",)),
    "STC": DatasetEntry(stc, ("test",)),
    "COESOT": DatasetEntry(coesot),
    "Drones": DatasetEntry(drones, ("train", "val")),
    "Synthetic": DatasetEntry(synthetic, ("train", "val")),  # its folder holds textures, see data/README.md
    "Stills": DatasetEntry(stills, ("val",)),  # its folder is that of Synthetic
    # RGB only, for pretraining
    "LaSOT": DatasetEntry(lasot, ("train",)),
    "GOT10k": DatasetEntry(got10k, ("train", "val")),
    "TrackingNet": DatasetEntry(trackingnet, ("train",)),
    "COCO": DatasetEntry(coco, ("train", "val")),
}


def all_datasets(rows: Mapping[str, DatasetEntry] = DATASETS) -> dict[str, Dataset]:
    """Returns every split of every row by its name: "VTUAV_ST" is split "test_ST", "VTUAV_train" is split "train".

    Args:
        rows: DATASETS, or with own data, see `build_rows`.
    """
    return {
        f"{root}{split.removeprefix('test') if split.startswith('test') else f'_{split}'}": Dataset(
            entry.reader, root, split
        )
        for root, entry in rows.items()
        for split in entry.splits
    }


def find_dataset(name: str, rows: Mapping[str, DatasetEntry] = DATASETS) -> Dataset:
    """Returns a split of a data set by its name, e.g. "LasHeR_train".

    Raises:
        ValueError: the name is unknown; the message contains the nearest name and all known names.
    """
    known = all_datasets(rows)
    if name in known:
        return known[name]
    raise ValueError(f"unknown data set '{name}'; {_nearest(name, known)}known: {', '.join(known)}")


def load_dataset(
    name: str,
    store: Store,
    skip: Collection[str] = (),
    failed: dict[str, str] | None = None,
    rows: Mapping[str, DatasetEntry] = DATASETS,
) -> list[Sequence]:
    """Returns all sequences of a data set. No image is read.

    Args:
        skip: names of sequences that are left out, before they are read if the reader uses `read_each`.
        failed: gets a text for each other sequence that cannot be read, by its name; None: the error is raised.
        rows: DATASETS, or with own data, see `build_rows`.

    Raises:
        ValueError: the name is unknown, or an annotation is invalid.
        FileNotFoundError: a folder, a sequence or an annotation is missing.
    """
    dataset = find_dataset(name, rows)
    if not skip and failed is None:
        return dataset.reader(store, dataset.split)
    sequences = dataset.reader(ScreenedStore(store, skip, failed), dataset.split)
    return [sequence for sequence in sequences if sequence.name not in skip]


def build_rows(cfg) -> dict[str, DatasetEntry]:
    """Returns DATASETS with a row for each entry of DATA.CUSTOM, own data that need no reader.

    Raises:
        ValueError: an entry has the name of a data set, or a name that cannot be that of a folder.
    """
    rows = dict(DATASETS)
    for name, entry in cfg.DATA.CUSTOM.items():
        if name in DATASETS or not is_plain_name(name):
            raise ValueError(f"DATA.CUSTOM.{name}: expected a name for own data, not one of: {', '.join(DATASETS)}")
        layout = Layout(entry.MODALITY, entry.RGB, entry.AUX, entry.BOXES, entry.FORMAT, entry.TIMES)
        rows[name] = DatasetEntry(partial(read_custom, layout))
    return rows


def build_dataset(
    cfg, name: str, skip: Collection[str] = (), failed: dict[str, str] | None = None, store: Store | None = None
) -> list[Sequence]:
    """Returns all sequences of a data set or of own data, see `load_dataset` and `build_store`.

    Args:
        store: what `build_store` returned; None: opened here.
    """
    sequences = load_dataset(name, store or build_store(cfg, name), skip, failed, build_rows(cfg))
    if (front_end := build_front_end(cfg)) == FrontEnd():
        return sequences
    if any(not isinstance(sequence, Sequence) for sequence in sequences):
        logger.warning("%s: its images are drawn; DATA.INPUT has no effect on them", name)
        return sequences
    return [replace(sequence, front_end=front_end) for sequence in sequences]


def build_front_end(cfg) -> FrontEnd:
    """Returns the settings of DATA.INPUT: how depth, thermal and event files become 8-bit images."""
    own = cfg.DATA.INPUT
    return FrontEnd(own.DEPTH, own.DEPTH_RANGE, own.THERMAL, tuple(own.THERMAL_RANGE), own.EVENTS)


def build_store(cfg, name: str) -> Store:
    """Opens the store of data set `name`, at the path in DATA.CUSTOM or DATA.ROOTS or else below DATA.ROOT.

    Warns if the data are synthetic and the experiment is not meant for them (DATA.SYNTHETIC).

    Raises:
        ValueError: the name or a key of DATA.ROOTS is unknown.
        FileNotFoundError: there is no data set at that path.
    """
    rows, own = build_rows(cfg), cfg.DATA.CUSTOM
    root = find_dataset(name, rows).root
    for key in set(cfg.DATA.ROOTS) - set(rows):
        raise ValueError(f"DATA.ROOTS.{key}: no such data set; {_nearest(key, rows)}known: {', '.join(rows)}")
    path = (own[root].ROOT if root in own else "") or cfg.DATA.ROOTS.get(root, Path(cfg.DATA.ROOT) / root)
    store = open_store(path, root)
    if not cfg.DATA.SYNTHETIC and SYNTHETIC in store.list():
        logger.warning(
            "WARNING: %s in %s is SYNTHETIC, written by tracking/make_demo_data.py: networks and scores say nothing "
            "about the published data set; set its folder with --set DATA.ROOTS.%s=DIR",
            *(root, path, root),
        )
    return store


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}? " if near else ""
