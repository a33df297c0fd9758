"""A sequence whose frames are drawn when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from lib.data.crop import Crop, Cropper, CropSpec, square_around
from lib.data.synthetic.v2 import render, sensors
from lib.data.synthetic.v2.render import WHOLE, View
from lib.data.synthetic.v2.scene import FRAMES, MODALITIES, Scene, make_scene, make_still_scene
from lib.data.synthetic.v2.textures import Textures
from lib.structures import Frame


class DrawnSequence:
    """One sequence of version 2, with the interface of `lib.data.sequence.Sequence`. It keeps no image.

    Args:
        seed, index: the sequence's number; its modality is rgbt, rgbd, rgbe in turn.
        frames: indices of the scene's frames that belong to it.
    """

    __slots__ = ("textures", "seed", "index", "frames")

    def __init__(self, textures: Textures, seed: int, index: int, frames: range = range(FRAMES)):
        self.textures, self.seed, self.index, self.frames = textures, seed, index, frames

    @property
    def name(self) -> str:
        return f"{self.textures.split}{self.seed}_{self.index:06d}"

    @property
    def modality(self) -> str:
        return MODALITIES[self.index % len(MODALITIES)]

    @property
    def scene(self) -> Scene:
        return _recent_scene(make_scene, self.textures, self.seed, self.index)

    @property
    def boxes_xywh(self) -> np.ndarray:
        return self.scene.boxes_xywh(np.array(self.frames))

    def distractors_xywh(self, index: int) -> np.ndarray:
        """Returns the boxes of the other things in a frame, (K, 4) float64 xywh in image pixels."""
        return self.scene.distractors_xywh(self.frames[index])

    @property
    def visible(self) -> np.ndarray:
        """The target is in view in every frame; at most a part of it is hidden."""
        return np.ones(len(self.frames), bool)

    @property
    def source(self) -> str:
        """What its images are drawn from, see `lib.data.sequence.Sequence.source`."""
        return f"{self.textures.index} {self.name} {self.frames}"

    aux_boxes_xywh = numbers = None
    first_visible = 0

    def __len__(self) -> int:
        return len(self.frames)

    def every_nth(self, n: int) -> DrawnSequence:
        """This sequence with every n-th frame alone, from the first one on."""
        return type(self)(self.textures, self.seed, self.index, self.frames[::n])

    def frame(self, index: int) -> Frame:
        """Draws both images of a frame, (HEIGHT, WIDTH, 3) uint8."""
        return draw_view(self.scene, self.frames[index], WHOLE)

    def cropper(self, index: int) -> Cropper:
        """Returns a function that draws a crop of a frame, see `crop`."""
        return functools.partial(self.crop, index)

    def crop(self, index: int, box_xywh: np.ndarray, spec: CropSpec) -> tuple[Frame, Crop]:
        """Draws a crop of a frame, as `crop_pair` would cut it out, without the rest of the frame.

        Raises:
            ValueError: the box is not finite or has no area.
        """
        square = square_around(box_xywh, spec.factor)
        scale = spec.size / square.side
        drawn = min(square.side, spec.size)  # no finer than the image itself
        view = View(square.x, square.y, drawn / square.side, drawn, drawn)
        frame = draw_view(self.scene, self.frames[index], view)
        if drawn < spec.size:
            frame = Frame(*(cv2.resize(image, (spec.size, spec.size)) for image in frame))
        return frame, Crop(frame.rgb, np.array([square.x, square.y], np.float64), scale)


class StillSequence(DrawnSequence):
    """A still pair, filmed by a moving camera: nothing is drawn into it, and the sensors have no fault."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return f"still{self.seed}_{self.index:06d}"

    @property
    def modality(self) -> str:
        return "rgbt"

    @property
    def scene(self) -> Scene:
        return _recent_scene(make_still_scene, self.textures, self.seed, self.index)


def draw_view(scene: Scene, t: int, view: View) -> Frame:
    """Draws both images of a part of a frame; what lies outside the image is black."""
    rgb, aux = draw_raw(scene, t, view)
    if scene.modality == "rgbd":
        aux = sensors.hide_outside(sensors.depth_picture(scene, t, aux), render.inside(view))
    elif aux.ndim == 2:
        aux = cv2.cvtColor(aux, cv2.COLOR_GRAY2RGB)
    return Frame(rgb, aux)


def draw_raw(scene: Scene, t: int, view: View) -> tuple[np.ndarray, np.ndarray]:
    """As `draw_view`, but thermal images as (h, w) uint8 and depth as (h, w) uint16 in millimetres."""
    drawn = render.draw(scene, t, view)
    if scene.modality == "rgbe":
        aux = sensors.event_image(scene, t, view, drawn.rgb)
    else:
        aux = sensors.aux_values(scene, t, view, drawn.aux)
    aux = sensors.shift_image(aux, scene.shift * view.scale)
    part = render.inside(view)
    return sensors.hide_outside(sensors.rgb_image(scene, t, view, drawn.rgb), part), sensors.hide_outside(aux, part)


@functools.lru_cache(maxsize=4)
def _recent_scene(make: Callable[..., Scene], textures: Textures, seed: int, index: int) -> Scene:
    """Keeps the last scenes: the two frames of a sample need the same ones."""
    return make(textures, seed, index)
