"""Time of one core for one training sample, per data set: reading its four images alone, the whole sample, and the
sample with DATA.PARTIAL_DECODE; medians of measurements in turn. Waiting for a disk is not part of it. Without the demo
data (`make demo`), a few sequences are drawn.

python benchmarks/data_loading.py --config demo
python benchmarks/data_loading.py --config tiny --set DATA.ROOT=DIR
python benchmarks/data_loading.py --config demo --width 630 --target 60   # larger images, and targets of this side

Drawn data (samples draw their crops alone, "reading" draws four whole images):
python benchmarks/data_loading.py --set DATA.ROOTS.Synthetic=DIR --set DATA.TRAIN.DATASETS_NAME=[Synthetic_train] \
    --set DATA.TRAIN.DATASETS_RATIO=[1]
"""

import logging
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from lib.config.loader import load_config
from lib.data.augment import Augmentation
from lib.data.loader import build_sampler
from lib.data.sampler import PairSampler, SampleKey
from lib.data.sequence import Sequence
from lib.data.synthetic import write_datasets
from lib.utils.cli import Parser, integer, run_command

SEQUENCES = 4  # of each data set that are enlarged
QUALITY = cv2.IMWRITE_JPEG_QUALITY, 85


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--config", default="demo", help="experiment whose samples are made")
    parser.add_argument("--samples", type=integer(1), default=200, help="of each data set")
    parser.add_argument("--width", type=integer(16, 4096), help="enlarge the images of a few sequences, as JPEG")
    parser.add_argument("--target", type=integer(1, 4096), help="with --width: side of the targets, pixels")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    args = parser.parse_args()
    cv2.setNumThreads(0)
    logging.getLogger("lib").setLevel(logging.WARNING)
    cfg = load_config("transcmd", args.config, args.set)
    with tempfile.TemporaryDirectory() as folder:
        if cfg.DATA.SYNTHETIC and not Path(cfg.DATA.ROOT).exists():
            print(f"{cfg.DATA.ROOT}: no data, `make demo` makes them; drawing 5 sequences of each data set")
            write_datasets(folder, train_sequences=5, test_sequences=1, test_frames=12)
            cfg.DATA.ROOT = folder
        print(f"{args.config}: ms of one core per sample, medians of {args.samples}")
        for name in list(cfg.DATA.TRAIN.DATASETS_NAME):
            cfg.DATA.TRAIN.DATASETS_NAME, cfg.DATA.TRAIN.DATASETS_RATIO = [name], [1.0]
            sampler = build_sampler(cfg, "TRAIN", Augmentation())
            if args.width:
                sampler.datasets = [
                    [enlarge(sequence, args.width, args.target) for sequence in sampler.datasets[0][:SEQUENCES]]
                ]
            reading, whole, upper = measure(sampler, args.samples)
            print(
                f"  {name:18} reading 4 images {reading:6.2f}   sample {whole:6.2f} ({1000 / whole:.0f} samples/s)"
                f"   with PARTIAL_DECODE {upper:6.2f} ({1000 / upper:.0f} samples/s)"
            )


def measure(sampler: PairSampler, samples: int) -> list[float]:
    """Returns the medians in ms: reading four images, a sample, and a sample with DATA.PARTIAL_DECODE."""
    rng = np.random.default_rng(0)
    times = []
    for index in range(samples):
        sequence, template, search = sampler.draw(rng)
        marks = [time.process_time()]
        sequence.frame(template), sequence.frame(search)
        marks.append(time.process_time())
        for sampler.partial_decode in (False, True):
            sampler[SampleKey(1, index)]
            marks.append(time.process_time())
        times.append(np.diff(marks) * 1000)
    return [statistics.median(column) for column in zip(*times, strict=True)]


class Enlarged:
    """The store of an enlarged sequence. Its files are in memory."""

    name = "enlarged"

    def __init__(self, files: dict[str, bytes]):
        self.files = files

    def list(self, folder: str = "") -> list[str]:
        return sorted(self.files)

    def read(self, key: str) -> bytes:
        return self.files[key]


def enlarge(sequence: Sequence, width: int, target: float | None) -> Sequence:
    """Returns a sequence whose images are enlarged to `width` and get noise, as that of a camera; depth as colours.

    Args:
        target: side of the boxes in pixels; None: they are enlarged as well.
    """
    files, rng = {}, np.random.default_rng(0)
    for index in range(len(sequence)):
        for part, image in sequence.frame(index)._asdict().items():
            factor = width / image.shape[1]
            large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            noisy = np.clip(large + rng.normal(0, 4, (*large.shape[:2], 1)), 0, 255).astype(np.uint8)
            files[f"{part}{index}"] = cv2.imencode(".jpg", noisy[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))[
                1
            ].tobytes()
    rgb, aux = (tuple(f"{part}{index}" for index in range(len(sequence))) for part in ("rgb", "aux"))
    modality = "rgbt" if sequence.modality == "rgbd" else sequence.modality
    boxes = sequence.boxes_xywh * factor
    if target:
        boxes = np.hstack([boxes[:, :2] + boxes[:, 2:] / 2 - target / 2, np.full((len(boxes), 2), target)])
    return replace(
        sequence, modality=modality, store=Enlarged(files), rgb_keys=rgb, aux_keys=aux, boxes_xywh=boxes, levels=None
    )


if __name__ == "__main__":
    run_command(main)
