"""Appearance of the objects: sprites (shape, RGB texture, auxiliary value) and backgrounds.

All random values are drawn here once per sequence, in float64, and rounded to whole levels. render.py then uses only
additions and multiplications, so that differences between math libraries change neither an image nor the recorded hash.
"""

from __future__ import annotations

import colorsys

import numpy as np

SPRITE = 64  # side of a sprite, texels
FINE = 4  # oversampling factor of shapes and textures
SHAPES = ("ellipse", "box", "triangle", "pentagon", "star", "ell", "cross", "arrow", "ring", "blob", "tee", "moon")
TEXTURES = ("plain", "checker", "stripes", "noise", "spots", "halves", "rings", "wedges")


def value_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Returns (height, width) float64 in [0, 1]: random values on a grid of `cell` pixels, interpolated smoothly."""
    y, x = np.arange(height) / cell, np.arange(width) / cell
    grid = rng.random((int(y[-1]) + 2, int(x[-1]) + 2))
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = (f * f * (3 - 2 * f) for f in (y - y0, x - x0))
    rows = grid[y0] * (1 - fy[:, None]) + grid[y0 + 1] * fy[:, None]
    return rows[:, x0] * (1 - fx) + rows[:, x0 + 1] * fx


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Returns u, v in [-1.1, 1.1] on the fine grid. The margin keeps the outermost texels empty."""
    axis = ((np.arange(SPRITE * FINE) + 0.5) / (SPRITE * FINE) * 2 - 1) * 1.1
    return np.meshgrid(axis, axis)


def _average(fine: np.ndarray) -> np.ndarray:
    """Averages blocks of FINE x FINE texels: (S*F, S*F) → (S, S)."""
    return fine.reshape(SPRITE, FINE, SPRITE, FINE).mean(axis=(1, 3))


def shape_mask(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Returns the (S, S) coverage in [0, 1] of a shape that fills most of [-1, 1] x [-1, 1]."""
    u, v = _grid()
    r, a = np.hypot(u, v), np.arctan2(v, u)
    amplitude, phase = rng.uniform(0.08, 0.16, 3), rng.uniform(0, 2 * np.pi, 3)
    bar, notch = rng.uniform(0.28, 0.42), rng.uniform(0.35, 0.6)

    def polygon(n: int) -> np.ndarray:
        corner = np.pi / n
        return r * np.cos((a + np.pi / 2) % (2 * corner) - corner) < np.cos(corner) * 0.997

    lobes = sum(amplitude[k] * np.sin((k + 2) * a + phase[k]) for k in range(3))
    inside = {
        "ellipse": lambda: r < 0.98,
        "box": lambda: np.maximum(np.abs(u), np.abs(v)) + 0.3 * np.minimum(np.abs(u), np.abs(v)) ** 4 < 0.98,
        "triangle": lambda: polygon(3),
        "pentagon": lambda: polygon(5),
        "star": lambda: r < 0.98 - (1 - notch) * np.abs((a * 5 / (2 * np.pi) + 0.75) % 1 - 0.5) * 2,
        "ell": lambda: (np.maximum(np.abs(u), np.abs(v)) < 0.98) & ((u < 2 * bar - 1) | (v > 1 - 2 * bar)),
        "cross": lambda: (np.minimum(np.abs(u), np.abs(v)) < bar) & (np.maximum(np.abs(u), np.abs(v)) < 0.98),
        "arrow": lambda: (np.abs(v) < (0.97 - u) * 0.95) & (u > -0.1) | (np.abs(v) < bar) & (np.abs(u) < 0.98),
        "ring": lambda: (r < 0.98) & (r > bar),
        "blob": lambda: r < 0.7 + lobes * 0.8,
        "tee": lambda: (np.abs(u) < 0.98) & (np.abs(v) < 0.98) & ((v < 2 * bar - 1) | (np.abs(u) < bar)),
        "moon": lambda: (r < 0.98) & (np.hypot(u - notch * 1.2, v) > 0.75),
    }[shape]()
    return _average(inside.astype(np.float64))


def texture_weight(texture: str, rng: np.random.Generator) -> np.ndarray:
    """Returns the (S, S) weight of the second colour, in [0, 1]."""
    u, v = _grid()
    angle, count = rng.uniform(0, np.pi), rng.integers(2, 5)
    along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    spots = rng.uniform(-0.85, 0.85, (rng.integers(4, 9), 2))
    side = SPRITE * FINE
    coarse = value_noise(rng, side, side, side / 5.3)
    fine = {
        "plain": lambda: 0.5 + 0.45 * along / 1.6,
        "checker": lambda: (np.floor(along * count * 0.8) + np.floor(across * count * 0.8)) % 2,
        "stripes": lambda: np.floor(along * count) % 2,
        "noise": lambda: np.clip(coarse * 3 - 1, 0, 1),
        "spots": lambda: np.any([np.hypot(u - x, v - y) < 0.24 for x, y in spots], axis=0),
        "halves": lambda: along > 0.013,
        "rings": lambda: np.floor(np.hypot(u, v) * count + 0.21) % 2,
        "wedges": lambda: np.floor(np.arctan2(v, u) / np.pi * count + 0.37) % 2,
    }[texture]()
    return _average(np.asarray(fine, np.float64))


def colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """Draws an RGB colour, (3,) in [0, 255], with any hue and with saturation and value from the given ranges."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))) * 255


def target_colours(rng: np.random.Generator, background: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws two RGB colours that differ from each other and from the mean background colour.

    The first colour has the larger contrast. Both differ from the background in brightness by at least `gap`. After 60
    attempts the last two colours are returned.
    """
    first = second = background
    for _ in range(60):
        first, second = colour(rng, (0.35, 1), (0.25, 1)), colour(rng, (0, 1), (0.1, 1))
        contrasts = [np.abs(a - b).sum() for a, b in ((first, background), (second, background), (first, second))]
        brightness = min(abs(luma(first - background)), abs(luma(second - background)))
        if contrasts[0] > 170 and min(contrasts) > 110 and brightness >= gap:
            break
    return first, second


def make_sprite(mask: np.ndarray, weight: np.ndarray, colours: tuple, aux: np.ndarray | float) -> np.ndarray:
    """Returns (S, S, 5) float32: coverage in [0, 1], then R, G, B and auxiliary value (see Scene) in whole levels."""
    first, second = colours
    rgb = np.rint(first + (second - first) * weight[..., None])
    aux = np.broadcast_to(np.rint(aux), mask.shape)
    sprite = np.concatenate([mask[..., None], np.clip(rgb, 0, 255), aux[..., None]], axis=-1).astype(np.float32)
    sprite[[0, -1]] *= (0, 1, 1, 1, 1)
    sprite[:, [0, -1]] *= (0, 1, 1, 1, 1)
    return sprite


def luma(rgb: np.ndarray) -> np.ndarray:
    """Returns the brightness of (..., 3) RGB, in the same unit."""
    return rgb[..., 0] * 0.299 + rgb[..., 1] * 0.587 + rgb[..., 2] * 0.114


def background_rgb(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a background, (height, width, 3) float64 in [0, 255].

    It is noise of several octaves between two colours of low saturation, often with stripes or a gradient, and with
    patches of a third colour.
    """
    first, second, third = (colour(rng, (0, 0.4), (0.25, 0.85)) for _ in range(3))
    octaves = [(64, 0.5), (24, 0.3), (9, 0.2)]
    weight = sum(share * value_noise(rng, height, width, cell) for cell, share in octaves)
    y, x = np.mgrid[:height, :width]
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind = rng.integers(4)
    if kind == 1:
        weight = 0.75 * weight + 0.25 * (np.floor(along / rng.uniform(8, 30)) % 2)
    elif kind == 2:
        weight = 0.5 * weight + 0.5 * (along - along.min()) / np.ptp(along)
    rgb = first + (second - first) * np.clip(weight * 1.6 - 0.3, 0, 1)[..., None]
    patches = value_noise(rng, height, width, rng.uniform(18, 40)) > 0.78
    rgb[patches] = rgb[patches] * 0.5 + third * 0.5
    return np.clip(rgb + rng.integers(-7, 8, (height, width, 1)), 0, 255)
