"""Time to make one training sample, per data set, and where it goes; medians. Reads the demo data (`make demo`).

python benchmarks/data_loading.py --config demo

Drawn data (samples draw their crops alone, "reading" draws four whole images):
python benchmarks/data_loading.py --set DATA.ROOTS.Synthetic=DIR --set DATA.TRAIN.DATASETS_NAME=[Synthetic_train] \
    --set DATA.TRAIN.DATASETS_RATIO=[1]
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from lib.config.loader import load_config
from lib.data.augment import Augmentation
from lib.data.loader import build_sampler
from lib.data.sampler import SampleKey
from lib.utils.cli import Parser, integer, run_command


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--config", default="demo", help="experiment whose samples are made")
    parser.add_argument("--samples", type=integer(1), default=200, help="of each data set")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    args = parser.parse_args()
    cv2.setNumThreads(0)
    cfg = load_config("transcmd", args.config, args.set)
    print(f"{args.config}: ms per sample, one process")
    for name in list(cfg.DATA.TRAIN.DATASETS_NAME):
        cfg.DATA.TRAIN.DATASETS_NAME, cfg.DATA.TRAIN.DATASETS_RATIO = [name], [1.0]
        sampler = build_sampler(cfg, "TRAIN", Augmentation())
        rng = np.random.default_rng(0)
        reading, whole = [], []
        for index in range(args.samples):
            sequence, template, search = sampler.draw(rng)
            begin = time.perf_counter()
            sequence.frame(template), sequence.frame(search)
            middle = time.perf_counter()
            sampler[SampleKey(1, index)]
            reading.append(1000 * (middle - begin))
            whole.append(1000 * (time.perf_counter() - middle))
        print(
            f"  {name:18} reading 4 images {statistics.median(reading):6.2f}   sample {statistics.median(whole):6.2f}"
        )


if __name__ == "__main__":
    run_command(main)
