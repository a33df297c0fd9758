"""Sequences drawn from textures on request (generator version 2): which pictures they use, and which they must not."""

from __future__ import annotations

import logging
import re

from lib.data.datasets.folders import IMAGE_SUFFIXES, find_folder, split_names
from lib.data.storage import Store
from lib.data.synthetic.v2.sequence import DrawnSequence, StillSequence
from lib.data.synthetic.v2.textures import TextureKeys, Textures

SEQUENCES = {"train": 30000, "val": 600}
STILL_VIDEOS = 200
CUTOUTS, PHOTOGRAPHS = ("cutouts", "textures/cutouts"), ("backgrounds", "textures/backgrounds")
STILLS = ("stills", "real/stills")  # optional

# RoadScene stills that test clips are made of. Stills within NEIGHBOURS numbers of them show the same places.
TEST_STILLS = (211, 4424, 4688, 4943, 5857, 5893, 6282, 6570)
NEIGHBOURS = 30
TEST_CLIPS = ("LasHeR", "DepthTrack", "VisEvent")  # folders of test clips, wherever they are

logger = logging.getLogger(__name__)


def synthetic(store: Store, split: str) -> list[DrawnSequence]:
    """Returns the sequences of split "train" or "val", which use different pictures. All pictures are decoded here.

    Raises:
        FileNotFoundError: a folder of textures is missing or has no picture.
        ValueError: a picture cannot be decoded, is too small, or is a cut-out without alpha; names the file.
    """
    textures = Textures(store, list_textures(store, split))
    return [DrawnSequence(textures, 0, index) for index in range(SEQUENCES[split])]


def stills(store: Store, split: str) -> list[StillSequence]:
    """Returns videos of the stills of a split, under a moving camera: real RGB-T pairs to which nothing is added.

    Raises:
        FileNotFoundError: there are no stills.
        ValueError: a picture cannot be decoded, or a pair differs in size; names the file.
    """
    keys = _list_stills(store, split)
    if not keys:
        raise FileNotFoundError(f"{store.name}: no stills; expected {' or '.join(STILLS)}/<source>/{{vi,ir}}/")
    textures = Textures(store, TextureKeys(split, (), (), keys))
    return [StillSequence(textures, 0, index) for index in range(STILL_VIDEOS)]


def list_textures(store: Store, split: str) -> TextureKeys:
    """Lists the pictures of a split. A tenth of the pictures, selected by name, is held out for "val".

    A cut-out and its own photograph have the same name and are in the same split, as are stills of the same hundred.

    Args:
        store: a folder with cutouts/ and backgrounds/, and optionally stills/<source>/{vi,ir}/; or one with
            textures/cutouts/, textures/backgrounds/ and optionally real/stills/.

    Raises:
        FileNotFoundError: a folder is missing or has no picture.
        ValueError: there are too few photographs to hold some out.
    """
    folders = [find_folder(store, *candidates) for candidates in (CUTOUTS, PHOTOGRAPHS)]
    cutouts, photographs = (_list_pictures(store, folder) for folder in folders)
    chosen = set(split_names(sorted({_stem(key) for key in cutouts + photographs}), split, None))
    cutouts, photographs = (tuple(key for key in keys if _stem(key) in chosen) for keys in (cutouts, photographs))
    if not photographs:
        raise ValueError(f"{store.name}/{folders[1]}: no photograph is left for split '{split}'; add photographs")
    return TextureKeys(split, cutouts, photographs, _list_stills(store, split))


def is_excluded(key: str) -> bool:
    """Returns whether a picture must not be trained on, because test clips show it or the same place."""
    *folders, name = key.split("/")
    number = re.search(r"FLIR_(?:video_)?(\d+)\.\w+$", name)
    near = number is not None and min(abs(int(number[1]) - test) for test in TEST_STILLS) <= NEIGHBOURS
    return near or any(folder in TEST_CLIPS for folder in folders)


def _list_pictures(store: Store, folder: str) -> list[str]:
    keys = [f"{folder}/{name}" for name in store.list(folder) if name.lower().endswith((*IMAGE_SUFFIXES, ".webp"))]
    keys = [key for key in keys if not is_excluded(key)]
    if not keys:
        raise FileNotFoundError(f"{store.name}/{folder}: no picture (webp, png, jpg, bmp) in the folder; add some")
    return keys


def _list_stills(store: Store, split: str) -> tuple[str, ...]:
    """Returns the keys of the visible pictures of the stills of a split, without those that are excluded."""
    try:
        folder = find_folder(store, *STILLS)
    except FileNotFoundError:
        logger.warning("%s: no stills; thermal backgrounds are derived from photographs alone", store.name)
        return ()
    sources = [f"{folder}/{source}/vi" for source in store.list(folder) if not source.endswith(".md")]
    keys = [key for source in sources for key in _list_pictures(store, source)]
    groups = {key: re.sub(r"\d\d\.\w+$", "", key) if "FLIR" in key else key for key in keys}
    chosen = set(split_names(sorted(set(groups.values())), split, None))
    return tuple(key for key, group in groups.items() if group in chosen)


def _stem(key: str) -> str:
    return key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
