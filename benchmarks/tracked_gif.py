"""Tracks one real RGB-T clip and writes it as a GIF: RGB left, thermal right; the prediction red, the annotation green.

python benchmarks/tracked_gif.py
python benchmarks/tracked_gif.py --config nano --checkpoint nano.safetensors --sequence stander_night
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np
from PIL import Image  # torchvision and matplotlib install it

from lib.data.datasets import load_dataset
from lib.data.sequence import Sequence
from lib.data.storage import open_store
from lib.running.debug import draw_frame
from lib.running.run import pick_sequences
from lib.tracker.base import Tracker
from lib.tracker.build import Request, build_tracker
from lib.utils.cli import Parser, integer, run_command
from lib.utils.draw import PREDICTED, TRUTH
from lib.utils.files import atomic_path, check_writable

SHARED = Path(os.environ.get("TRANSCMD_SHARED", ROOT.parent / "shared"))
FPS = 25  # of the clip


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--clips", type=Path, default=SHARED / "real/LasHeR", help="a data set in LasHeR's layout")
    parser.add_argument("--sequence", default="walker_day", help="name or number of the clip")
    parser.add_argument("--config", default="nano", help="experiment of the network")
    parser.add_argument("--checkpoint", default="nano.safetensors", help="its weights, also from pretrained_models/")
    parser.add_argument("--every", type=integer(1), default=3, help="write every n-th frame")
    parser.add_argument("--colours", type=integer(8, 256), default=64, help="of the GIF")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/nano.gif", help="file to write")
    return parser.parse_args()


def draw_tracked(sequence: Sequence, tracker: Tracker) -> Iterator[np.ndarray]:
    """Tracks a sequence from its first frame on and yields a picture of each frame, (H, W, 3) uint8 RGB."""
    for index in range(len(sequence)):
        frame, truth = sequence.frame(index), sequence.boxes_xywh[index]
        if index:
            box, score = tracker.track(frame)
        else:
            box, score = truth, 1.0
            tracker.initialize(frame, box)
        yield draw_frame(frame, box, truth, f"{sequence.name}, frame {index}, score {score:.2f}")


def write_gif(path: Path, pictures: list[np.ndarray], milliseconds: int, colours: int) -> None:
    """Writes pictures, (H, W, 3) uint8 RGB, with one palette for all. Raises OSError if the file cannot be written."""
    tiles = np.concatenate([picture[::4, ::4] for picture in pictures])
    palette = Image.fromarray(tiles).quantize(colours - 2, method=Image.Quantize.MEDIANCUT)
    values = palette.getpalette()[: 3 * (colours - 2)]
    palette.putpalette([*values, *PREDICTED, *TRUTH])  # thin lines are too few pixels to get a colour of their own
    # Without dithering, areas of one colour stay whole, which GIF compresses well.
    first, *others = (Image.fromarray(p).quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures)
    with atomic_path(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)


def main() -> None:
    args = parse_args()
    check_writable(args.output.parent)
    cv2.setNumThreads(1)
    (sequence,) = pick_sequences(load_dataset("LasHeR", open_store(args.clips, "LasHeR")), args.sequence, "LasHeR")
    tracker = build_tracker(Request("transcmd", args.config, (), args.checkpoint)).make(sequence.modality, "cpu")
    pictures = list(draw_tracked(sequence, tracker))[:: args.every]
    write_gif(args.output, pictures, 1000 * args.every // FPS, args.colours)
    print(f"{args.output}: {len(pictures)} pictures, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
