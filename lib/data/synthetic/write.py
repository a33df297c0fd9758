"""Writes rendered sequences in the layouts of LasHeR, DepthTrack and VisEvent, including their irregularities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import cv2
import numpy as np

from lib.data.synthetic.render import Rendered, render_scene
from lib.data.synthetic.scene import GENERATOR_VERSION, SPLITS, Scene, make_scene, sequence_name

SPLIT_FOLDERS = {
    "LasHeR": ("trainingset", "testingset"),
    "DepthTrack": ("train", "test"),
    "VisEvent": ("train", "test"),
}
# File names in LasHeR vary. Each row: prefix in RGB and infrared, number of digits (1: not padded), first number.
LASHER_NAMES = (("v", "i", 3, 0), ("v", "i", 6, 0), ("V", "I", 4, 1), ("v", "i", 1, 1), ("", "", 6, 0))
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class Renderer(Protocol):
    """Renders a sequence of one version of the generator. It can be pickled."""

    version: int

    def arguments(self) -> dict:
        """Returns what the data depend on beside the arguments of the call, for the manifest."""

    def __call__(self, dataset: str, seed: int, split: str, index: int, frames: int) -> tuple[Scene, Rendered]:
        """Returns the description (name, frames and key are used) and the arrays of a sequence."""


@dataclass(frozen=True)
class DrawingRenderer:
    """Version 1: everything is drawn, no file is read.

    Args:
        absence: of the target of each test sequence, see `make_scene`; 0: some are absent for a short time.
    """

    absence: int = 0
    version: ClassVar[int] = GENERATOR_VERSION

    def arguments(self) -> dict:
        return {"absence": self.absence} if self.absence else {}

    def __call__(self, dataset: str, seed: int, split: str, index: int, frames: int) -> tuple[Scene, Rendered]:
        scene = make_scene(dataset, seed, split, index, frames, self.absence if split == "test" else 0)
        return scene, render_scene(scene)


class Job(NamedTuple):
    """One sequence to write. Its content is a pure function of these fields."""

    root: str
    dataset: str
    seed: int
    split: str
    index: int  # number of the sequence in the split, from 0
    frames: int  # number of frames
    renderer: Renderer = DrawingRenderer()

    @property
    def folder(self) -> str:
        """Folder of the sequence, relative to root."""
        name = sequence_name(self.dataset, self.seed, self.split, self.index)
        return f"{self.dataset}/{SPLIT_FOLDERS[self.dataset][SPLITS.index(self.split)]}/{name}"

    @property
    def attributes(self) -> str:
        """Attribute file of the sequence, relative to root."""
        return f"{self.dataset}/AttriSeqsTxt/{Path(self.folder).name}.txt"


def write_sequence(job: Job) -> str:
    """Renders and writes one sequence.

    Returns:
        The sha256 of its annotations and of its images before encoding, because encoders differ between versions of
        OpenCV and the arrays do not (see render.py).

    Raises:
        OSError: a file cannot be written.
    """
    cv2.setNumThreads(1)
    scene, rendered = job.renderer(job.dataset, job.seed, job.split, job.index, job.frames)
    folder = Path(job.root, job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    {"LasHeR": _lasher, "DepthTrack": _depthtrack, "VisEvent": _visevent}[job.dataset](folder, scene, rendered)
    _write_rows(folder / "attributes.txt", rendered.flags)
    summary = Path(job.root, job.attributes)
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text(",".join(str(flag) for flag in rendered.flags.max(axis=0)))
    return digest(scene.name, rendered)


def digest(name: str, rendered: Rendered) -> str:
    """Returns the sha256 of the name, boxes, presence, flags and pixels of a sequence."""
    sha256 = hashlib.sha256(name.encode())
    for array in (rendered.boxes_xywh.astype("<i4"), rendered.present, rendered.flags, rendered.rgb):
        sha256.update(np.ascontiguousarray(array))
    sha256.update(np.ascontiguousarray(rendered.aux.astype(rendered.aux.dtype.newbyteorder("<"), copy=False)))
    return sha256.hexdigest()


def _lasher(folder: Path, scene: Scene, rendered: Rendered) -> None:
    rng = np.random.default_rng((*scene.key, 2))
    visible, infrared, digits, first = LASHER_NAMES[rng.integers(len(LASHER_NAMES))]
    for t in range(scene.frames):
        number = f"{first + t:0{digits}d}.jpg"
        _write_image(folder / "visible" / f"{visible}{number}", rendered.rgb[t], JPEG)
        _write_image(folder / "infrared" / f"{infrared}{number}", rendered.aux[t], JPEG)
    for name in ("visible", "infrared", "init"):
        _write_rows(folder / f"{name}.txt", rendered.boxes_xywh.astype(int))


def _depthtrack(folder: Path, scene: Scene, rendered: Rendered) -> None:
    for t in range(scene.frames):
        _write_image(folder / "color" / f"{t + 1:08d}.jpg", rendered.rgb[t], JPEG)
        _write_image(folder / "depth" / f"{t + 1:08d}.png", rendered.aux[t], PNG)
    boxes = np.where(rendered.present[:, None], rendered.boxes_xywh, np.nan)
    _write_rows(folder / "groundtruth.txt", [["nan" if np.isnan(v) else f"{v:.2f}" for v in box] for box in boxes])


def _visevent(folder: Path, scene: Scene, rendered: Rendered) -> None:
    rng = np.random.default_rng((*scene.key, 2))
    suffix = "bmp" if rng.random() < 0.25 else "png"
    # Some sequences have gaps in the frame numbers, but not in the motion.
    steps = 1 + (rng.random(scene.frames) < (0.08 if rng.random() < 0.4 else 0))
    numbers = np.cumsum(steps) - 1 + (int(rng.integers(1, 400)) if rng.random() < 0.5 else 0)
    for t, number in enumerate(numbers):
        _write_image(folder / "vis_imgs" / f"frame{number:04d}.{suffix}", rendered.rgb[t], PNG)
        _write_image(folder / "event_imgs" / f"frame{number:04d}.{suffix}", rendered.aux[t], PNG)
    _write_rows(folder / "groundtruth.txt", rendered.boxes_xywh.astype(int))
    _write_rows(folder / "absent_label.txt", rendered.present[:, None].astype(int))


def _write_rows(path: Path, rows) -> None:
    """Writes rows of comma-separated values."""
    path.write_text("".join(",".join(str(value) for value in row) + "\n" for row in rows))


def _write_image(path: Path, image: np.ndarray, options: tuple[int, int]) -> None:
    """Writes an RGB, grey or 16-bit image.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(exist_ok=True)
    image = image[..., ::-1] if image.ndim == 3 else image  # OpenCV expects BGR
    _, data = cv2.imencode(path.suffix, image, () if path.suffix == ".bmp" else options)
    path.write_bytes(data)
