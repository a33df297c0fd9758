"""Describes one sequence: camera, background, target, distractors, occluder and the faults of the two sensors.

Motion is a sum of sines, so that any frame can be computed without those before it. Lengths are in pixels of the image
(WIDTH x HEIGHT), angles in radians, times in frames. Positions are continuous: pixel i covers [i, i + 1).
Letters: L layers, F times, K sines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lib.data.synthetic.v2.patches import salient_patch
from lib.data.synthetic.v2.textures import Picture, Textures, Thing

VERSION = 2  # of the random numbers; a change of what is drawn from them increases `textures.REVISION`
NEARNESS = (0.4, 4.0)  # of the room: least and largest, of that of the wall's middle
WIDTH, HEIGHT, FRAMES = 480, 360, 80
MIDDLE = np.array([WIDTH, HEIGHT]) / 2
MODALITIES = ("rgbt", "rgbd", "rgbe")
NATURAL = 1 / 3  # share of sequences whose target is a part of the background
OCCLUDED = 0.35  # share of sequences with a thing in front of the target
SIZES = (16.0, 96.0)  # square root of the target's area, pixels
SPREAD = 3.5  # distractors lie within this many target sizes around the target: as far as a jittered crop extends
CELLS = 4  # distractors are spread over CELLS x CELLS cells, so that every search crop shows some
RGB_FAULTS = ("night", "glare", "fog", "defocus", "overexposed", "camouflage")
AUX_FAULTS = {
    "rgbt": ("crossover", "low_contrast", "defocus"),
    "rgbd": ("holes", "flat", "noise"),
    "rgbe": ("insensitive", "noise"),
}


class Wave(NamedTuple):
    """A smooth function of time, for any number of values: the sum of K sines."""

    amplitude: np.ndarray  # (..., K); the sum over K is the largest value
    frequency: np.ndarray  # (..., K) radians per frame
    phase: np.ndarray  # (..., K)

    def at(self, t) -> np.ndarray:
        """Returns the values at the times `t`, (F,) → (F, ...), or at one time → (...)."""
        t = np.asarray(t, np.float64)
        angle = self.frequency * t.reshape(t.shape + (1,) * self.amplitude.ndim) + self.phase
        return np.einsum("...k,...k->...", self.amplitude, np.sin(angle))

    def rows(self, rows) -> Wave:
        """Returns the wave of some of the values along the first axis."""
        return Wave(*(field[rows] for field in self))


class Camera(NamedTuple):
    """Maps the image to the background picture: a similarity that holds one point of the picture on a path."""

    anchor: np.ndarray  # (2,) the point of the picture, pixels of the picture
    path: Wave  # (2,) position of the anchor, from the image's middle
    shake: Wave  # (2,) hand shake, added to the path
    zoom: float  # pixels of the picture per pixel of the image, at the mean
    turn: Wave  # (2,) logarithm of the zoom's change, and roll

    def at(self, t) -> np.ndarray:
        """Returns the (..., 2, 3) matrix from image to picture at the times t, (...)."""
        place, (log_zoom, roll) = self.place(t), np.moveaxis(self.turn.at(t), -1, 0)
        linear = _rotation(roll) * (self.zoom * np.exp(log_zoom))[..., None, None]
        return _affine(linear, self.anchor - (linear @ place[..., None])[..., 0])

    def place(self, t) -> np.ndarray:
        """Returns x, y of the anchor in the image at the times t, (...) → (..., 2)."""
        return MIDDLE + self.path.at(t) + self.shake.at(t)


class Layers(NamedTuple):
    """The things in front of the background, from the back to the front: one row each."""

    things: list[Thing]
    # motion
    half: np.ndarray  # (L,) half the longest side in the image, at the mean
    shape: np.ndarray  # (L, 2, 2) mirror, aspect, shear and mean rotation
    turn: Wave  # (L, 2) logarithm of the change in size, and rotation
    base: np.ndarray  # (L, 2) mean position: relative to the target in the image, or a point of the picture
    in_picture: np.ndarray  # (L,) bool: `base` is a point of the picture, and the thing moves with the background
    offset: Wave  # (L, 2) motion around `base`, for the others
    bend: np.ndarray  # (L, 2) largest shift along x, waves per unit of y, in the thing's own coordinates
    bend_phase: Wave  # (L,)
    # appearance
    colours: np.ndarray  # (L, 3, 4) float32: RGB from (R, G, B, alpha), all multiplied by alpha
    blur: np.ndarray  # (L,) standard deviation in image pixels
    aux: np.ndarray  # (L, 3) auxiliary value: level, gain of the texture, relief; depth: ratios to what it stands on
    paint_rgb: np.ndarray  # (L,) bool; False: the background shows the thing already
    paint_aux: np.ndarray  # (L,) bool

    def row(self, number: int) -> Layers:
        """Returns one of the layers alone."""
        rows = slice(number, number + 1)
        return Layers(*(field.rows(rows) if isinstance(field, Wave) else field[rows] for field in self))


class Fault(NamedTuple):
    """A disturbance of one sensor that comes and goes."""

    name: str
    clock: Wave
    sign: int
    largest: float = 1.0

    def strength(self, t: float, *names: str) -> float:
        """Returns the strength at time t, in [0, 1], or 0 if the fault has none of the names.

        The two sensors of a scene never have a fault at the same time.
        """
        if self.name not in names:
            return 0.0
        return float(np.clip((self.sign * self.clock.at(t) - 0.25) * 5, 0, 1)) * self.largest


@dataclass(frozen=True, eq=False)
class Scene:
    """All that the frames of a sequence depend on."""

    key: tuple[int, ...]
    modality: str
    picture: Picture
    camera: Camera
    path: Wave | None  # (2,) path of a target that moves by itself, from the image's middle; None: camera's anchor
    layers: Layers
    target: int  # its row in `layers`
    rgb_fault: Fault
    aux_fault: Fault
    sensor: dict[str, float]
    aux_map: AuxMap
    shift: np.ndarray  # (2,) misalignment of the auxiliary image, pixels

    def places(self, t: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Returns the matrices from the coordinates of things to the image, without bending: (F,) → (F, L, 2, 3)."""
        layers, camera = self.layers, self.camera.at(t)
        log_scale, turn = np.moveaxis(layers.turn.rows(rows).at(t), -1, 0)
        linear = _rotation(turn) @ layers.shape[rows] * (layers.half[rows] * np.exp(log_scale))[..., None, None]
        target = self.camera.place(t) if self.path is None else MIDDLE + self.path.at(t)
        centre = target[:, None] + layers.base[rows] + layers.offset.rows(rows).at(t)
        if (fixed := layers.in_picture[rows]).any():
            inverse = np.linalg.inv(camera[:, None, :, :2])
            linear = np.where(fixed[:, None, None], self.camera.zoom * inverse @ linear, linear)
            in_image = (inverse @ (layers.base[rows] - camera[:, None, :, 2])[..., None])[..., 0]
            centre = np.where(fixed[:, None], in_image, centre)
        return _affine(linear, centre)

    def boxes_xywh(self, t: np.ndarray) -> np.ndarray:
        """Returns the target's box at the times t, (F,) → (F, 4) float64, cut off at the image's border."""
        row = self.target
        return self._boxes(row, self.places(t, slice(row, row + 1))[:, 0], t)

    def distractors_xywh(self, t: float) -> np.ndarray:
        """Returns the boxes of all other things at time t, (L - 1, 4) float64, cut off at the image's border."""
        times = np.array([t])
        matrices = self.places(times)
        rows = [row for row in range(len(self.layers.things)) if row != self.target]
        return np.concatenate([np.empty((0, 4)), *(self._boxes(row, matrices[:, row], times) for row in rows)])

    def aux_levels(self, t: float, matrices: np.ndarray) -> np.ndarray:
        """Returns `layers.aux` at time t, (L, 3), of depth in millimetres. What hides the target is not farther.

        Args:
            matrices: those of `places` at time t, (L, 2, 3).
        """
        if self.aux_map.planes is None:
            return self.layers.aux
        feet = matrices[:, :, 2].copy()
        feet[:, 1] += [
            (thing.contour @ row).max() for thing, row in zip(self.layers.things, matrices[:, 1, :2], strict=True)
        ]
        aux = self.layers.aux * self.aux_map.distance(*feet.T, self.camera.at(t))[:, None]
        before = aux[self.target + 1 :]
        before *= np.minimum(1, aux[self.target, 0] / before[:, :1])
        return aux

    def _boxes(self, row: int, matrices: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Returns the boxes of a thing from its matrices (F, 2, 3) at the times t, (F, 4)."""
        layers = self.layers
        points = layers.things[row].contour
        (size, waves), phase = layers.bend[row], layers.bend_phase.rows(row).at(t)
        shift = size * np.sin(waves * points[:, 1] + phase[:, None])
        points = points - np.stack([shift, np.zeros_like(shift)], axis=-1)
        points = points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[:, None, :, 2]
        low, high = (np.clip(corner, 0, (WIDTH, HEIGHT)) for corner in (points.min(axis=1), points.max(axis=1)))
        return np.concatenate([low, high - low], axis=-1)


class AuxMap(NamedTuple):
    """How the auxiliary values of a photograph follow from its colours: thermal grey levels, or millimetres."""

    mix: np.ndarray  # (1, 3) weights of R, G, B
    levels: np.ndarray  # (256,) float32; of depth: ratio to the distance of the planes
    slope: float  # of thermal: change from the top to the bottom of the image
    level: float  # the mean; of depth: the distance of the wall
    planes: np.ndarray | None = None  # (P, 3) of depth: 1 / distance is the largest planes @ (x, y, 1) in the picture

    def distance(self, x: np.ndarray, y: np.ndarray, picture: np.ndarray) -> np.ndarray:
        """Returns the distance of the nearest plane in millimetres; `picture` maps (x, y) to the picture, (2, 3)."""
        least, largest = (np.float32(bound / self.level) for bound in NEARNESS)
        nearness = least
        for a, b, c in (self.planes @ np.vstack([picture, [0, 0, 1]])).astype(np.float32):
            nearness = np.maximum(nearness, a * x + (b * y + c))
        return 1 / np.minimum(nearness, largest)


def make_scene(textures: Textures, seed: int, index: int) -> Scene:
    """Draws a sequence: a function of the arguments, VERSION and REVISION. Its modality is MODALITIES[index % 3]."""
    key = (VERSION, seed, ("train", "val").index(textures.split), index)
    rng = np.random.default_rng(key)
    modality = MODALITIES[index % len(MODALITIES)]
    picture = _choose_picture(rng, textures, modality)
    aux_map = _aux_map(rng, modality, picture)
    natural = bool(rng.random() < NATURAL)
    size, zoom = _size_and_zoom(rng)
    if natural:
        thing, anchor, zoom = _find_patch(rng, picture, size, zoom)
        path = None
    else:
        thing, anchor = _choose_thing(rng, textures), rng.uniform(0.25, 0.75, 2) * picture.rgb.shape[1::-1]
        room = np.maximum((np.array([WIDTH, HEIGHT]) - 1.6 * size) / 2, 20)
        path = _wave(rng, room * rng.uniform(0.2, 0.85), 25, 120)
    camera = _make_camera(rng, anchor, zoom, natural, modality)
    layers, target = _make_layers(rng, textures, thing, size, camera, path)
    layers = _paint(rng, layers, target, picture, modality, aux_map)
    if natural:
        layers = _join_background(layers, target, anchor, bool(picture.thermal is None and rng.random() < 0.5))
    clock, sign = _wave(rng, np.array(rng.random() < 0.6), 25, 120), int(rng.choice([-1, 1]))
    faults = str(rng.choice(RGB_FAULTS)), str(rng.choice(AUX_FAULTS[modality]))
    sensor, shift = _make_sensor(rng), rng.normal(0, 1.2, 2) * (rng.random() < 0.6)
    if modality == "rgbd":  # the random numbers of the others stay as they are
        sensor["holes"] = float(rng.uniform(1.3, 2.5))  # smooth noise above this many standard deviations is a hole
        sensor["limit_change"] = float(rng.choice([0, 0.1, 0.25]))  # largest change of the limit's logarithm
    return Scene(
        key=(*key, 1),
        modality=modality,
        picture=picture,
        camera=camera,
        path=path,
        layers=layers,
        target=target,
        # An event camera does not see what stands still: the other camera must not be blind as well.
        rgb_fault=Fault(faults[0], clock, sign, 0.7 if modality == "rgbe" else 1.0),
        aux_fault=Fault(faults[1], clock, -sign),
        sensor=sensor,
        aux_map=aux_map,
        shift=shift,
    )


def make_still_scene(textures: Textures, seed: int, index: int) -> Scene:
    """As `make_scene`, for a still pair with real thermal: the target is a part of it and nothing else is drawn."""
    key = (VERSION, seed, ("train", "val").index(textures.split), index, 0)
    rng = np.random.default_rng(key)
    picture = textures.stills[index % len(textures.stills)]
    aux_map = _aux_map(rng, "rgbt", picture)
    size, zoom = _size_and_zoom(rng)
    thing, anchor, zoom = _find_patch(rng, picture, size, zoom)
    camera = _make_camera(rng, anchor, zoom, True, "rgbt")
    layers, target = _make_layers(rng, textures, thing, size, camera, None)
    layers = _paint(rng, layers, target, picture, "rgbt", aux_map)
    layers = _join_background(layers.row(target), 0, anchor, paint_aux=False)
    clock = _wave(rng, np.array(0.0), 25, 120)
    faults = [Fault(names[0], clock, 1, largest=0.0) for names in (RGB_FAULTS, AUX_FAULTS["rgbt"])]
    return Scene(key, "rgbt", picture, camera, None, layers, 0, *faults, _make_sensor(rng), aux_map, np.zeros(2))


def _size_and_zoom(rng: np.random.Generator) -> tuple[float, float]:
    """Draws the target's size in pixels of the image, and pixels of the picture per pixel of the image."""
    size = float(np.exp(rng.uniform(*np.log(SIZES))))
    return size, float(np.exp(rng.uniform(np.log(0.45), np.log(1.0))))


def _find_patch(
    rng: np.random.Generator, picture: Picture, size: float, zoom: float
) -> tuple[Thing, np.ndarray, float]:
    """Returns a salient piece of a picture, its centre, and the zoom at which it is as large as it was cut."""
    thing, anchor = salient_patch(rng, picture, size * zoom)
    return thing, anchor, thing.root * max(thing.levels[0].shape[:2]) / 2 / size


def _choose_picture(rng: np.random.Generator, textures: Textures, modality: str) -> Picture:
    """Chooses the background; half of the thermal sequences have a real thermal picture."""
    pool = textures.stills if modality == "rgbt" and textures.stills and rng.random() < 0.5 else textures.photographs
    return pool[rng.integers(len(pool))]


def _choose_thing(rng: np.random.Generator, textures: Textures) -> Thing:
    """Chooses a cut-out or a drawn thing, or sometimes a rounded piece of a photograph."""
    pool = textures.pieces if rng.random() < 0.15 and textures.pieces else textures.things
    return pool[rng.integers(len(pool))]


def _aux_map(rng: np.random.Generator, modality: str, picture: Picture) -> AuxMap:
    mix = rng.dirichlet([1, 1, 1])[None] if rng.random() < 0.7 else np.array([[1.0, -0.6, 0.6]])
    curve = np.interp(np.arange(256), np.linspace(0, 255, 5), rng.uniform(-1, 1, 5))
    if modality == "rgbd":
        level = float(rng.uniform(1200, 5000))
        ratios = (1 + rng.choice([0.03, 0.08, 0.2]) * (1 + curve)).astype(np.float32)  # behind the planes
        return AuxMap(mix, ratios, 0.0, level, _planes(rng, level, picture))
    level = float(rng.uniform(70, 160)) if picture.thermal is None else float(picture.thermal[::8, ::8].mean())
    levels, slope = level + rng.uniform(10, 60) * curve, float(rng.uniform(-20, 20))
    return AuxMap(mix, levels.astype(np.float32), slope, level)


def _planes(rng: np.random.Generator, level: float, picture: Picture) -> np.ndarray:
    """Returns a wall, often seen from the side, and in most scenes a floor or a table below it, see `AuxMap.planes`."""
    height, width = picture.rgb.shape[:2]
    side = rng.uniform(-0.6, 0.6) * (rng.random() < 0.5)
    edge, steep = rng.uniform(0, 0.8), rng.uniform(0.3, 3)
    wall = (side / width, 0, 1 - side / 2)
    floor = (0, steep / height, 1 - steep * edge)
    return np.array([wall, floor] if rng.random() < 0.75 else [wall]) / level


def _make_camera(rng: np.random.Generator, anchor: np.ndarray, zoom: float, natural: bool, modality: str) -> Camera:
    """Draws pan, zoom, roll and hand shake. An event camera is never quite still."""
    wander = np.array([WIDTH, HEIGHT]) * (rng.uniform(0.05, 0.28) if natural else rng.uniform(0, 0.2))
    shake = rng.choice([0.5, 1, 2, 3] if modality == "rgbe" else [0, 0.5, 1.5, 3])
    return Camera(
        anchor,
        _wave(rng, wander, 40, 160),
        _wave(rng, np.full(2, shake), 3, 9),
        zoom,
        _wave(rng, rng.uniform(0, [0.35, 0.2]), 40, 160),
    )


def _make_layers(
    rng: np.random.Generator, textures: Textures, thing: Thing, size: float, camera: Camera, path: Wave | None
) -> tuple[Layers, int]:
    """Draws the target, distractors all around it and often an occluder, with their motion.

    The distractors are spread evenly, so that their places do not tell where the target is. A third are of its kind.

    Returns:
        The layers, of which the appearance is still that of the textures, and the row of the target.
    """
    step = 2 * SPREAD / CELLS
    cells = np.stack(np.divmod(np.arange(CELLS * CELLS), CELLS), axis=-1)
    spots = (cells + rng.random(cells.shape)) * step - SPREAD
    spots = spots[np.abs(spots).max(axis=1) > 0.45]
    target, count = len(spots), len(spots) + 1 + int(rng.random() < OCCLUDED)
    things = [thing if draw < 0.3 else _choose_thing(rng, textures) for draw in rng.random(count)]
    things[target] = thing
    sizes = size * np.exp(rng.normal(0, 0.35, count))
    base, wander = np.zeros((count, 2)), rng.uniform(0, 0.8 * size, count)
    base[:target] = spots * size
    fixed = (rng.random(count) < (0.5 if path is None else 0.2)) & (np.arange(count) < target)
    if fixed.any():
        start = float(rng.uniform(0, FRAMES))
        centre = camera.place(start) if path is None else MIDDLE + path.at(start)
        matrix = camera.at(start)
        base[fixed] = (centre + base[fixed]) @ matrix[:, :2].T + matrix[:, 2]
    sizes[target], wander[target] = size, 0
    if count > target + 1:
        angle = rng.uniform(0, 2 * np.pi)
        base[-1] = size * rng.uniform(0.45, 0.8) * np.array([np.cos(angle), np.sin(angle)])
        sizes[-1], wander[-1] = size * rng.uniform(0.4, 0.75), size * 0.25
    aspect = np.exp(rng.normal(0, 0.12, count))
    shape = np.zeros((count, 2, 2))
    shape[:, 0, 0], shape[:, 1, 1], shape[:, 0, 1] = aspect, 1 / aspect, rng.normal(0, 0.1, count)
    shape[rng.random(count) < 0.5, :, 0] *= -1
    bends = (rng.random(count) < 0.3)[:, None]
    layers = Layers(
        things,
        half=sizes / [thing.root for thing in things],
        shape=_rotation(rng.normal(0, 0.3, count)) @ shape,
        turn=_wave(rng, np.stack([rng.uniform(0, 0.45, count), rng.choice([0, 0.2, 0.6], count)], axis=-1), 25, 120),
        base=base,
        in_picture=fixed,
        offset=_wave(rng, np.stack([wander, wander], axis=-1), 25, 120),
        bend=bends * rng.uniform([0.03, 1], [0.12, 4], (count, 2)),
        bend_phase=_wave(rng, np.full(count, 3.0), 20, 80),
        colours=np.tile(np.eye(3, 4, dtype=np.float32), (count, 1, 1)),
        blur=np.zeros(count),
        aux=np.zeros((count, 3)),
        paint_rgb=np.ones(count, bool),
        paint_aux=np.ones(count, bool),
    )
    return layers, target


def _paint(
    rng: np.random.Generator, layers: Layers, target: int, picture: Picture, modality: str, aux_map: AuxMap
) -> Layers:
    """Draws colours, sharpness and auxiliary values. Some distractors equal the target in one of the modalities.

    In depth, these are as much nearer as the target than what they stand on.
    """
    count = len(layers.things)
    strength = rng.choice([0.05, 0.15, 0.3, 0.5], count)
    mean = picture.rgb[::16, ::16].reshape(-1, 3).mean(axis=0)
    own = np.stack([thing.colour for thing in layers.things])
    # The thing's mean colour goes to `goal`, which lies nearer to the background's mean colour or not.
    goal = (
        own
        + (mean - own) * rng.choice([0, 0.15, 0.4, 0.6], (count, 1))
        + rng.normal(0, 60, (count, 3)) * strength[:, None]
    )
    matrix = (
        np.eye(3) * rng.uniform(0.65, 1.15, (count, 1, 1))
        + rng.normal(0, 0.33, (count, 3, 3)) * strength[:, None, None]
    )
    shift = (goal - (matrix @ own[..., None])[..., 0]) / 255  # alpha, at most 255, is the homogeneous coordinate
    colours = np.concatenate([matrix, shift[..., None]], axis=-1).astype(np.float32)
    if modality == "rgbd":
        # A thing stands at its foot, or is nearer than that: often hardly. The smallest sum is above 0.
        nearer = 0.6 * rng.random(count) ** 3
        gain, relief = np.clip(rng.normal(0, 3e-4, count), -8e-4, 8e-4), rng.uniform(-0.08, 0, count)
        aux = np.stack([1 - nearer, gain, relief], axis=-1)
    else:
        step = rng.uniform(15, 110, count) * np.where(rng.random(count) < 0.7, 1, -0.7)
        level = np.clip(aux_map.level + step, 5, 250)
        aux = np.stack([level, rng.normal(0, 0.25, count), rng.normal(0, 35, count)], axis=-1)
    alike = rng.random(count)
    colours[[i for i in range(count) if alike[i] < 0.06 and layers.things[i] is layers.things[target]]] = colours[
        target
    ]
    aux[(alike > 0.06) & (alike < 0.2)] = aux[target]
    return layers._replace(colours=colours, aux=aux, blur=rng.choice([0, 0.3, 0.6, 1.2], count))


def _join_background(layers: Layers, target: int, anchor: np.ndarray, paint_aux: bool) -> Layers:
    """Makes the target a part of the background, which is not painted again."""
    layers.shape[target] = np.eye(2)
    layers.turn.amplitude[target] = 0
    layers.bend[target] = 0
    layers.base[target] = anchor
    layers.in_picture[target] = True
    layers.paint_rgb[target] = False
    layers.paint_aux[target] = paint_aux
    return layers


def _make_sensor(rng: np.random.Generator) -> dict[str, float]:
    """Draws the constant properties of both sensors. Noise is in levels of 255; blur in image pixels."""
    return {
        "gain": float(np.exp(rng.normal(0, 0.2))),
        "gamma": float(np.exp(rng.normal(0, 0.15))),
        "noise": float(rng.choice([1, 3, 6, 10])),
        "defocus": float(rng.choice([0, 0.4, 0.8, 1.4])),
        "jpeg": float(rng.integers(35, 96)) if rng.random() < 0.4 else 0.0,
        "exposure": float(rng.choice([0, 0.3, 0.7])),  # share of the frame's time, for motion blur
        "aux_noise": float(rng.choice([1, 2, 4, 8])),
        "aux_defocus": float(rng.choice([0, 0.5, 1.0])),
        "aux_stripes": float(rng.choice([0, 0, 2, 5])),
        "threshold": float(rng.uniform(0.1, 0.3)),  # of the log brightness
        "interval": float(rng.uniform(0.4, 1.2)),  # frames over which events accumulate
        "step": float(rng.choice([1, 10, 30, 60])),  # of depth, mm
        "edge_holes": float(rng.choice([0, 0.4, 0.8])),  # share of steep edges without a depth reading
        "limit": float(rng.uniform(1.05, 1.7)),  # largest depth shown, as a multiple of `AuxMap.level`
    }


def _wave(rng: np.random.Generator, amplitude: np.ndarray, shortest: float, longest: float, sines: int = 3) -> Wave:
    """Draws a wave with periods between `shortest` and `longest` frames, whose values stay within ± amplitude."""
    amplitude = np.asarray(amplitude, np.float64)
    shares, periods, phase = rng.random((3, *amplitude.shape, sines))
    shares += 0.25
    shares *= (amplitude / shares.sum(axis=-1))[..., None]
    return Wave(shares, 2 * np.pi / (shortest * (longest / shortest) ** periods), 2 * np.pi * phase)


def _rotation(angle) -> np.ndarray:
    """Returns (..., 2, 2) rotations by (...) angles."""
    angle = np.asarray(angle)
    matrix = np.empty((*angle.shape, 2, 2))
    matrix[..., 0, 0] = matrix[..., 1, 1] = np.cos(angle)
    matrix[..., 1, 0] = np.sin(angle)
    matrix[..., 0, 1] = -matrix[..., 1, 0]
    return matrix


def _affine(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Joins (..., 2, 2) and (..., 2) to (..., 2, 3) matrices."""
    return np.concatenate([linear, shift[..., None]], axis=-1)
