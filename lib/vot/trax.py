"""The tracker's side of TraX, the protocol between the VOT toolkit and a tracker."""

from __future__ import annotations

import numpy as np
import trax
from trax.image import ImageChannel

from lib.data.sequence import Sequence
from lib.data.storage import DiskStore
from lib.structures import Frame
from lib.tracker.base import Tracker

MODALITY = "rgbd"  # sequences of the toolkit with two channels contain colour and depth


def answer_toolkit(tracker: Tracker, name: str) -> None:
    """Tracks the frames that the toolkit sends until it ends the connection.

    Args:
        name: name of the tracker.

    Raises:
        ValueError: there is no TraX connection, or an initialisation does not have exactly one box.
        OSError: an image cannot be read.
    """
    try:
        with Conversation(name) as conversation:
            conversation.run(tracker)
    except trax.TraxException as error:
        raise ValueError(
            f"no TraX connection to the toolkit: {error}; start this command with `vot evaluate`"
        ) from error


class Conversation:
    """A connection to the toolkit, which requests boxes from the tracker; one target, a rectangle."""

    def __init__(self, name: str):
        channels = [ImageChannel.COLOR, ImageChannel.DEPTH]
        self.server = trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH], channels, tracker_name=name)

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.server.quit(reason=None if error is None else " ".join(str(error).split()))

    def run(self, tracker: Tracker) -> None:
        """Answers requests until the toolkit ends the connection. It can initialise the tracker again at any time.

        Raises:
            ValueError: an initialisation does not have exactly one box.
            OSError: an image cannot be read.
        """
        while (request := self.server.wait()).type != trax.TraxStatus.QUIT:
            frame = read_frame(request.image)
            if request.type == trax.TraxStatus.INITIALIZE:
                if len(request.objects) != 1:
                    raise ValueError(f"the toolkit initialises {len(request.objects)} targets, expected 1")
                box = np.array(request.objects[0][0].bounds(), np.float64)
                tracker.initialize(frame, box)
                self.answer(box)
            else:
                self.answer(*tracker.track(frame))

    def answer(self, box_xywh: np.ndarray, score: float | None = None) -> None:
        """Sends a box, (4,) in image pixels. Without a score, as in the first frame, the toolkit assumes 0."""
        properties = {} if score is None else {"confidence": f"{score:.9g}"}
        self.server.status([(trax.Rectangle.create(*map(float, box_xywh)), properties)])


def read_frame(images: dict) -> Frame:
    """Reads both images, (H, W, 3) uint8, with the decoders that training and testing use.

    Args:
        images: channel ("color", "depth") → image of TraX.

    Raises:
        OSError: an image is missing.
        ValueError: an image cannot be decoded.
    """
    color, depth = (images[channel].path() for channel in ("color", "depth"))
    sequence = Sequence("frame", MODALITY, DiskStore("/"), [color], [depth], np.zeros((1, 4)), np.zeros(1, bool))
    return sequence.frame(0)
