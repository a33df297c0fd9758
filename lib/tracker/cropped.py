"""A tracker that looks at one crop per frame: crop, network, box. Imports no torch; subclasses run the network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import cv2
import numpy as np

from lib.data.crop import Crop, CropSpec, box_from_crop, box_to_crop, crop_pair
from lib.data.front_end import FrontEnd
from lib.structures import Frame, Prediction, modality_index
from lib.tracker.base import check_frame, check_init_box
from lib.tracker.confidence import Watch
from lib.tracker.postprocess import LOW_SCORE, decode_peak, hann_window, limit_size
from lib.utils.boxes import clip_xywh

CLIP_MARGIN = 10  # pixels of a predicted box that stay inside the image, and its smallest side
BLANK = 2  # largest difference of grey levels in a crop that shows nothing
STATES = ("tracking", "found again", "uncertain", "lost", "nothing to see")
UNSEEN = ("lost", "nothing to see")  # states in which the box is the last one, and not where the target is now


class CropTracker:
    """Tracks with a network that maps template and search crops to maps. A subclass has `set_template` and `infer`.

    Args:
        template, search: geometry of the crops; jitter is ignored.
        modality: a key of MODALITIES, the kind of the auxiliary images.
        size_rate: share of the predicted change of size that is taken over per frame, times the score, in (0, 1]; 1:
            the predicted size, whatever the score.

    Attributes:
        front_end: how the auxiliary images of the training became 8-bit images; for `make_frame`.

    Raises:
        ValueError: the modality is unknown.
    """

    def __init__(self, template: CropSpec, search: CropSpec, modality: str, size_rate: float = 1.0):
        self.template_spec, self.search_spec = template, search
        self.modality_row = modality_index(modality)
        self.size_rate = size_rate
        self.front_end = FrontEnd()
        self.watch: Watch | None = None
        self.reset()

    def watch_target(self, temperature: float) -> None:
        """From now on, returns calibrated scores, notices a loss and searches for the target; see `Watch`."""
        self.watch = Watch(temperature)

    def reset(self) -> None:
        """Forgets the target. A subclass with a state of its own forgets it too."""
        self.box_xywh: np.ndarray | None = None
        self.believed_xywh: np.ndarray | None = None  # the last box that a watched tracker believed
        self.watch = None if self.watch is None else Watch(self.watch.temperature)
        self.last_search: Frame | None = None  # both search crops of the last frame, for display
        self.last_score_map: np.ndarray | None = None  # (h, w)

    def fork(self) -> CropTracker:
        """Returns a tracker for another target that shares the network with this one."""
        other = copy.copy(self)
        other.reset()
        return other

    @property
    def can_batch(self) -> bool:
        """Whether `infer_batch` is implemented."""
        return False

    def set_template(self, crops: Frame, box_cxcywh: np.ndarray) -> None:
        """Stores what the network needs of the template.

        Args:
            crops: two (S, S, 3) uint8 images.
            box_cxcywh: (4,) the target in these crops, as fractions of the crop.
        """
        raise NotImplementedError

    def infer(self, crops: Frame) -> np.ndarray:
        """Runs the network on two (S, S, 3) uint8 search crops.

        Returns:
            (5, h, w) float32: score, width and height, offset in x and y; see `TrackOutput`.
        """
        raise NotImplementedError

    def infer_batch(self, trackers: Sequence[CropTracker], crops: Sequence[Frame]) -> np.ndarray:
        """Runs the network once for B trackers of the same network, each with its template and its search crops.

        Args:
            trackers: this one and its forks.
            crops: two (S, S, 3) uint8 images for each.

        Returns:
            (B, 5, h, w) float32, see `infer`.

        Raises:
            NotImplementedError: the network takes one pair at a time, see `can_batch`.
        """
        raise NotImplementedError

    def initialize(self, frame: Frame, box_xywh: np.ndarray) -> None:
        """See `Tracker.initialize`. Raises ValueError if the (4,) box is empty or outside the image."""
        box = check_init_box(box_xywh, frame)
        crops, crop = crop_pair(frame, box, self.template_spec)
        self.set_template(crops, box_to_crop(box, crop))
        self.box_xywh = self.believed_xywh = box
        if self.watch is not None:
            self.watch.reset()

    def track(self, frame: Frame) -> Prediction:
        """See `Tracker.track`. The box, (4,) in image pixels, is clipped to the image.

        If both crops show nothing, the box stays where it was and the score is 0.

        Raises:
            ValueError: `initialize` was not called, an image is not (H, W, 3) uint8, the images differ in size, or
                the network's output is not finite.
        """
        search, crop = self.crop(frame)
        maps = None if shows_nothing(search) else self.infer(search)
        return self.follow(search, crop, maps, frame.rgb.shape[:2])

    def follow(self, search: Frame, crop: Crop, maps: np.ndarray | None, size: tuple[int, int]) -> Prediction:
        """Ends a step: moves to where the maps say.

        Args:
            search, crop: the search crops and their geometry.
            maps: (5, h, w) of the network; None if both crops show nothing.
            size: height and width of the image.

        Raises:
            ValueError: a value is not finite.
        """
        self.last_search = search
        if maps is None:
            self.last_score_map = np.zeros((1, 1), np.float32)
            return self._judge(0.0)
        self.last_score_map = maps[0]
        return self.locate(maps, crop, size)

    def crop(self, frame: Frame) -> tuple[Frame, Crop]:
        """Returns both search crops of a frame and their geometry. Raises ValueError as `track`."""
        if self.box_xywh is None:
            raise ValueError("track() was called before initialize(); initialize the tracker with a box first")
        check_frame(frame)
        spec = self.search_spec
        if self.watch is not None:
            spec = spec._replace(factor=spec.factor * self.watch.widening)
        return crop_pair(frame, self.box_xywh, spec)

    def locate(self, maps: np.ndarray, crop: Crop, size: tuple[int, int]) -> Prediction:
        """Decodes (5, h, w) maps to a box in an image of `size`, height and width, and moves there.

        The score is the largest of the map. A watched tracker that lost its target moves only when it found it again.

        Raises:
            ValueError: a value is not finite.
        """
        if not np.isfinite(maps).all():
            raise ValueError("the network's output is not finite; check the weights, or use float32")
        window = hann_window(*maps.shape[1:])
        if self.watch is not None and self.watch.lost:
            window = np.ones_like(window)  # the target can be anywhere
        box_cxcywh, score = decode_peak(maps[0], maps[1:3], maps[3:5], window)
        box = limit_size(box_from_crop(box_cxcywh, crop), self.box_xywh, score, self.size_rate)
        self.box_xywh = clip_xywh(box, *size, margin=CLIP_MARGIN)
        return self._judge(float(maps[0].max()))

    def _judge(self, score: float) -> Prediction:
        """Returns the prediction with the raw score; a watched tracker goes back to where it last saw its target."""
        if self.watch is not None:
            score = self.watch.update(score)
            if self.watch.lost:
                self.box_xywh = self.believed_xywh
            elif self.watch.believed:
                self.believed_xywh = self.box_xywh
        return Prediction(self.box_xywh.copy(), score)


def shows_nothing(crops: Frame) -> bool:
    """Returns whether both crops are blank."""
    return all(np.ptp(image) <= BLANK for image in crops)


def track_batch(trackers: Sequence[CropTracker], frames: Sequence[Frame]) -> list[Prediction | Exception]:
    """Tracks one frame with each of several trackers that share a network, in one batch.

    Args:
        trackers: forks of one tracker with `can_batch`.
        frames: one for each.

    Returns:
        The prediction of each, as `CropTracker.track` gives it; or its ValueError or cv2.error, so that the others go
        on.
    """
    found: list = [_or_error(tracker.crop, frame) for tracker, frame in zip(trackers, frames, strict=True)]
    rows = [i for i, view in enumerate(found) if not isinstance(view, Exception) and not shows_nothing(view[0])]
    maps: dict[int, np.ndarray] = {}
    if rows:
        batch = trackers[0].infer_batch([trackers[i] for i in rows], [found[i][0] for i in rows])
        maps = dict(zip(rows, batch, strict=True))
    for i, view in enumerate(found):
        if not isinstance(view, Exception):
            found[i] = _or_error(trackers[i].follow, *view, maps.get(i), frames[i].rgb.shape[:2])
    return found


def _or_error(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, cv2.error) as error:
        return error


def state_of(score: float, watch: Watch | None = None) -> str:
    """Returns what a viewer calls the state of tracking: a value of STATES.

    Args:
        score: of the prediction; 0 if both crops show nothing.
        watch: of the tracker, after this frame; without it, no target is lost or found again.
    """
    if watch is not None and watch.lost:
        return "lost"
    if score == 0:
        return "nothing to see"
    if score < LOW_SCORE:
        return "uncertain"
    return "found again" if watch is not None and watch.fresh else "tracking"
