"""Describes one synthetic sequence: actors, background, camera and events. The frames are rendered in render.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lib.data.synthetic import appearance, motion
from lib.data.synthetic.motion import HEIGHT, WIDTH, Event

GENERATOR_VERSION = 1  # increase with any change of the data, and repeat the reported measurements
DATASETS = ("LasHeR", "DepthTrack", "VisEvent")
SPLITS = ("train", "test")
PAN = 30  # largest camera shift to each side, pixels


class Actor(NamedTuple):
    """An object in front of the background, in all frames. Later actors are drawn over earlier ones."""

    role: str  # "target", "distractor" or "occluder"
    sprite: np.ndarray  # (S, S, 5) float32, see appearance.make_sprite
    centre: np.ndarray  # (frames, 2) x, y in image pixels
    half_size: np.ndarray  # (frames, 2) half width and half height before rotation, pixels
    angle: np.ndarray  # (frames,) radians


@dataclass(frozen=True)
class Scene:
    """A description of all frames of a sequence.

    The auxiliary value of background and sprites is a grey level of the thermal image (LasHeR), a depth in millimetres
    (DepthTrack), or the brightness seen by the event camera (VisEvent).
    """

    dataset: str
    name: str
    frames: int
    key: tuple[int, ...]  # seed of the sensor noise
    background: np.ndarray  # (HEIGHT + 2 PAN, WIDTH + 2 PAN, 4) float32: R, G, B, auxiliary value
    pan: np.ndarray  # (frames, 2) camera shift from the middle of the background, pixels
    actors: tuple[Actor, ...]
    events: tuple[Event, ...]
    target_shown: bool = True  # False: the same frames without the target, to measure its contrast

    @property
    def target(self) -> Actor:
        return next(actor for actor in self.actors if actor.role == "target")


class _Appearance(NamedTuple):
    """The components of a sprite. A distractor shares some of them with the target."""

    mask: np.ndarray  # (S, S) coverage
    weight: np.ndarray  # (S, S) weight of the second colour
    colours: tuple[np.ndarray, np.ndarray]
    aux: np.ndarray  # (S, S) or scalar; ignored for VisEvent, where it follows from the colours

    def sprite(self, dataset: str) -> np.ndarray:
        first, second = self.colours
        aux = self.aux
        if dataset == "VisEvent":
            aux = appearance.luma(first + (second - first) * self.weight[..., None])
        return appearance.make_sprite(self.mask, self.weight, self.colours, aux)


def _key(dataset: str, seed: int, split: str, index: int) -> tuple[int, ...]:
    return GENERATOR_VERSION, seed, DATASETS.index(dataset), SPLITS.index(split), index


def _shape(key: tuple[int, ...]) -> str:
    return appearance.SHAPES[np.random.default_rng((*key, 3)).integers(len(appearance.SHAPES))]


def sequence_name(dataset: str, seed: int, split: str, index: int) -> str:
    """Returns the name of a sequence without drawing it: the target's shape and a number, unique in both splits."""
    suffix = "`s" if index % 7 == 5 else ""  # some names in LasHeR contain this character
    return f"{_shape(_key(dataset, seed, split, index))}{suffix}_{split}{index:03d}"


def make_scene(dataset: str, seed: int, split: str, index: int, frames: int, absence: int = 0) -> Scene:
    """Draws a sequence. The result is a pure function of the arguments and GENERATOR_VERSION.

    Args:
        dataset: a name in DATASETS.
        split: a name in SPLITS.
        index: number of the sequence in the split, from 0.
        frames: number of frames.
        absence: if not 0, number of frames in a row in which the target leaves the image, is away and comes back.
    """
    key = _key(dataset, seed, split, index)
    rng = np.random.default_rng(key)
    events = motion.draw_events(rng, dataset, frames, absence)
    clock = motion.scene_clock(rng, events, frames)
    pan = _camera(rng, dataset, events, clock)
    background, level = _background(rng, dataset)
    look = _target_appearance(rng, dataset, _shape(key), background, level)
    target = Actor("target", look.sprite(dataset), *_target_motion(rng, events, clock))
    distractors = _distractors(rng, dataset, target, look, level, pan)
    occlusions = [event for event in events if event.kind == "occlusion"]
    occluders = [_occluder(rng, dataset, target, event, background, level) for event in occlusions]
    return Scene(
        dataset=dataset,
        name=sequence_name(dataset, seed, split, index),
        frames=frames,
        key=(*key, 1),
        background=background.astype(np.float32),
        pan=pan,
        actors=(*distractors, target, *occluders),
        events=events,
    )


def _camera(rng: np.random.Generator, dataset: str, events: tuple[Event, ...], clock: np.ndarray) -> np.ndarray:
    """Draws the camera shift, (frames, 2): zero in two thirds of the sequences, else slow motion."""
    rate = np.diff(clock, prepend=clock[0])
    for event in events:
        if dataset == "VisEvent" and event.kind == "rgb":  # a moving background would hide the events of the target
            rate[event.start : event.stop] = 0
    clock = np.cumsum(rate)
    steps = np.arange(int(clock[-1]) + 2)
    drift = np.stack([np.interp(clock, steps, motion.smooth_noise(rng, len(steps), 16)) for _ in range(2)], axis=-1)
    return np.clip(drift * 26, 1 - PAN, PAN - 1) if rng.random() < 0.33 else np.zeros((len(clock), 2))


def _background(rng: np.random.Generator, dataset: str) -> tuple[np.ndarray, float]:
    """Draws the background in whole levels. Returns it and its mean auxiliary value, from which actors must differ."""
    height, width = HEIGHT + 2 * PAN, WIDTH + 2 * PAN
    rgb = np.rint(appearance.background_rgb(rng, height, width))
    smooth = 0.7 * appearance.value_noise(rng, height, width, 70) + 0.3 * appearance.value_noise(rng, height, width, 20)
    if dataset == "LasHeR":
        level = rng.uniform(85, 150)
        aux = level + 60 * (smooth - 0.5)
    elif dataset == "DepthTrack":
        level = rng.uniform(2600, 4500)
        # The floor is nearer at the bottom of the image.
        slope = np.linspace(1, -1, height)[:, None] * rng.uniform(0, 500)
        steps = (appearance.value_noise(rng, height, width, 45) > 0.7) * rng.uniform(100, 350)
        aux = level + slope + 300 * (smooth - 0.5) - steps
    else:
        level, aux = 0.0, appearance.luma(rgb)
    return np.concatenate([rgb, np.rint(aux)[..., None]], axis=-1), level


def _aux_value(rng: np.random.Generator, dataset: str, level: float, differs_from: float | None = None) -> float:
    """Draws an actor's mean temperature or depth, far from the background and from another actor, if given."""
    if dataset == "LasHeR":
        warm, cold = level + rng.uniform(55, 95), level - rng.uniform(50, 75)
        if differs_from is None:
            return warm if rng.random() < 0.7 else cold
        return cold if differs_from > level else warm
    if differs_from is None:
        return level - rng.uniform(1000, 1700)
    return level - rng.uniform(350, 550)


def _target_appearance(
    rng: np.random.Generator, dataset: str, shape: str, background: np.ndarray, level: float
) -> _Appearance:
    gap = 40 if dataset == "VisEvent" else 0  # events depend on brightness
    colours = appearance.target_colours(rng, background[..., :3].mean(axis=(0, 1)), gap)
    texture = appearance.TEXTURES[rng.integers(len(appearance.TEXTURES))]
    side = appearance.SPRITE
    pattern = appearance.value_noise(rng, side, side, rng.uniform(10, 30)) - 0.5
    aux = _aux_value(rng, dataset, level) + pattern * (60 if dataset == "LasHeR" else 150)
    if dataset == "LasHeR":
        aux = np.clip(aux, 4, 252)
    return _Appearance(appearance.shape_mask(shape, rng), appearance.texture_weight(texture, rng), colours, aux)


def _target_motion(rng: np.random.Generator, events: tuple[Event, ...], clock: np.ndarray) -> tuple:
    """Draws the motion of the target: centre (frames, 2), half_size (frames, 2), angle (frames,)."""
    steps = np.arange(int(clock[-1]) + 2)

    def at_clock(values: np.ndarray) -> np.ndarray:
        return np.interp(clock, steps, values)

    size, aspect = rng.uniform(30, 46), rng.uniform(0.75, 1.35)
    growth = rng.uniform(0.08, 0.5)  # of the log scale: a factor of at most 1.6
    scale = np.exp(growth * at_clock(motion.smooth_noise(rng, len(steps), 12)))
    stretch = np.exp(rng.uniform(0, 0.18) * at_clock(motion.smooth_noise(rng, len(steps), 12)))
    half_size = np.stack([size * aspect**0.5 * scale * stretch, size * aspect**-0.5 * scale / stretch], axis=-1) / 2
    half_size = np.clip(half_size, 11, 33)
    spin = rng.uniform(-0.06, 0.06) if rng.random() < 0.4 else 0.0
    swing = rng.uniform(0, 0.7)
    angle = rng.uniform(-0.4, 0.4) + at_clock(spin * steps + swing * motion.smooth_noise(rng, len(steps), 12))
    speed = np.full(len(steps), rng.uniform(0.05, 0.095) * size)
    path = motion.waypoint_path(rng, len(steps), speed, margin=size * 0.75)
    centre = np.stack([at_clock(path[:, 0]), at_clock(path[:, 1])], axis=-1)
    for event in events:
        if event.kind == "out":
            centre = motion.leave_image(centre, event, np.full(2, 1.45 * half_size.max()))
    return centre, half_size, angle


def _distractors(rng, dataset, target: Actor, look: _Appearance, level: float, pan: np.ndarray) -> list[Actor]:
    """Draws 0 to 3 distractors, which alternately resemble the target only in RGB or only in the auxiliary modality."""
    count = int(rng.choice([0, 1, 2, 3], p=[0.38, 0.3, 0.22, 0.1]))
    first = int(rng.integers(2))
    actors = []
    for number in range(count):
        similar_in_rgb = (number + first) % 2 == 0
        mean = float(np.mean(look.aux))
        if similar_in_rgb:
            aux = _aux_value(rng, dataset, level, differs_from=mean) if dataset != "VisEvent" else 0.0
            colours = tuple(np.clip(c + rng.integers(-25, 26, 3), 0, 255) for c in look.colours)
            variant = look._replace(colours=colours, aux=np.full_like(look.aux, aux))
        else:
            texture = appearance.TEXTURES[rng.integers(len(appearance.TEXTURES))]
            colours = tuple(255 - c for c in look.colours)
            variant = look._replace(weight=appearance.texture_weight(texture, rng), colours=colours)
        static = dataset == "VisEvent" and similar_in_rgb  # a static object triggers no events
        centre = _passing_path(rng, target, static, pan)
        half_size = np.broadcast_to(target.half_size[0] * rng.uniform(0.85, 1.15), target.half_size.shape)
        angle = rng.uniform(-0.4, 0.4) + (0 if static else 0.5) * motion.smooth_noise(rng, len(pan), 12)
        actors.append(Actor("distractor", variant.sprite(dataset), centre, half_size, angle))
    return actors


def _passing_path(rng: np.random.Generator, target: Actor, static: bool, pan: np.ndarray) -> np.ndarray:
    """Returns the one of five random paths that comes nearest to the target, moved so that it does not cover it."""
    size = 2 * float(target.half_size.max(axis=1).mean())
    margin = size * 0.6
    if static:
        positions = rng.uniform(margin, (WIDTH - margin, HEIGHT - margin), (12, 1, 2)) - pan
        gaps = np.hypot(*np.moveaxis(positions - target.centre, -1, 0)).min(axis=1)
        return positions[np.argmin(np.where(gaps > 1.1 * size, gaps, 1000 - gaps))]
    speed = np.full(len(pan), rng.uniform(0.05, 0.1) * size)
    paths = [motion.waypoint_path(rng, len(pan), speed, margin) for _ in range(5)]
    offset = min((path - target.centre for path in paths), key=lambda offset: np.hypot(*offset.T).min())
    distance = np.maximum(np.hypot(*offset.T), 1e-6)[:, None]
    return target.centre + offset / distance * np.sqrt(distance**2 + (1.1 * size) ** 2)


def _occluder(rng, dataset, target: Actor, event: Event, background: np.ndarray, level: float) -> Actor:
    """Draws a bar that moves across the target during `event`. A narrow bar hides half of it, a wide one all of it."""
    t = np.arange(len(target.centre))
    middle = (event.start + event.stop - 1) / 2
    axis = int(rng.integers(2))  # 0: a vertical bar that moves horizontally
    extent = 2 * float(np.hypot(*target.half_size[int(middle)])) * 0.85
    width = extent * (rng.uniform(1.1, 1.3) if rng.random() < 0.4 else rng.uniform(0.35, 0.7))
    speed = (extent + width) / (event.stop - event.start) * rng.choice([-1, 1])
    centre = target.centre[np.clip(t, event.start, event.stop - 1)].copy()
    centre[:, axis] += speed * (t - middle)
    half_size = np.full((len(t), 2), extent * 1.6)
    half_size[:, axis] = width / 2
    weight = appearance.texture_weight("noise", rng)
    first, second = (background[rng.integers(HEIGHT), rng.integers(WIDTH), :3] * f for f in (0.6, 0.85))
    aux = {"LasHeR": level + rng.uniform(-25, 25), "DepthTrack": level - 2000, "VisEvent": 0.0}[dataset]
    mask = np.ones((appearance.SPRITE, appearance.SPRITE))
    look = _Appearance(mask, weight, (first, second), np.full(mask.shape, aux))
    return Actor("occluder", look.sprite(dataset), centre, half_size, np.zeros(len(t)))
