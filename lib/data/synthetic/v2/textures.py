"""Pictures that the scenes are made of: cut-outs of things, photographs, and visible/thermal pairs of stills."""

from __future__ import annotations

import functools
import hashlib
import pickle
from typing import NamedTuple

import cv2
import numpy as np

from lib.data.image import decode_color
from lib.data.storage import Store
from lib.data.synthetic import appearance

# Increase with any change of what this, scene, render or sensors make of the same random numbers, and say at the
# reported measurements which one they have. It is part of the index: runs do not go on with another one.
REVISION = 2
MIN_CUTOUT, MIN_PHOTOGRAPH = 24, 48  # shorter side, pixels
MIN_COVER = 0.05  # share of a cut-out's pixels that are opaque
PIECES = 300  # rounded pieces of photographs that serve as things
DRAWN = 24  # things drawn by the code of version 1, beside the cut-outs
CONTOUR = 48  # points of a contour, at most


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


class TextureKeys(NamedTuple):
    """The pictures of one split, as keys of a store."""

    split: str
    cutouts: tuple[str, ...]
    photographs: tuple[str, ...]
    stills: tuple[str, ...]  # visible pictures, "…/vi/NAME"; the thermal ones are "…/ir/NAME"


class Textures:
    """The pictures of one split, decoded: all are checked before training starts.

    A process that receives a pickled copy reads the pictures again, once.

    Attributes:
        things: cut-outs, and things drawn as in version 1. `pieces`: rounded pieces of the photographs.
        index: sha256 of REVISION and of the pictures' keys and contents.

    Raises:
        FileNotFoundError: a picture is missing.
        ValueError: a picture cannot be decoded, is too small, or is a cut-out without alpha; names the file.
    """

    def __init__(self, store: Store, keys: TextureKeys):
        self.store, self.keys, self.split = store, keys, keys.split
        digest = hashlib.sha256(repr((REVISION, keys)).encode())
        store = _NotedStore(store, digest)
        self.things = [read_thing(store, key) for key in keys.cutouts] + _draw_things(keys.split)
        self.photographs = [Picture(_stem(key), _read_photograph(store, key)) for key in keys.photographs]
        self.pieces = _cut_pieces(self.photographs)
        self.stills = [_read_still(store, key) for key in keys.stills]
        self.index = digest.hexdigest()

    def __reduce__(self):
        return _open_pickled, (pickle.dumps(self.store), self.keys)


class _NotedStore:
    """A store that adds the content of every file that is read to a digest."""

    def __init__(self, store: Store, digest):
        self.name, self._store, self._digest = store.name, store, digest

    def read(self, key: str) -> bytes:
        data = self._store.read(key)
        self._digest.update(hashlib.sha256(data).digest())
        return data


@functools.lru_cache(maxsize=4)
def _open_pickled(store: bytes, keys: TextureKeys) -> Textures:
    return Textures(pickle.loads(store), keys)


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
            f"{where}: {(alpha > 127).mean():.1%} of the cut-out is opaque, expected {MIN_COVER:.0%} or more; remove it"
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


def _cut_pieces(photographs: list[Picture]) -> list[Thing]:
    """Cuts rounded pieces out of photographs at random."""
    rng = np.random.default_rng(len(photographs))
    pieces = []
    for number in range(PIECES if photographs else 0):
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
