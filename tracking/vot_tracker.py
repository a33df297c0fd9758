"""Speaks TraX: the VOT toolkit starts this and has a tracker run on the colour and depth channels of its sequences.

python tracking/vot_tracker.py transcmd tiny --checkpoint weights.pth.tar

`tracking/make_vot_workspace.py` writes the toolkit's configuration, with this command in it.
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401
import numpy as np
import trax
from trax.image import ImageChannel

from lib.config.loader import load_config
from lib.data.sequence import Sequence
from lib.data.storage import DiskStore
from lib.structures import Frame
from lib.tracker.base import Tracker
from lib.tracker.baselines import BASELINES, TRACKERS
from lib.utils.cli import run_command

MODALITY = "rgbd"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", choices=TRACKERS, help="transcmd, or a baseline that needs no training")
    parser.add_argument("config", help="experiment: YAML in experiments/transcmd, without .yaml, or a path")
    parser.add_argument("--checkpoint", help="default: what training the experiment left in save_dir")
    parser.add_argument("--save_dir", default="output")
    parser.add_argument("--device", default="", help="e.g. cpu or cuda:1; default: a GPU if there is one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    tracker = make_tracker(args)
    try:
        with Conversation(args.tracker) as conversation:
            conversation.run(tracker)
    except trax.TraxException as error:
        raise ValueError(
            f"the toolkit is gone or does not speak TraX: {error}; start this by `vot evaluate`"
        ) from error


def make_tracker(args: argparse.Namespace) -> Tracker:
    """The tracker that the arguments name. Raises ValueError or FileNotFoundError for a wrong one."""
    cfg = load_config("transcmd", args.config, args.set)
    if args.tracker in BASELINES:
        return BASELINES[args.tracker]()
    from lib.tracker.build import build_tracker, default_checkpoint  # here: baselines do without torch

    checkpoint = Path(args.checkpoint) if args.checkpoint else default_checkpoint(cfg, args.config, args.save_dir)
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such checkpoint; train it, or name one with --checkpoint")
    return build_tracker(cfg, checkpoint, MODALITY, args.device)


class Conversation:
    """The tracker's side of TraX: the toolkit asks, we answer; one target, a rectangle."""

    def __init__(self, name: str):
        channels = [ImageChannel.COLOR, ImageChannel.DEPTH]
        self.server = trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH], channels, tracker_name=name)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.server.quit(reason=None if error is None else " ".join(str(error).split()))

    def run(self, tracker: Tracker) -> None:
        """Answers until the toolkit ends it. It may start the tracker again on another sequence at any time.

        Raises:
            ValueError, OSError: an image that cannot be read, or a start without exactly one box.
        """
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
    """Both images, decoded as in training and testing: the readers' own way is taken."""
    color, depth = (images[channel].path() for channel in ("color", "depth"))
    one = Sequence("frame", MODALITY, DiskStore("/"), [color], [depth], np.zeros((1, 4)), np.zeros(1, bool))
    return one.frame(0)


if __name__ == "__main__":
    run_command(main)
