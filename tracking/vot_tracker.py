"""Runs a tracker for the VOT toolkit, which starts this command and sends colour and depth images by the TraX protocol.

python tracking/vot_tracker.py transcmd tiny --checkpoint weights.pth.tar
python tracking/vot_tracker.py nanotrack --set TRACKER.WEIGHTS=DIR

`tracking/make_vot_workspace.py` writes the toolkit configuration that contains this command.
"""

import argparse

import _init_paths  # noqa: F401

from lib.tracker.arguments import is_own
from lib.tracker.build import TRACKERS, Request, build_tracker, load_experiment
from lib.utils.cli import Parser, run_command
from lib.vot.trax import MODALITY, answer_toolkit


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("tracker", choices=TRACKERS, help="transcmd, or a tracker without training")
    parser.add_argument(
        "config",
        nargs="?",
        default="",
        help="name of a YAML file in experiments/transcmd, or a path that ends in .yaml; only transcmd needs one",
    )
    parser.add_argument("--checkpoint", default="", help="default: the last checkpoint of the experiment in save_dir")
    parser.add_argument("--save_dir", default="output", help="folder of the training run")
    parser.add_argument("--device", default="", help="e.g. cpu or cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the configuration; repeatable"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.config or any(not is_own(setting) for setting in args.set):
        load_experiment(args.config, args.set)  # wrong names and keys are errors, also where the tracker needs none
    request = Request(args.tracker, args.config, tuple(args.set), args.checkpoint, args.save_dir, args.device)
    answer_toolkit(build_tracker(request).make(MODALITY, ""), args.tracker)


if __name__ == "__main__":
    run_command(main)
