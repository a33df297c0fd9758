"""Pictures that the scenes are made of: cut-outs of things, photographs, and visible/thermal pairs of stills."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import NamedTuple

import cv2
import numpy as np

from lib.data.datasets.folders import IMAGE_SUFFIXES, find_folder, split_names
from lib.data.image import decode_color
from lib.data.storage import Store
from lib.data.synthetic import appearance

CUTOUTS, PHOTOGRAPHS = ("cutouts", "textures/cutouts"), ("backgrounds", "textures/backgrounds")
STILLS = ("stills", "real/stills")  # optional
MIN_CUTOUT, MIN_PHOTOGRAPH = 24, 48  # shorter side, pixels
MIN_COVER = 0.05  # share of a cut-out's pixels that are opaque
PIECES = 300  # rounded pieces of photographs that serve as things
DRAWN = 24  # things drawn by the code of version 1, beside the cut-outs
CONTOUR = 48  # points of a contour, at most

# RoadScene stills that the test clips are made of, and those that were taken within NEIGHBOURS numbers of them.
TEST_STILLS = (211, 4424, 4688, 4943, 5857, 5893, 6282, 6570)
NEIGHBOURS = 30
TEST_CLIPS = ("LasHeR", "DepthTrack", "VisEvent")  # folders of test clips beside the stills

logger = logging.getLogger(__name__)


class Thing(NamedTuple):
    """A thing with an outline. The longest side of its picture spans [-1, 1] in its own coordinates."""

    name: str
    levels: tuple[np.ndarray, ...]  # (h, w, 4) uint8 RGBA, colours multiplied by alpha; each half the size of the last
    contour: np.ndarray  # (P, 2) float64, x, y of points on the outline
    colour: np.ndarray  # (3,) float64 mean RGB, in [0, 255]
    root: float  # square root of the area of its box, in its own coordinates


class Picture(NamedTuple):
    """A photograph, or a still with its thermal picture."""

    name: str
    rgb: np.ndarray  # (H, W, 3) uint8
    thermal: np.ndarray | None = None  # (H, W) uint8


def is_excluded(key: str) -> bool:
    """Returns whether a picture must not be trained on, because the test clips show it or the same scene."""
    parts = key.split("/")
    number = re.search(r"FLIR_(?:video_)?(\d+)\.\w+$", parts[-1])
    near = number is not None and min(abs(int(number[1]) - test) for test in TEST_STILLS) <= NEIGHBOURS
    return near or any(part in TEST_CLIPS for part in parts)


class Textures:
    """The pictures of one split, decoded. A tenth of the pictures, selected by name, is held out for "val".

    A cut-out and its own photograph have the same name and are in the same split, as are stills of nearly equal
    numbers. Pickling keeps the store only; the pictures are then read again when they are first used.

    Args:
        store: a folder with cutouts/ and backgrounds/, and optionally stills/ (<source>/vi and <source>/ir); or one
            with textures/ and real/stills/.
        split: "train" or "val".

    Raises:
        FileNotFoundError: a folder is missing or has no picture.
        ValueError: a picture cannot be decoded, is too small, or is a cut-out without alpha; names the file.
    """

    def __init__(self, store: Store, split: str):
        if split not in ("train", "val"):
            raise ValueError(f"{store.name}: no split '{split}'; expected train or val")
        self.store, self.split = store, split
        self._load()

    def _load(self) -> None:
        cutouts, photographs = (_list_pictures(self.store, *folders) for folders in (CUTOUTS, PHOTOGRAPHS))
        chosen = set(split_names(sorted({_stem(key) for key in cutouts + photographs}), self.split, None))
        cutouts, photographs = ([key for key in keys if _stem(key) in chosen] for keys in (cutouts, photographs))
        if not photographs:
            raise ValueError(f"{self.store.name}: no photograph is left for split '{self.split}'; add photographs")
        stills = _list_stills(self.store, self.split)
        self.index = hashlib.sha256("\n".join([*cutouts, *photographs, *stills]).encode()).hexdigest()
        self.things = [read_thing(self.store, key) for key in cutouts] + _draw_things(self.split)
        self.photographs = [Picture(_stem(key), _read_photograph(self.store, key)) for key in photographs]
        self.pieces = _cut_pieces(self.photographs)
        self.stills = [_read_still(self.store, key) for key in stills]

    def __getstate__(self) -> dict:
        return {"store": self.store, "split": self.split}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)

    def __getattr__(self, name: str):
        if name not in ("things", "pieces", "photographs", "stills", "index") or "store" not in self.__dict__:
            raise AttributeError(name)
        self._load()
        return self.__dict__[name]


def make_thing(name: str, rgb: np.ndarray, alpha: np.ndarray) -> Thing:
    """Builds a thing from (h, w, 3) uint8 colours and (h, w) uint8 alpha, of which some is above 127."""
    weight = alpha.astype(np.float32)[..., None] / 255
    image = np.dstack([np.rint(rgb * weight).astype(np.uint8), alpha])
    levels = [image]
    while min(levels[-1].shape[:2]) >= 8:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    outlines, _ = cv2.findContours((alpha > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(outlines)[:, 0].astype(np.float64)
    height, width = alpha.shape
    points += (points > np.array([width, height]) / 2) * 1.0  # a pixel covers [i, i + 1): the outer edge
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    points = np.concatenate(
        [hull[:: len(hull) // CONTOUR + 1], points[:: len(points) // CONTOUR + 1], _corners(points)]
    )
    contour = (points - np.array([width, height]) / 2) / (max(height, width) / 2)
    colour = image[..., :3].reshape(-1, 3).sum(axis=0) / max(float(weight.sum()), 1.0)
    root = float(np.sqrt(np.ptp(contour, axis=0).prod()))
    return Thing(name, tuple(levels), contour, colour, root)


def round_piece(rng: np.random.Generator | None, height: int, width: int) -> np.ndarray:
    """Returns (height, width) uint8 alpha: an ellipse that fills the box or, with `rng`, a lobed shape within it."""
    u, v = np.meshgrid((np.arange(width) + 0.5) / width * 2 - 1, (np.arange(height) + 0.5) / height * 2 - 1)
    radius = np.hypot(u, v)
    if rng is not None:
        angle = np.arctan2(v, u)
        for lobe in range(2, 5):
            radius = radius + rng.uniform(0, 0.12) * (1 + np.sin(lobe * angle + rng.uniform(0, 2 * np.pi)))
    alpha = np.clip((1 - radius) * min(height, width) / 4 + 0.5, 0, 1)
    return (alpha * 255).astype(np.uint8)


def _corners(points: np.ndarray) -> np.ndarray:
    """Returns the points that are outermost in the four directions, so that boxes are exact without rotation."""
    return points[[*points.argmin(axis=0), *points.argmax(axis=0)]]


def read_thing(store: Store, key: str) -> Thing:
    """Reads a cut-out. Raises ValueError if it has no alpha channel, is too small, is empty or cannot be decoded."""
    where = f"{store.name}/{key}"
    data = np.frombuffer(store.read(key), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise ValueError(f"{where}: cannot be decoded as an image ({data.size} bytes); fetch or remove the file")
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise ValueError(
            f"{where}: expected a cut-out with an alpha channel (8 bits, 4 channels), got {image.dtype} {image.shape}; "
            "save it as PNG or WebP with transparency, or remove it"
        )
    _check_size(image, MIN_CUTOUT, where)
    alpha = image[..., 3]
    if (alpha > 127).mean() < MIN_COVER:
        raise ValueError(
            f"{where}: {(alpha > 127).mean():.1%} of the cut-out is opaque, expected at least {MIN_COVER:.0%}; remove it"
        )
    return make_thing(_stem(key), image[..., 2::-1], alpha)


def _read_photograph(store: Store, key: str) -> np.ndarray:
    rgb = decode_color(store.read(key), f"{store.name}/{key}")
    _check_size(rgb, MIN_PHOTOGRAPH, f"{store.name}/{key}")
    return rgb


def _read_still(store: Store, key: str) -> Picture:
    """Reads a still from the key of its visible picture, "…/vi/NAME"."""
    folder, name = key.rsplit("/vi/", 1)
    rgb = _read_photograph(store, key)
    thermal = _read_photograph(store, f"{folder}/ir/{name}")[..., 1]
    if thermal.shape != rgb.shape[:2]:
        raise ValueError(
            f"{store.name}/{folder}: vi/{name} has {rgb.shape[:2]} pixels and ir/{name} {thermal.shape}; "
            "expected an aligned pair of equal size"
        )
    return Picture(_stem(key), rgb, np.ascontiguousarray(thermal))


def _check_size(image: np.ndarray, least: int, where: str) -> None:
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise ValueError(f"{where}: {width}x{height} pixels, expected a shorter side of at least {least}; remove it")


def _list_pictures(store: Store, *folders: str) -> list[str]:
    folder = find_folder(store, *folders)
    keys = [f"{folder}/{name}" for name in store.list(folder) if name.lower().endswith((*IMAGE_SUFFIXES, ".webp"))]
    keys = [key for key in keys if not is_excluded(key)]
    if not keys:
        raise FileNotFoundError(f"{store.name}/{folder}: no picture (webp, png, jpg, bmp) in the folder; add some")
    return keys


def _list_stills(store: Store, split: str) -> list[str]:
    """Returns the keys of the visible pictures of the stills of a split, without those of the test clips."""
    try:
        folder = find_folder(store, *STILLS)
    except FileNotFoundError:
        logger.warning("%s: no stills; thermal backgrounds are derived from photographs alone", store.name)
        return []
    keys = [
        f"{folder}/{source}/vi/{name}"
        for source in store.list(folder)
        for name in store.list(f"{folder}/{source}/vi")
        if name.lower().endswith(IMAGE_SUFFIXES)
    ]
    groups = {key: re.sub(r"\d\d\.\w+$", "", key) if "FLIR" in key else key for key in keys if not is_excluded(key)}
    chosen = set(split_names(sorted(set(groups.values())), split, None)) if groups else set()
    return [key for key, group in groups.items() if group in chosen]


def _cut_pieces(photographs: list[Picture]) -> list[Thing]:
    """Cuts rounded pieces out of photographs at random."""
    rng = np.random.default_rng(len(photographs))
    pieces = []
    for number in range(PIECES):
        rgb = photographs[number * len(photographs) // PIECES].rgb
        height, width = (int(rng.integers(24, min(n, 128) + 1)) for n in rgb.shape[:2])
        y, x = (int(rng.integers(0, n - side + 1)) for n, side in zip(rgb.shape[:2], (height, width), strict=True))
        alpha = round_piece(rng, height, width)
        pieces.append(make_thing(f"piece{number:03d}", rgb[y : y + height, x : x + width], alpha))
    return pieces


def _draw_things(split: str) -> list[Thing]:
    """Draws things with the shapes and textures of version 1."""
    rng = np.random.default_rng(("train", "val").index(split))
    things = []
    for number in range(DRAWN):
        mask = appearance.shape_mask(appearance.SHAPES[number % len(appearance.SHAPES)], rng)
        weight = appearance.texture_weight(str(rng.choice(appearance.TEXTURES)), rng)
        first, second = appearance.colour(rng, (0.1, 0.9), (0.2, 1)), appearance.colour(rng, (0, 0.9), (0.1, 1))
        rgb = np.clip(first + (second - first) * weight[..., None], 0, 255).astype(np.uint8)
        things.append(make_thing(f"drawn{number:02d}", rgb, (mask * 255).astype(np.uint8)))
    return things


def _stem(key: str) -> str:
    return key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
