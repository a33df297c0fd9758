"""Renders the frames of a scene to arrays: both modalities, boxes and attribute flags.

Pixels are computed with numpy in float32, by additions, multiplications, comparisons and table look-ups only. These are
identical to the last bit on every platform, so the hash of the arrays depends on no library version and no processor.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lib.data.synthetic.motion import AUX_FAULTS, HEIGHT, RGB_FAULTS, WIDTH
from lib.data.synthetic.scene import PAN, Actor, Scene

# LasHeR's order: no, partial, total, hyaline occlusion, motion blur, low and high illumination, abrupt illumination
# variation, low resolution, deformation, background clutter, similar appearance, camera moving, thermal crossover,
# frame lost, out of view, fast motion, scale variation, aspect ratio variation. HO, MB, DEF and FL do not occur here.
ATTRIBUTES = tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARV".split())
EVENT_THRESHOLD = 150  # change of log brightness that triggers an event, in thousandths
LOG_LEVELS = np.rint(1000 * np.log((np.arange(256) + 12) / 267)).astype(np.int32)
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)  # brighter, darker, no change


class Rendered(NamedTuple):
    """A rendered sequence of N frames."""

    rgb: np.ndarray  # (N, H, W, 3) uint8
    aux: np.ndarray  # (N, H, W) uint8 thermal, (N, H, W) uint16 depth in mm, or (N, H, W, 3) uint8 events
    boxes_xywh: np.ndarray  # (N, 4) float64, whole pixels; zeros where absent
    present: np.ndarray  # (N,) bool: the target is in the image and not completely hidden
    flags: np.ndarray  # (N, 19) uint8, see ATTRIBUTES
    masks: np.ndarray  # (N, H, W) bool: visible pixels of the target


def render_scene(scene: Scene) -> Rendered:
    """Renders every frame. The same scene always gives the same arrays."""
    rng = np.random.default_rng(scene.key)
    layers = [_compose(scene, t) for t in range(scene.frames)]
    masks = np.stack([mask for _, mask, _, _ in layers])
    boxes = np.array([box for _, _, box, _ in layers], dtype=np.float64)
    hidden = np.array([share for _, _, _, share in layers])
    present = (boxes[:, 2] > 0) & (hidden < 0.95)
    boxes[~present] = 0
    discs = {event: _disc(rng, scene, event) for event in scene.events if event.fault in ("glare", "holes")}
    noise = rng.integers(-4, 5, (2, HEIGHT * 2, WIDTH * 2, 3), dtype=np.int8)
    shifts = rng.integers(0, (HEIGHT, WIDTH), (scene.frames, 2))
    rgb = [_render_rgb(scene, t, layers[t][0][..., :3], discs, noise[0], shifts[t]) for t in range(scene.frames)]
    values = np.stack([layer[..., 3] for layer, _, _, _ in layers])
    render_aux = {"LasHeR": _render_thermal, "DepthTrack": _render_depth, "VisEvent": _render_events}[scene.dataset]
    aux = render_aux(scene, values, discs, noise[1, ..., 0], shifts)
    flags = _flags(scene, boxes, present, hidden)
    return Rendered(np.stack(rgb), aux, boxes, present, flags, masks)


def _fault(scene: Scene, t: int, *faults: str) -> float:
    """Returns the largest strength of the named faults at frame t, in [0, 1]."""
    return max((event.strength(t) for event in scene.events if event.fault in faults), default=0.0)


def _compose(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray, tuple, float]:
    """Draws the background and the actors of frame t.

    Returns:
        (H, W, 4) float32 R, G, B and auxiliary value, without sensor faults; (H, W) bool mask of the visible pixels of
        the target; its box x, y, w, h (zeros if it is not in the image); the share of it hidden by an occluder.
    """
    image = _crop_background(scene.background, scene.pan[t])
    mask, box, area = np.zeros((HEIGHT, WIDTH), bool), (0, 0, 0, 0), 0
    # With camouflage, crossover or flat depth the target looks like the background behind it: it becomes transparent.
    hidden_rgb, hidden_aux = _fault(scene, t, "camouflage"), _fault(scene, t, "crossover", "flat")
    opacity = np.float32([1 - 0.94 * hidden_rgb] * 3 + [1 - 0.96 * hidden_aux])
    for actor in scene.actors:
        window, sprite = _draw_actor(actor, t)
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
        image[window] += (values - image[window]) * cover
    # A remainder of up to 3 pixels at the border counts as out of view, because it cannot be tracked.
    if min(box[2:]) < 4:
        return image, mask, (0, 0, 0, 0), 0.0
    return image, mask, box, 1 - int(mask.sum()) / area


def _crop_background(background: np.ndarray, pan: np.ndarray) -> np.ndarray:
    """Returns the (H, W, 4) part of the background in view of the camera, interpolated bilinearly."""
    x, y = PAN + float(pan[0]), PAN + float(pan[1])
    x0, y0 = int(x), int(y)
    fx, fy = np.float32(round(x - x0, 4)), np.float32(round(y - y0, 4))
    part = background[y0 : y0 + HEIGHT + 1, x0 : x0 + WIDTH + 1]
    part = part[:-1] + (part[1:] - part[:-1]) * fy if fy else part[:-1]
    return part[:, :-1] + (part[:, 1:] - part[:, :-1]) * fx


def _draw_actor(actor: Actor, t: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Returns the window of an actor at frame t and its (h, w, 5) sprite in it; both are empty outside the image."""
    (cx, cy), (hx, hy) = (np.round(v, 3).tolist() for v in (actor.centre[t], actor.half_size[t]))
    cos, sin = (np.float32(round(f(actor.angle[t]), 5)) for f in (math.cos, math.sin))
    extent_x, extent_y = (math.ceil(1.12 * (hx * abs(a) + hy * abs(b))) + 1 for a, b in ((cos, sin), (sin, cos)))
    x0, x1 = (min(max(int(cx) + d, 0), WIDTH) for d in (-extent_x, extent_x + 2))
    y0, y1 = (min(max(int(cy) + d, 0), HEIGHT) for d in (-extent_y, extent_y + 2))
    dx = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - cx)
    dy = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - cy))[:, None]
    side = actor.sprite.shape[0]
    # The sprite covers [-1.1, 1.1] along both of its axes.
    u = (dx * cos + dy * sin) * np.float32(side / 2.2 / hx) + np.float32((side - 1) / 2)
    v = (dy * cos - dx * sin) * np.float32(side / 2.2 / hy) + np.float32((side - 1) / 2)
    u, v = (np.clip(texel, 0, side - 1.001) for texel in (u, v))
    return (slice(y0, y1), slice(x0, x1)), _sample(actor.sprite, u, v)


def _sample(sprite: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Samples a (S, S, C) sprite bilinearly at texel positions u, v, (h, w) each. Returns (h, w, C) float32."""
    side, channels = sprite.shape[1:]
    u0, v0 = u.astype(np.int32), v.astype(np.int32)
    fu, fv = (u - u0)[..., None], (v - v0)[..., None]
    flat, corner = sprite.reshape(-1, channels), v0 * side + u0
    top = flat[corner] * (1 - fu) + flat[corner + 1] * fu
    bottom = flat[corner + side] * (1 - fu) + flat[corner + side + 1] * fu
    return top * (1 - fv) + bottom * fv


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Returns x, y, w, h of the smallest box around the true pixels; zeros if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def _disc(rng: np.random.Generator, scene: Scene, event) -> np.ndarray:
    """Draws a fixed disc, (H, W) float32 in [0, 1]: 1 wherever the target is during `event`, falling to 0 outside.

    The disc is not centred on the target; otherwise the disc itself would reveal the target's position.
    """
    times = slice(max(event.start - 1, 0), event.stop + 1)
    centres, size = scene.target.centre[times], 2 * scene.target.half_size[times].max()
    x, y = np.round(centres.mean(axis=0) + rng.uniform(-0.5, 0.5, 2) * size).tolist()
    radius = round(float(np.hypot(*(centres - (x, y)).T).max() + 0.8 * size))
    rows, columns = np.arange(HEIGHT, dtype=np.float32)[:, None] - y, np.arange(WIDTH, dtype=np.float32) - x
    distance = np.sqrt(rows * rows + columns * columns)
    fade = 30 if event.fault == "glare" else 1
    return np.clip((radius + fade - distance) / np.float32(fade), 0, 1).astype(np.float32)


def _crop_noise(noise: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Cuts the (H, W, ...) sensor noise of one frame out of a larger field."""
    return noise[shift[0] : shift[0] + HEIGHT, shift[1] : shift[1] + WIDTH]


def _render_rgb(scene: Scene, t: int, rgb: np.ndarray, discs: dict, noise: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Returns the RGB image of frame t, (H, W, 3) uint8, with darkness, glare and noise."""
    dark = _fault(scene, t, "dark")
    rgb = rgb * np.float32(1 if dark == 0 else 0.25 if dark < 1 else 0.02)
    for event, disc in discs.items():
        if event.fault == "glare" and event.strength(t):
            veil = (np.float32(0.12) + disc * np.float32(0.87)) * np.float32(event.strength(t))
            rgb = rgb + (255 - rgb) * veil[..., None]
    return np.clip(np.rint(rgb + _crop_noise(noise, shift)), 0, 255).astype(np.uint8)


def _render_thermal(scene, values, discs, noise, shifts) -> np.ndarray:
    """Returns thermal images, (N, H, W) uint8."""
    noise = np.stack([_crop_noise(noise, shift) for shift in shifts])
    return np.clip(np.rint(values + noise), 0, 255).astype(np.uint8)


def _render_depth(scene, values, discs, noise, shifts) -> np.ndarray:
    """Returns depth images, (N, H, W) uint16 in millimetres.

    Noise grows with depth. Single pixels, and discs during "holes", have no reading (0).
    """
    noise = np.stack([_crop_noise(noise, shift) for shift in shifts])
    depth = np.rint(values + noise * (values * np.float32(0.0012)))
    depth[(noise == 4) & (np.roll(noise, 1, axis=2) == 4)] = 0
    for event, disc in discs.items():
        if event.fault == "holes":
            for t in range(scene.frames):
                if event.strength(t) == 1:
                    depth[t][disc > 0] = 0
    return np.clip(depth, 0, 65535).astype(np.uint16)


def _render_events(scene, values, discs, noise, shifts) -> np.ndarray:
    """Returns event images, (N, H, W, 3) uint8.

    A pixel is red if its log brightness increased by more than the threshold since the previous frame, blue if it
    decreased, else white; some noise is added. Darkness and glare do not affect the event camera.
    """
    levels = LOG_LEVELS[np.clip(np.rint(values), 0, 255).astype(np.uint8)]
    before = np.concatenate([levels[1:2], levels[:-1]])  # the first frame has no predecessor and uses the second one
    change = levels - before
    noise = np.stack([_crop_noise(noise, shift) for shift in shifts]).astype(np.int32)
    noise[(np.abs(noise) < 4) | (np.roll(noise, 1, axis=2) < 4) | (np.roll(noise, 2, axis=2) < 2)] = 0
    change = np.where(np.abs(change) > EVENT_THRESHOLD, change, noise * 1000)
    image = np.full((*change.shape, 3), WHITE, np.uint8)
    image[change > EVENT_THRESHOLD] = RED
    image[change < -EVENT_THRESHOLD] = BLUE
    return image


def _flags(scene: Scene, boxes: np.ndarray, present: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Returns the attribute flags of each frame, (N, 19) uint8. NO is the same in all frames of a sequence."""
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
            flags["SA"] |= present & (gap < 4.5 * scene.target.half_size.max(axis=1))
    return np.stack([flags[name] for name in ATTRIBUTES], axis=-1).astype(np.uint8)
