"""Draws any part of a frame at any resolution: colours and auxiliary values, without the properties of the sensors."""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np

from lib.data.synthetic.v2.scene import HEIGHT, WIDTH, Layers, Scene
from lib.data.synthetic.v2.textures import Thing

MAX_BLUR = 15  # longest motion blur, pixels of the drawing
FEATHER = 0.4  # standard deviation of the least blur of a seam, pixels of the drawing
SAMPLED = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


class View(NamedTuple):
    """The part of the image that is drawn: point p of the image is at (p - origin) * scale in the drawing."""

    x: float
    y: float
    scale: float
    width: int
    height: int


WHOLE = View(0, 0, 1, WIDTH, HEIGHT)


class Drawing(NamedTuple):
    """The colours and the auxiliary values of one view."""

    rgb: np.ndarray  # (h, w, 3) float32 in [0, 255]
    aux: np.ndarray | None  # (h, w) float32: thermal grey levels or millimetres; None for events


def draw(scene: Scene, t: float, view: View, with_aux: bool = True) -> Drawing:
    """Draws the background and the layers of a scene at time t, which need not be a whole number."""
    with_aux = with_aux and scene.modality != "rgbe"
    drawing = _draw_background(scene, t, view, with_aux)
    layers = scene.layers
    matrices = scene.places(np.array([t, t - 1]))
    levels = scene.aux_levels(t, matrices[0])
    matrices *= view.scale
    matrices[..., 2] -= np.array([view.x, view.y]) * view.scale + 0.5  # to indices of pixels
    steps = (matrices[0, :, :, 2] - matrices[1, :, :, 2]) * scene.sensor["exposure"]
    blurs = np.hypot(layers.blur * view.scale, FEATHER)
    shown = layers.paint_rgb | (layers.paint_aux & with_aux)
    windows = _windows(layers, matrices[0], 2.5 * blurs + np.abs(steps).max(axis=1) / 2 + 2, view, shown)
    phases = layers.bend_phase.at(t)
    opacity = np.ones((len(blurs), 2), np.float32)
    opacity[scene.target] -= (
        0.93 * scene.rgb_fault.strength(t, "camouflage"),
        0.95 * scene.aux_fault.strength(t, "crossover", "flat"),
    )
    for row, window in windows:
        bend = (*layers.bend[row], phases[row])
        rgba = _warp(layers.things[row], matrices[0, row], bend, window)
        rgba = cv2.GaussianBlur(rgba, (0, 0), float(blurs[row]))
        if (kernel := _line(*_whole(steps[row]))) is not None:
            rgba = cv2.filter2D(rgba, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        _blend(drawing, layers, row, window, rgba, levels[row], opacity[row])
    return drawing


def inside(view: View) -> tuple[slice, slice]:
    """Returns the rows and columns of a drawing that lie inside the image."""
    rows = [min(max(round((edge - view.y) * view.scale), 0), view.height) for edge in (0, HEIGHT)]
    columns = [min(max(round((edge - view.x) * view.scale), 0), view.width) for edge in (0, WIDTH)]
    return slice(*rows), slice(*columns)


def _draw_background(scene: Scene, t: float, view: View, with_aux: bool) -> Drawing:
    ratio = scene.camera.zoom / view.scale  # pixels of the picture per pixel of the drawing
    level = _level(ratio)
    camera, before = scene.camera.at(np.array([t, t - 1]))
    whole = _picture_from_drawing(camera, view)
    matrix = whole * 0.5**level
    matrix[:, 2] -= 0.5
    size = (view.width, view.height)
    rgb = cv2.warpAffine(
        _reduce(scene.picture.rgb, level), matrix, size, flags=SAMPLED, borderMode=cv2.BORDER_REFLECT_101
    )
    aux = None
    if with_aux and scene.picture.thermal is not None:
        thermal = _reduce(scene.picture.thermal, level)
        aux = cv2.warpAffine(thermal, matrix, size, flags=SAMPLED, borderMode=cv2.BORDER_REFLECT_101)
        aux = aux.astype(np.float32)
    elif with_aux:
        side = max(3, int(4 * view.scale) | 1)
        aux = cv2.LUT(cv2.transform(cv2.blur(rgb, (side, side)), scene.aux_map.mix), scene.aux_map.levels)
        x, y = np.arange(view.width, dtype=np.float32), np.arange(view.height, dtype=np.float32)[:, None]
        if scene.aux_map.planes is None:
            aux += np.float32(scene.aux_map.slope) * ((y / view.scale + view.y) / HEIGHT - 0.5)
        else:
            aux *= scene.aux_map.distance(x, y, whole)
    # What the middle of the view shows has moved by `step` in the drawing while the shutter was open.
    middle = np.array([view.x + view.width / view.scale / 2, view.y + view.height / view.scale / 2, 1])
    step = np.linalg.solve(camera[:, :2], (camera - before) @ middle) * view.scale * scene.sensor["exposure"]
    if (kernel := _line(*_whole(step))) is not None:
        rgb = cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return Drawing(rgb.astype(np.float32), aux)


def _picture_from_drawing(camera: np.ndarray, view: View) -> np.ndarray:
    """Returns the (2, 3) matrix from indices of the drawing's pixels to positions in the picture."""
    linear = camera[:, :2] / view.scale
    corner = camera[:, :2] @ [view.x, view.y] + camera[:, 2] + linear.sum(axis=1) * 0.5
    return np.column_stack([linear, corner])


def _level(ratio: float) -> int:
    """Returns how often a texture is halved before it is sampled, if `ratio` of its pixels fall on one drawn pixel."""
    return max(0, int(np.log2(max(ratio, 1)) + 0.3))


def _reduce(image: np.ndarray, level: int) -> np.ndarray:
    """Halves an image `level` times."""
    if not level:
        return image
    height, width = (max(1, n >> level) for n in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _whole(step: np.ndarray) -> tuple[int, int]:
    """Rounds a motion blur to whole pixels and limits its length."""
    x, y = step.tolist()
    factor = min(1.0, MAX_BLUR / max(abs(x), abs(y), 1e-6))
    return round(x * factor), round(y * factor)


@functools.lru_cache(1024)
def _line(dx: int, dy: int) -> np.ndarray | None:
    """Returns the kernel of a motion blur over (dx, dy), or None if it is shorter than two pixels."""
    if max(abs(dx), abs(dy)) < 2:
        return None
    side = max(abs(dx), abs(dy)) | 1
    kernel = np.zeros((side, side), np.float32)
    for s in np.linspace(-0.5, 0.5, 2 * side) * (side - 1) / side:
        kernel[round(side // 2 + s * dy), round(side // 2 + s * dx)] += 1
    return kernel / kernel.sum()


def _windows(
    layers: Layers, matrices: np.ndarray, margins: np.ndarray, view: View, shown: np.ndarray
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Returns row and x0, y0, x1, y1 of the pixels of every layer that the view shows."""
    extent = np.array([(thing.levels[0].shape[1], thing.levels[0].shape[0]) for thing in layers.things], np.float64)
    extent /= extent.max(axis=1, keepdims=True)
    extent[:, 0] += layers.bend[:, 0]
    half = (np.abs(matrices[:, :, :2]) @ extent[..., None])[..., 0] + margins[:, None]
    low = np.maximum(matrices[:, :, 2] - half, 0).astype(int)
    high = np.minimum(np.ceil(matrices[:, :, 2] + half) + 1, (view.width, view.height)).astype(int)
    rows = np.flatnonzero(shown & (high - low > 1).all(axis=1))
    return [(row, (*low[row].tolist(), *high[row].tolist())) for row in rows.tolist()]


def _warp(thing: Thing, matrix: np.ndarray, bend: tuple, window: tuple[int, int, int, int]) -> np.ndarray:
    """Returns the (h, w, 4) uint8 picture of a thing in a window of the drawing, colours multiplied by alpha.

    Args:
        matrix: (2, 3) from the thing's coordinates to indices of the drawing's pixels.
        bend: size, waves per unit and phase.
    """
    x0, y0, x1, y1 = window
    (a, b, c), (d, e, f) = matrix.tolist()
    det = a * e - b * d
    half = max(thing.levels[0].shape[:2]) / 2
    level = min(_level(half / max(abs(det), 1e-6) ** 0.5), len(thing.levels) - 1)
    texture = thing.levels[level]
    height, width = texture.shape[:2]
    scale_x, scale_y = (half * n / full for n, full in zip((width, height), thing.levels[0].shape[1::-1], strict=True))
    # The inverse of `matrix`, from the window's pixels to the thing's coordinates.
    u = (e / det, -b / det, (b * (f - y0) - e * (c - x0)) / det)
    v = (-d / det, a / det, (d * (c - x0) - a * (f - y0)) / det)
    size, waves, phase = bend
    if not size:
        inverse = np.array([[n * scale_x for n in u], [n * scale_y for n in v]])
        inverse[:, 2] += (width / 2 - 0.5, height / 2 - 0.5)
        return cv2.warpAffine(texture, inverse, (x1 - x0, y1 - y0), flags=SAMPLED)
    columns, rows = np.arange(x1 - x0, dtype=np.float32), np.arange(y1 - y0, dtype=np.float32)[:, None]
    across, down = (np.float32(m[0]) * columns + (np.float32(m[1]) * rows + np.float32(m[2])) for m in (u, v))
    across += np.float32(size) * np.sin(np.float32(waves) * down + np.float32(phase))
    across = across * np.float32(scale_x) + np.float32(width / 2 - 0.5)
    down = down * np.float32(scale_y) + np.float32(height / 2 - 0.5)
    return cv2.remap(texture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _blend(
    drawing: Drawing,
    layers: Layers,
    row: int,
    window: tuple[int, int, int, int],
    rgba: np.ndarray,
    aux: np.ndarray,
    opacity: np.ndarray,
) -> None:
    """Blends one layer, with the auxiliary value `aux`, into both parts of a drawing."""
    x0, y0, x1, y1 = window
    alpha = rgba[..., 3].astype(np.float32)
    alpha *= np.float32(1 / 255)
    if layers.paint_rgb[row]:
        part = drawing.rgb[y0:y1, x0:x1]
        colours = np.minimum(cv2.transform(rgba, layers.colours[row]), rgba[..., 3:])
        part += opacity[0] * (colours - part * alpha[..., None])
    if drawing.aux is not None and layers.paint_aux[row]:
        part = drawing.aux[y0:y1, x0:x1]
        part += opacity[1] * (_aux_values(layers.things[row], aux, rgba, alpha) - part * alpha)


def _aux_values(thing: Thing, aux: np.ndarray, rgba: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns the auxiliary values of a layer multiplied by alpha: its level, a trace of its texture, its relief."""
    level, gain, relief = aux.tolist()
    r, g, b = 0.3 * gain, 0.59 * gain, 0.11 * gain
    mean = float(thing.colour @ [r, g, b])
    weights = np.array([[r, g, b, (level - mean) / 255]], np.float32)
    side = max(3, int(alpha.size**0.5 / 3) | 1)
    dome = cv2.blur(alpha, (side, side), borderType=cv2.BORDER_CONSTANT)
    dome *= alpha
    values = cv2.transform(rgba.astype(np.float32), weights)
    values += np.float32(relief) * dome
    return values
