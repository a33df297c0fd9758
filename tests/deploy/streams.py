"""Small videos and folders whose frames show their number."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 96, 64
STEP = 8  # grey levels between neighbouring frames; video compression changes fewer


def picture(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """(H, W, 3) uint8 with the grey level of its number, and a bright square that moves to the right."""
    image = np.full((size[1], size[0], 3), 10 + number * STEP, np.uint8)
    image[20:40, 20 + number : 40 + number] = 250
    return image


def target_picture(number: int, hidden: bool = False) -> np.ndarray:
    """(240, 320, 3) uint8: a patch of 40 pixels that moves to the right from x = y = 100; hidden: stripes alone."""
    rng = np.random.default_rng(0)
    if hidden:
        image = np.full((240, 320, 3), 90, np.uint8)
        image[::40] = 60
        return image
    image = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (320, 240))
    patch = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (40, 40), interpolation=cv2.INTER_NEAREST)
    image[100:140, 100 + number : 140 + number] = patch
    return image


def number_of(image: np.ndarray) -> int:
    return round((float(image[:8].mean()) - 10) / STEP)


def write_video(path: Path, frames: int, fps: float = 10, pictures=None, size=(WIDTH, HEIGHT)) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
    assert video.isOpened()
    for number in range(frames):
        video.write(picture(number, size) if pictures is None else pictures[number])
    video.release()
    return path


def write_folder(path: Path, frames: int, size=(WIDTH, HEIGHT), suffix: str = ".png") -> Path:
    path.mkdir(parents=True)
    for number in range(frames):
        assert cv2.imwrite(str(path / f"{number:04d}{suffix}"), picture(number, size))
    return path


def read_video(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    return frames
