"""The two sensors: colours and auxiliary values → the images that a camera of each kind would give."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from lib.data.image import DEPTH_LIMIT_MM
from lib.data.synthetic.v2.render import View, draw
from lib.data.synthetic.v2.scene import FRAMES, Scene

TILE = (1024, 2048)  # rows and columns of the stored noise, pixels
WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)  # no event, brighter, darker
LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)


@functools.cache
def _tile(smooth: bool) -> np.ndarray:
    """Returns white or smooth noise, TILE float32, of standard deviation 1."""
    noise = np.random.default_rng(2 + smooth).standard_normal(TILE, np.float32)
    if smooth:
        noise = cv2.GaussianBlur(noise, (0, 0), 6)
    return noise / noise.std()


def _noise(shape: tuple[int, int], start, smooth: bool = False) -> np.ndarray:
    """Returns a part of the noise that begins at row and column `start`; the tile repeats."""
    tile = _tile(smooth)
    y, x = (int(s) % n for s, n in zip(start, TILE, strict=True))
    if y + shape[0] <= TILE[0] and x + shape[1] <= TILE[1]:
        return tile[y : y + shape[0], x : x + shape[1]]
    rows, columns = ((np.arange(n) + s) % side for n, s, side in zip(shape, (y, x), TILE, strict=True))
    return tile[rows[:, None], columns]


def _random_starts(scene: Scene, t: int, stream: int, count: int) -> np.ndarray:
    """Returns (count, 2) places in the tile, different in each frame."""
    return np.random.default_rng((*scene.key, t, stream)).integers(0, TILE, (count, 2))


def rgb_image(scene: Scene, t: int, view: View, rgb: np.ndarray) -> np.ndarray:
    """Returns the (h, w, 3) uint8 image of the visible camera. `rgb` is changed."""
    sensor, fault = scene.sensor, scene.rgb_fault
    sigma = (sensor["defocus"] + 2.5 * fault.strength(t, "defocus")) * view.scale
    if sigma > 0.3:
        rgb = cv2.GaussianBlur(rgb, (0, 0), sigma)
    if strength := fault.strength(t, "fog"):
        rgb += (np.float32(205) - rgb) * np.float32(0.85 * strength)
    if strength := fault.strength(t, "glare"):
        _add_glare(scene, view, rgb, strength)
    height, width = rgb.shape[:2]
    night = fault.strength(t, "night")
    gain = sensor["gain"] * math.exp(1.1 * fault.strength(t, "overexposed") - 3.4 * night)
    levels = np.linspace(0, 1, 256, dtype=np.float32) ** np.float32(sensor["gamma"]) * np.float32(255 * gain)
    image = cv2.LUT(np.clip(rgb, 0, 255, out=rgb).astype(np.uint8), np.minimum(levels, 255))
    noise = _noise((height, 3 * width), *_random_starts(scene, t, 0, 1)).reshape(height, width, 3)
    image += np.float32(sensor["noise"] + 2 * night) * noise
    image = np.clip(image, 0, 255, out=image).astype(np.uint8)
    if sensor["jpeg"]:
        _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(sensor["jpeg"])))
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def _add_glare(scene: Scene, view: View, rgb: np.ndarray, strength: float) -> None:
    """Adds a veil of light around a fixed point of the image that the target passes."""
    x, y = scene.places(np.array([FRAMES / 2]), slice(scene.target, scene.target + 1))[0, 0, :, 2].tolist()
    columns = (np.arange(rgb.shape[1], dtype=np.float32) + 0.5) / view.scale + view.x - x
    rows = (np.arange(rgb.shape[0], dtype=np.float32)[:, None] + 0.5) / view.scale + view.y - y
    veil = np.exp(-(rows * rows + columns * columns) * np.float32(1 / (2 * 70.0**2)))
    rgb += (255 - rgb) * (np.float32(strength) * (0.25 + 0.7 * veil))[..., None]


def aux_values(scene: Scene, t: int, view: View, aux: np.ndarray) -> np.ndarray:
    """Returns what the thermal or the depth camera measures: (h, w) uint8 grey levels or uint16 millimetres."""
    return (_thermal if scene.modality == "rgbt" else _depth)(scene, t, view, aux)


def _thermal(scene: Scene, t: int, view: View, aux: np.ndarray) -> np.ndarray:
    sensor, fault = scene.sensor, scene.aux_fault
    sigma = (sensor["aux_defocus"] + 2.5 * fault.strength(t, "defocus")) * view.scale
    if sigma > 0.3:
        aux = cv2.GaussianBlur(aux, (0, 0), sigma)
    if strength := fault.strength(t, "low_contrast"):
        aux = scene.aux_map.level + (aux - np.float32(scene.aux_map.level)) * np.float32(1 - 0.9 * strength)
    aux = aux + np.float32(sensor["aux_noise"]) * _noise(aux.shape, *_random_starts(scene, t, 1, 1))
    if sensor["aux_stripes"]:  # non-uniformity: columns of different gain, the same in all frames
        aux += np.float32(sensor["aux_stripes"]) * _noise((1, aux.shape[1]), (scene.key[-2], view.x))
    return np.clip(aux, 0, 255, out=aux).astype(np.uint8)


def _depth(scene: Scene, t: int, view: View, aux: np.ndarray) -> np.ndarray:
    sensor, fault = scene.sensor, scene.aux_fault
    starts = _random_starts(scene, t, 1, 2)
    noise = np.float32(sensor["aux_noise"] * 0.001 * (1 + 8 * fault.strength(t, "noise")))
    random = _noise(aux.shape, starts[0])
    step = np.float32(sensor["step"])
    depth = np.rint(aux * (1 / step + noise / step * random)) * step
    # No reading: in patches, next to steep edges on one side, where the projector's light is blocked, and at random.
    image = (math.ceil(view.height / view.scale), math.ceil(view.width / view.scale))
    patches = _noise(image, (scene.key[-2] * 37 + view.y, view.x), smooth=True)
    if patches.shape != aux.shape:
        patches = cv2.resize(patches, aux.shape[::-1], interpolation=cv2.INTER_LINEAR)
    level = sensor["holes"] + (0.5 - sensor["holes"]) * fault.strength(t, "holes")
    missing = (patches > level) | (_noise(aux.shape, starts[1]) > 2.9)
    if sensor["edge_holes"]:
        width = max(1, round(3 * view.scale))
        missing[:, width:] |= (aux[:, width:] - aux[:, :-width] > 0.06 * aux[:, width:]) & (
            patches[:, width:] < 2 * sensor["edge_holes"] - 1
        )
    depth[missing] = 0
    return np.clip(depth, 0, DEPTH_LIMIT_MM, out=depth).astype(np.uint16)


def depth_picture(scene: Scene, t: int, depth: np.ndarray) -> np.ndarray:
    """Maps depth to colours as `lib.data.image.colormap_depth` does, with a limit that is the same in all crops.

    The real limit follows from the content of the image, which changes: here, it swings once in a sequence.
    """
    turn = scene.sensor["limit_change"] * math.sin(2 * math.pi * t / FRAMES + scene.key[-2])
    limit = scene.aux_map.level * scene.sensor["limit"] * math.exp(turn)
    levels = np.minimum(depth * np.float32(255 / limit), 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_JET)


def event_image(scene: Scene, t: int, view: View, rgb: np.ndarray) -> np.ndarray:
    """Returns the (h, w, 3) uint8 image of the event camera: changes of log brightness since a moment before frame t.

    The event camera has a high dynamic range: night, glare and overexposure do not affect it.

    Args:
        rgb: the colours at time t.
    """
    sensor, fault = scene.sensor, scene.aux_fault
    earlier = draw(scene, t - sensor["interval"], view, with_aux=False).rgb
    now, before = (cv2.log(cv2.transform(image, LUMA) + np.float32(12)) for image in (rgb, earlier))
    starts = _random_starts(scene, t, 1, 2)
    threshold = np.float32(sensor["threshold"] * (1 + 3 * fault.strength(t, "insensitive")))
    change = now - before
    change += np.float32(0.15) * threshold * _noise(change.shape, starts[0])  # thresholds differ between pixels
    noise = _noise(change.shape, starts[1])
    rate = 2.9 - 0.25 * math.log2(sensor["aux_noise"]) - fault.strength(t, "noise")
    ready = noise > -1.2  # refractory time: some pixels cannot answer again yet
    image = np.full((*change.shape, 3), WHITE, np.uint8)
    image[((change > threshold) & ready) | (noise > rate)] = RED
    image[((change < -threshold) & ready) | (noise < -rate)] = BLUE
    return image


def hide_outside(image: np.ndarray, inside: tuple[slice, slice]) -> np.ndarray:
    """Returns a copy of a drawing that is zero outside the image."""
    result = np.zeros_like(image)
    result[inside] = image[inside]
    return result


def shift_image(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Shifts a drawing by `shift`, (2,) in its pixels; values at the border are repeated."""
    if not shift.any():
        return image
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
