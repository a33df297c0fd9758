"""Runs a tracker on a data set and writes raw results.

python tracking/test.py transcmd tiny --dataset_name LasHeR --threads 4 --num_gpus 1
python tracking/test.py transcmd tiny --dataset_name LasHeR --sequence 2girl --debug video
python tracking/test.py transcmd tiny --dataset_name LasHeR --drop aux:0.1 aux:0.3 aux:0.5
python tracking/test.py transcmd tiny --dataset_name LasHeR --shard 2/3
python tracking/test.py static --dataset_name LasHeR
python tracking/test.py nanotrack --dataset_name LasHeR --set TRACKER.WEIGHTS=DIR

--drop removes images. MODALITY (rgb, aux or both) drops them in every frame. MODALITY:RATE[:PATTERN[:FILL[:SEED]]]
drops them in a part of the frames after the first: RATE is this part, in (0, 1]; PATTERN is random, block or switched;
FILL is blackout, freeze or noise. Each specification has its own result folder. <sequence>_drop.txt has a number for
each frame: 0 nothing was missing, 1 RGB, 2 the auxiliary image, 3 both.
"""

import argparse
import logging

import _init_paths  # noqa: F401
import torch

from lib.config.loader import config_name
from lib.data.datasets import build_store, load_dataset
from lib.running.debug import MODES
from lib.running.run import folder_names, parse_drops, pick_sequences, track_datasets
from lib.running.runner import Shard
from lib.tracker.build import TRACKERS, Request, build_tracker, load_experiment
from lib.utils.cli import Parser, integer, plain_name, run_command
from lib.utils.misc import check_gpus

logger = logging.getLogger(__name__)


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("tracker", choices=TRACKERS, help="transcmd, or a tracker without training")
    parser.add_argument(
        "config",
        nargs="?",
        default="",
        help="name of a YAML file in experiments/transcmd, or a path that ends in .yaml; only transcmd needs one",
    )
    parser.add_argument(
        "--dataset_name", required=True, nargs="+", help="one or several data sets: LasHeR, DepthTrack, ..."
    )
    parser.add_argument("--sequence", help="track only this sequence, given by name or number; default: all")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        default="",
        help="track the I-th of N parts of each data set: N machines may share a result folder; default: all",
    )
    parser.add_argument("--checkpoint", default="", help="default: the last checkpoint of the experiment in save_dir")
    parser.add_argument("--save_dir", default="output", help="folder of the training run, and of the results")
    parser.add_argument("--threads", type=integer(0), default=0, help="worker processes; 0 or 1: no worker processes")
    parser.add_argument(
        "--num_gpus",
        type=integer(0),
        default=torch.cuda.device_count(),
        help="the workers are distributed over this number of GPUs; default: all",
    )
    parser.add_argument(
        "--device", default="", help="for all workers, e.g. cpu or mps; default: the GPUs, else the CPU"
    )
    parser.add_argument(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="SPEC",
        help="e.g. rgb, aux:0.3, both:0.3:switched:freeze",
    )
    parser.add_argument(
        "--drop_seed", type=integer(0), default=0, help="seed of the --drop specifications that do not contain one"
    )
    parser.add_argument(
        "--name", type=plain_name, help="name of the result folder; default: the name of the experiment"
    )
    parser.add_argument("--debug", nargs="?", choices=MODES[1:], const="pictures", default="", help="draw every frame")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="e.g. DATA.ROOT=/data, or an argument of the tracker, TRACKER.WEIGHTS=DIR; repeatable",
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    drops, shard = parse_drops(args.drop, args.drop_seed), Shard.parse(args.shard or "1/1")
    check_gpus(args.num_gpus)
    request = Request(args.tracker, args.config, tuple(args.set), args.checkpoint, args.save_dir, args.device)
    built = build_tracker(request)
    cfg = load_experiment(args.config, args.set)
    datasets = {  # all are loaded before the first is tracked, so that errors appear early
        name: pick_sequences(load_dataset(name, build_store(cfg, name)), args.sequence, name)
        for name in args.dataset_name
    }
    experiment = config_name(args.config) if args.config else "default"
    folders = folder_names(args.save_dir, args.tracker, experiment, args.name, several=len(args.drop) > 1)
    failed = track_datasets(built, datasets, folders, drops, args.threads, args.num_gpus, args.debug, shard)
    for sequence, reason in failed.items():
        logger.error("failed: %s: %s", sequence, reason)
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
