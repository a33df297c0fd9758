"""A scene's frames as arrays: both modalities, boxes and attribute flags.

Only additions, multiplications, comparisons and table look-ups touch a pixel, in float32 and in numpy alone: these are
exact to the last bit everywhere, so the hash over the arrays holds for every numpy, OpenCV and processor.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lib.data.synthetic.motion import AUX_FAULTS, HEIGHT, RGB_FAULTS, WIDTH
from lib.data.synthetic.scene import PAN, Actor, Scene

# LasHeR's order: no, partial, total, hyaline occlusion, motion blur, low and high illumination, abrupt illumination
# variation, low resolution, deformation, background clutter, similar appearance, camera moving, thermal crossover,
# frame lost, out of view, fast motion, scale variation, aspect ratio variation. HO, MB, DEF and FL never occur here.
ATTRIBUTES = tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARV".split())
EVENT_THRESHOLD = 150  # change of log brightness that fires an event, in thousandths
LOG_LEVELS = np.rint(1000 * np.log((np.arange(256) + 12) / 267)).astype(np.int32)
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)  # brighter, darker, no change


class Rendered(NamedTuple):
    """A whole sequence."""

    rgb: np.ndarray  # (N, H, W, 3) uint8
    aux: np.ndarray  # (N, H, W) uint8 thermal, (N, H, W) uint16 depth in mm, or (N, H, W, 3) uint8 events
    boxes_xywh: np.ndarray  # (N, 4) float64, whole pixels; zeros where absent
    present: np.ndarray  # (N,) bool: the target is in the picture and not wholly hidden
    flags: np.ndarray  # (N, 19) uint8, see ATTRIBUTES
    masks: np.ndarray  # (N, H, W) bool: pixels of the target that nothing hides


def render_scene(scene: Scene) -> Rendered:
    """Draws every frame. Deterministic: the same scene gives the same arrays."""
    rng = np.random.default_rng(scene.key)
    layers = [_compose(scene, t) for t in range(scene.frames)]
    masks = np.stack([mask for _, mask, _, _ in layers])
    boxes = np.array([box for _, _, box, _ in layers], dtype=np.float64)
    hidden = np.array([share for _, _, _, share in layers])
    present = (boxes[:, 2] > 0) & (hidden < 0.95)
    boxes[~present] = 0
    spots = {event: _spot(rng, scene, event) for event in scene.events if event.fault in ("glare", "holes")}
    grain = rng.integers(-4, 5, (2, HEIGHT * 2, WIDTH * 2, 3), dtype=np.int8)
    shifts = rng.integers(0, (HEIGHT, WIDTH), (scene.frames, 2))
    rgb = [_expose(scene, t, layers[t][0][..., :3], spots, grain[0], shifts[t]) for t in range(scene.frames)]
    values = np.stack([layer[..., 3] for layer, _, _, _ in layers])
    sensor = {"LasHeR": _thermal, "DepthTrack": _depth, "VisEvent": _events}[scene.dataset]
    aux = sensor(scene, values, spots, grain[1, ..., 0], shifts, rng)
    flags = _flags(scene, boxes, present, hidden)
    return Rendered(np.stack(rgb), aux, boxes, present, flags, masks)


def _fault(scene: Scene, t: int, *faults: str) -> float:
    """How far any of the named faults has set in at frame t, in [0, 1]."""
    return max((event.strength(t) for event in scene.events if event.fault in faults), default=0.0)


def _compose(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray, tuple, float]:
    """Background and actors of frame t.

    Returns:
        (H, W, 4) float32 R, G, B, auxiliary value, without the sensors' faults; (H, W) bool mask of the target's
        visible pixels; its box x, y, w, h (zeros: not in the picture); the share of it that an occluder hides.
    """
    picture = _look_at(scene.background, scene.pan[t])
    mask, box, area = np.zeros((HEIGHT, WIDTH), bool), (0, 0, 0, 0), 0
    # Camouflage, crossover and flat depth all mean that the target looks like what is behind it: it turns transparent.
    hidden_rgb, hidden_aux = _fault(scene, t, "camouflage"), _fault(scene, t, "crossover", "flat")
    opacity = np.float32([1 - 0.94 * hidden_rgb] * 3 + [1 - 0.96 * hidden_aux])
    for actor in scene.actors:
        window, sprite = _place(actor, t)
        if not sprite.size:
            continue
        cover, values = sprite[..., :1], sprite[..., 1:]
        solid = sprite[..., 0] > 0.5
        if actor.role == "target":
            mask[window] = solid
            area, box = int(solid.sum()), _tight_box(mask)
            cover = cover * opacity * np.float32(scene.target_shown)
        elif actor.role == "occluder":
            mask[window] &= ~solid
        picture[window] += (values - picture[window]) * cover
    # Something left of it at the border is no target any more: three pixels cannot be tracked.
    if min(box[2:]) < 4:
        return picture, mask, (0, 0, 0, 0), 0.0
    return picture, mask, box, 1 - int(mask.sum()) / area


def _look_at(background: np.ndarray, pan: np.ndarray) -> np.ndarray:
    """The (H, W, 4) part of the background that the camera sees, blended between pixels."""
    x, y = PAN + float(pan[0]), PAN + float(pan[1])
    x0, y0 = int(x), int(y)
    fx, fy = np.float32(round(x - x0, 4)), np.float32(round(y - y0, 4))
    part = background[y0 : y0 + HEIGHT + 1, x0 : x0 + WIDTH + 1]
    part = part[:-1] + (part[1:] - part[:-1]) * fy if fy else part[:-1]
    return part[:, :-1] + (part[:, 1:] - part[:, :-1]) * fx


def _place(actor: Actor, t: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """The window an actor covers at frame t, and its (h, w, 5) sprite drawn into it; empty if outside the picture."""
    (cx, cy), (hx, hy) = (np.round(v, 3).tolist() for v in (actor.centre[t], actor.half[t]))
    cos, sin = (np.float32(round(f(actor.angle[t]), 5)) for f in (math.cos, math.sin))
    reach_x, reach_y = (math.ceil(1.12 * (hx * abs(a) + hy * abs(b))) + 1 for a, b in ((cos, sin), (sin, cos)))
    x0, x1 = (min(max(int(cx) + d, 0), WIDTH) for d in (-reach_x, reach_x + 2))
    y0, y1 = (min(max(int(cy) + d, 0), HEIGHT) for d in (-reach_y, reach_y + 2))
    dx = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - cx)
    dy = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - cy))[:, None]
    side = actor.sprite.shape[0]
    # The sprite spans [-1.1, 1.1] in both of its own directions.
    u = (dx * cos + dy * sin) * np.float32(side / 2.2 / hx) + np.float32((side - 1) / 2)
    v = (dy * cos - dx * sin) * np.float32(side / 2.2 / hy) + np.float32((side - 1) / 2)
    u, v = (np.clip(texel, 0, side - 1.001) for texel in (u, v))
    return (slice(y0, y1), slice(x0, x1)), _sample(actor.sprite, u, v)


def _sample(sprite: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Reads a (S, S, C) sprite at texel positions u, v (h, w), blended between texels: (h, w, C) float32."""
    side, channels = sprite.shape[1:]
    u0, v0 = u.astype(np.int32), v.astype(np.int32)
    fu, fv = (u - u0)[..., None], (v - v0)[..., None]
    flat, corner = sprite.reshape(-1, channels), v0 * side + u0
    top = flat[corner] * (1 - fu) + flat[corner + 1] * fu
    bottom = flat[corner + side] * (1 - fu) + flat[corner + side + 1] * fu
    return top * (1 - fv) + bottom * fv


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, w, h around the true pixels; zeros if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def _spot(rng: np.random.Generator, scene: Scene, event) -> np.ndarray:
    """(H, W) float32 in [0, 1]: a fixed disc, 1 wherever the target comes during `event`, fading to 0 outside.

    It lies off the target's centre, or the disc itself would show where the target is.
    """
    times = slice(max(event.start - 1, 0), event.stop + 1)
    centres, size = scene.target.centre[times], 2 * scene.target.half[times].max()
    x, y = np.round(centres.mean(axis=0) + rng.uniform(-0.5, 0.5, 2) * size).tolist()
    radius = round(float(np.hypot(*(centres - (x, y)).T).max() + 0.8 * size))
    rows, columns = np.arange(HEIGHT, dtype=np.float32)[:, None] - y, np.arange(WIDTH, dtype=np.float32) - x
    distance = np.sqrt(rows * rows + columns * columns)
    fade = 30 if event.fault == "glare" else 1
    return np.clip((radius + fade - distance) / np.float32(fade), 0, 1).astype(np.float32)


def _window(grain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """One frame's (H, W, ...) of sensor noise, cut from a larger field."""
    return grain[shift[0] : shift[0] + HEIGHT, shift[1] : shift[1] + WIDTH]


def _expose(scene: Scene, t: int, rgb: np.ndarray, spots: dict, grain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: what the RGB camera makes of frame t, with darkness, glare and noise."""
    dark = _fault(scene, t, "dark")
    rgb = rgb * np.float32(1 if dark == 0 else 0.25 if dark < 1 else 0.02)
    for event, spot in spots.items():
        if event.fault == "glare" and event.strength(t):
            veil = (np.float32(0.12) + spot * np.float32(0.87)) * np.float32(event.strength(t))
            rgb = rgb + (255 - rgb) * veil[..., None]
    noise = _window(grain, shift)
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def _thermal(scene, values, spots, grain, shifts, rng) -> np.ndarray:
    """(N, H, W) uint8 temperatures."""
    noise = np.stack([_window(grain, shift) for shift in shifts])
    return np.clip(np.rint(values + noise), 0, 255).astype(np.uint8)


def _depth(scene, values, spots, grain, shifts, rng) -> np.ndarray:
    """(N, H, W) uint16 millimetres: noise that grows with depth, single pixels and patches without a reading (0)."""
    noise = np.stack([_window(grain, shift) for shift in shifts])
    depth = np.rint(values + noise * (values * np.float32(0.0012)))
    depth[(noise == 4) & (np.roll(noise, 1, axis=2) == 4)] = 0
    for event, spot in spots.items():
        if event.fault == "holes":
            for t in range(scene.frames):
                if event.strength(t) == 1:
                    depth[t][spot > 0] = 0
    return np.clip(depth, 0, 65535).astype(np.uint16)


def _events(scene, values, spots, grain, shifts, rng) -> np.ndarray:
    """(N, H, W, 3) uint8: red where log brightness rose by more than the threshold since the frame before, blue where
    it fell, white elsewhere, and a little noise. The event camera sees in the dark and against glare.
    """
    levels = LOG_LEVELS[np.clip(np.rint(values), 0, 255).astype(np.uint8)]
    before = np.concatenate([levels[1:2], levels[:-1]])  # before the first frame: as if it had come from where it goes
    change = levels - before
    noise = np.stack([_window(grain, shift) for shift in shifts]).astype(np.int32)
    noise[(np.abs(noise) < 4) | (np.roll(noise, 1, axis=2) < 4) | (np.roll(noise, 2, axis=2) < 2)] = 0
    change = np.where(np.abs(change) > EVENT_THRESHOLD, change, noise * 1000)
    picture = np.full((*change.shape, 3), WHITE, np.uint8)
    picture[change > EVENT_THRESHOLD] = RED
    picture[change < -EVENT_THRESHOLD] = BLUE
    return picture


def _flags(scene: Scene, boxes: np.ndarray, present: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(N, 19) uint8. A sequence's flags are these, each or-ed over its frames; NO holds for whole sequences."""
    n = scene.frames
    flags = {name: np.zeros(n, bool) for name in ATTRIBUTES}
    for event in scene.events:
        name = {**RGB_FAULTS, **AUX_FAULTS[scene.dataset]}.get(event.fault)
        if name:
            flags[name][event.start : event.stop] = True
        if event.abrupt and event.fault in ("dark", "glare"):
            flags["AIV"][[event.start, min(event.stop, n - 1)]] = True
    outside = ~present & (hidden < 0.95)
    flags["OV"] = outside
    flags["TO"] = ~present & ~outside
    flags["PO"] = present & (hidden > 0.1)
    flags["NO"][:] = not (flags["PO"] | flags["TO"]).any()
    area, aspect = boxes[:, 2] * boxes[:, 3], boxes[:, 2] / np.maximum(boxes[:, 3], 1)
    flags["LR"] = present & (area < 400)
    flags["SV"] = present & ((area > 2 * area[0]) | (area < area[0] / 2))
    flags["ARV"] = present & ((aspect > 1.5 * aspect[0]) | (aspect < aspect[0] / 1.5))
    moved = np.hypot(*(boxes[1:, :2] + boxes[1:, 2:] / 2 - boxes[:-1, :2] - boxes[:-1, 2:] / 2).T)
    flags["FM"][1:] = present[1:] & present[:-1] & (moved > 0.2 * np.sqrt(area[1:]))
    flags["CM"][1:] = np.hypot(*np.diff(scene.pan, axis=0).T) > 0.3
    for actor in scene.actors:
        if actor.role == "distractor":
            gap = np.hypot(*(actor.centre - scene.target.centre).T)
            flags["SA"] |= present & (gap < 4.5 * scene.target.half.max(axis=1))
    return np.stack([flags[name] for name in ATTRIBUTES], axis=-1).astype(np.uint8)
