"""Runs a tracker on a data set and writes raw results.

python tracking/test.py transcmd tiny --dataset_name LasHeR --threads 4 --num_gpus 1 --batch_sequences 8
python tracking/test.py transcmd tiny --dataset_name LasHeR --sequence 2girl --debug video
python tracking/test.py transcmd tiny --dataset_name LasHeR --drop aux:0.1 aux:0.3 aux:0.5
python tracking/test.py transcmd tiny --dataset_name LasHeR --shard 2/3
python tracking/test.py transcmd tiny --dataset_name LasHeR_val --calibrate
python tracking/test.py static --dataset_name LasHeR
python tracking/test.py transcmd nano --runtime onnx --dataset_name LasHeR
python tracking/test.py nanotrack --dataset_name LasHeR --set TRACKER.WEIGHTS=DIR

--drop removes images. MODALITY (rgb, aux or both) drops them in every frame. MODALITY:RATE[:PATTERN[:FILL[:SEED]]]
drops them in a part of the frames after the first: RATE is this part, in (0, 1]; PATTERN is random, block or switched;
FILL is blackout, freeze or noise. FILE[:FILL] drops the images that a file lists: the JSON files of the published sets
LasHeR_missing, RGBT234_missing and VTUAV_missing, or a folder with <sequence>.txt. Each specification has its own
result folder. <sequence>_drop.txt has a number for each frame: 0 nothing was missing, 1 RGB, 2 the auxiliary image,
3 both.
"""

import argparse
import logging
from pathlib import Path

import _init_paths  # noqa: F401
import torch

from lib.config.loader import ConfigError, config_name
from lib.data.datasets import build_dataset
from lib.deploy.metadata import SUFFIXES, export_path
from lib.running.calibrate import calibrate_checkpoint, check_calibration
from lib.running.debug import MODES
from lib.running.run import folder_names, parse_drops, pick_sequences, track_datasets
from lib.running.runner import Shard
from lib.tracker.arguments import is_own
from lib.tracker.build import TRACKERS, Built, Request, build_tracker, find_checkpoint, load_experiment
from lib.utils.cli import Parser, integer, plain_name, run_command
from lib.utils.misc import available_cores, check_gpus
from lib.utils.trees import to_plain

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
    parser.add_argument(
        "--runtime", choices=("torch", *SUFFIXES), default="torch", help="onnx and openvino run an export, on the CPU"
    )
    parser.add_argument("--export", default="", help="file of tracking/export.py; default: in save_dir/exports, fp32")
    parser.add_argument(
        "--runtime_threads",
        type=integer(0),
        default=0,
        help="threads of an export per worker; 0: all cores, shared, or 1 without --threads (default: 0)",
    )
    parser.add_argument("--save_dir", default="output", help="folder of the training run, and of the results")
    parser.add_argument(
        "--threads",
        type=integer(0),
        help="worker processes; 0 or 1: none, in this process. Each has one thread; default: by cores, GPUs and frames",
    )
    parser.add_argument(
        "--batch_sequences",
        type=integer(1),
        default=1,
        metavar="N",
        help="sequences that a worker tracks in one batch: the same results, sooner on a GPU; only --runtime torch",
    )
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
        help="e.g. rgb, aux:0.3, both:0.3:switched:freeze, missing_results_lasher245.json",
    )
    parser.add_argument(
        "--drop_seed", type=integer(0), default=0, help="seed of the --drop specifications that do not contain one"
    )
    parser.add_argument(
        "--name", type=plain_name, help="name of the result folder; default: the name of the experiment"
    )
    parser.add_argument("--debug", nargs="?", choices=MODES[1:], const="pictures", default="", help="draw every frame")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="then fit the temperature of the scores on these data sets, or their --shard, which are for validation, "
        "and store it beside the checkpoint; --set TRACKER.REDETECT=true uses it",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="e.g. DATA.ROOT=/data, or an argument of the tracker, TRACKER.WEIGHTS=DIR; repeatable",
    )
    return parser.parse_args()


def build_export(args: argparse.Namespace) -> Built:
    """Builds the tracker with the export that the options name. Its packages are imported only if it is used."""
    from lib.deploy.build import build_exported

    if args.tracker != "transcmd" or not args.config:
        raise ConfigError(
            f"--runtime {args.runtime}: expected the tracker transcmd and an experiment, got {args.tracker}"
        )
    path = args.export or export_path(args.save_dir, config_name(args.config), "fp32", args.runtime)
    workers = available_cores() if args.threads is None else max(1, args.threads)
    threads = args.runtime_threads or max(1, available_cores() // workers)
    return build_exported(Path(path), args.runtime, args.config, args.set, args.checkpoint, threads)


def main() -> int:
    args = parse_args()
    drops, shard = parse_drops(args.drop, args.drop_seed), Shard.parse(args.shard or "1/1")
    check_gpus(args.num_gpus)
    if args.calibrate:
        plain = args.runtime == "torch" and args.tracker == "transcmd" and not any((args.drop, args.sequence))
        own = any(is_own(setting) for setting in args.set)
        check_calibration(args.dataset_name, plain and not own)
    request = Request(args.tracker, args.config, tuple(args.set), args.checkpoint, args.save_dir, args.device)
    built = build_tracker(request) if args.runtime == "torch" else build_export(args)
    cfg = load_experiment(args.config, args.set)
    datasets = {  # all are loaded before the first is tracked, so that errors appear early
        name: pick_sequences(build_dataset(cfg, name), args.sequence, name) for name in args.dataset_name
    }
    experiment = config_name(args.config) if args.config else "default"
    experiment += "" if args.runtime == "torch" else f"_{args.runtime}"
    folders = folder_names(args.save_dir, args.tracker, experiment, args.name, several=len(args.drop) > 1)
    how = (drops, args.threads, args.num_gpus, args.debug, shard, args.batch_sequences)
    failed = track_datasets(built, datasets, folders, *how, to_plain(cfg) if args.config else None)
    for sequence, reason in failed.items():
        logger.error("failed: %s: %s", sequence, reason)
    if args.calibrate and not failed:
        checkpoint = find_checkpoint(cfg, args.config, args.save_dir, args.checkpoint)
        parts = {name: shard.pick(sequences) for name, sequences in datasets.items()}
        path, temperature = calibrate_checkpoint(checkpoint, parts, lambda name: folders(name, None))
        logger.info("%s: temperature %.3f", path, temperature)
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
