"""Writes a workspace of the VOT toolkit, in which `vot evaluate` runs our trackers on a data set; or tests the toolkit
on synthetic sequences.

python tracking/make_vot_workspace.py transcmd tiny --dataset DepthTrack --output output/vot/DepthTrack
python tracking/make_vot_workspace.py nanotrack --dataset DepthTrack --set TRACKER.WEIGHTS=DIR
python tracking/make_vot_workspace.py --self-test

Run the command again to add another tracker to the workspace. The data set is linked and not changed.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import _init_paths  # noqa: F401

from lib.data.datasets import build_dataset
from lib.tracker.arguments import is_own
from lib.tracker.build import TRACKERS, Request, load_experiment
from lib.utils.cli import Parser, plain_name, run_command, set_words
from lib.vot.selftest import random_network, self_test
from lib.vot.workspace import STACKS, next_steps, toolkit_name, tracker_command, write_workspace

logger = logging.getLogger(__name__)


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("tracker", nargs="?", choices=TRACKERS, help="transcmd, or a tracker without training")
    parser.add_argument(
        "config",
        nargs="?",
        default="",
        help="name of a YAML file in experiments/transcmd, or a path that ends in .yaml; only transcmd needs one",
    )
    parser.add_argument("--dataset", choices=STACKS, help="benchmark whose data and experiments are used")
    parser.add_argument("--output", type=Path, help="folder of the workspace; default: <save_dir>/vot/<dataset>")
    parser.add_argument("--checkpoint", default="", help="default: the last checkpoint of the experiment in save_dir")
    parser.add_argument("--save_dir", type=Path, default="output", help="folder of the training run")
    parser.add_argument("--device", default="", help="e.g. cpu or cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--name", type=plain_name, help="name of the tracker in the toolkit; default: <tracker>_<config>"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="run the toolkit on two synthetic sequences and compare its scores with ours; default tracker: "
        "`transcmd debug` with random weights",
    )
    args = parser.parse_args()
    if not args.self_test and not (args.tracker and args.dataset):
        parser.error("expected TRACKER [CONFIG] --dataset NAME, or --self-test")
    if args.self_test and (args.dataset or args.output):
        parser.error("--self-test cannot be combined with --dataset or --output: it uses temporary folders")
    return args


def main() -> None:
    args = parse_args()
    if args.self_test:
        run_self_test(args)
        return
    stack, output = STACKS[args.dataset], args.output or args.save_dir / "vot" / args.dataset
    name, command = args.name or toolkit_name(args.tracker, args.config), tracker_command(request_of(args))
    sequences = build_dataset(load_experiment(args.config, args.set), args.dataset)
    write_workspace(output, stack, sequences, {name: command})
    logger.info("%s: %d sequences of %s, tracker %s. Next:", output, len(sequences), args.dataset, name)
    options = ["--config", args.config] if args.config else []
    options += set_words([setting for setting in args.set if not is_own(setting)])
    for line in next_steps(output, stack, args.dataset, sequences[0].name, name, options):
        print(line)


def request_of(args: argparse.Namespace) -> Request:
    return Request(args.tracker, args.config, tuple(args.set), args.checkpoint, args.save_dir, args.device)


def run_self_test(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="vot_self_test_") as folder:
        request = request_of(args) if args.tracker else random_network("debug", Path(folder))
        name = args.name or toolkit_name(request.tracker, request.config)
        scores = self_test(request, name, Path(folder))
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
    print(f"self-test passed: vot test, evaluate and analysis ran; the toolkit and our code both compute {figures}")


if __name__ == "__main__":
    run_command(main)
