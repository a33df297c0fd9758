"""The tracker's side of TraX, the protocol by which the VOT toolkit asks a tracker for boxes."""

from __future__ import annotations

import numpy as np
import trax
from trax.image import ImageChannel

from lib.data.sequence import Sequence
from lib.data.storage import DiskStore
from lib.structures import Frame
from lib.tracker.base import Tracker

MODALITY = "rgbd"  # the toolkit's sequences with two channels hold colour and depth


def answer_toolkit(tracker: Tracker, name: str) -> None:
    """Tracks what the toolkit sends until it ends the conversation.

    Raises:
        ValueError: nobody speaks TraX at the other end, or a start without exactly one box.
        OSError: an image that cannot be read.
    """
    try:
        with Conversation(name) as conversation:
            conversation.run(tracker)
    except trax.TraxException as error:
        raise ValueError(
            f"the toolkit is gone or does not speak TraX: {error}; start this by `vot evaluate`"
        ) from error


class Conversation:
    """One conversation with the toolkit: it asks, the tracker answers; one target, a rectangle."""

    def __init__(self, name: str):
        channels = [ImageChannel.COLOR, ImageChannel.DEPTH]
        self.server = trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH], channels, tracker_name=name)

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.server.quit(reason=None if error is None else " ".join(str(error).split()))

    def run(self, tracker: Tracker) -> None:
        """Answers until the toolkit ends it. It may start the tracker again on another sequence at any time."""
        while (request := self.server.wait()).type != trax.TraxStatus.QUIT:
            frame = read_frame(request.image)
            if request.type == trax.TraxStatus.INITIALIZE:
                if len(request.objects) != 1:
                    raise ValueError(f"the toolkit starts {len(request.objects)} targets at once, expected 1")
                box = np.array(request.objects[0][0].bounds(), np.float64)
                tracker.initialize(frame, box)
                self.answer(box)
            else:
                self.answer(*tracker.track(frame))

    def answer(self, box_xywh: np.ndarray, score: float | None = None) -> None:
        """Sends a box. Without a score, as for the frame whose box was given, the toolkit takes a confidence of 0."""
        properties = {} if score is None else {"confidence": f"{score:.9g}"}
        self.server.status([(trax.Rectangle.create(*map(float, box_xywh)), properties)])


def read_frame(images: dict) -> Frame:
    """Both images, decoded by the readers of data sets, as in training and testing."""
    color, depth = (images[channel].path() for channel in ("color", "depth"))
    one = Sequence("frame", MODALITY, DiskStore("/"), [color], [depth], np.zeros((1, 4)), np.zeros(1, bool))
    return one.frame(0)
