"""Draws held-out pairs with the scores, masks and reconstructions of CMAE, or with the fusion paths of a teacher.

python tracking/visualise.py --config pretrain_tiny
python tracking/visualise.py --config teacher_nano --checkpoint pretrained_models/teacher_nano.safetensors --samples 12
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401

from lib.config.loader import config_name, load_config
from lib.study.visualise import check_stage, draw_stage, write_picture
from lib.train.prerequisites import finished_checkpoint
from lib.utils.cli import Parser, integer, run_command
from lib.utils.files import check_writable
from lib.utils.misc import pick_device
from lib.utils.paths import find_weights


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="an experiment of stage pretrain, or of a teacher")
    parser.add_argument("--checkpoint", help="default: the last checkpoint of the experiment in save_dir")
    parser.add_argument("--save_dir", default="output", help="folder of the training run, and of the picture")
    parser.add_argument("--output", help="image file to write; default: <save_dir>/visualised/<config>.png")
    parser.add_argument("--samples", type=integer(1), default=9, help="number of pairs")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    name, cfg = config_name(args.config), load_config("transcmd", args.config, args.set)
    check_stage(cfg, name)  # before the checkpoint is looked for: an experiment of another stage may have none
    if args.checkpoint:
        checkpoint = find_weights(args.checkpoint)
    else:
        checkpoint = finished_checkpoint("transcmd", name, args.save_dir, "--config")
    save_dir = Path(args.save_dir)
    output = Path(args.output or save_dir / "visualised" / f"{name}.png")
    check_writable(output.parent)
    picture = draw_stage(cfg, name, checkpoint, save_dir, args.samples, pick_device(args.device))
    write_picture(output, picture)
    print(output)


if __name__ == "__main__":
    run_command(main)
