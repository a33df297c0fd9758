"""Writes the network of a training run, without optimizer and training modules, to a .safetensors file.

python tracking/export_weights.py --config tiny --output pretrained_models/tiny.safetensors --dtype float16
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401

from lib.config.loader import config_name, load_config
from lib.models.weights.export import export_network
from lib.tracker.build import find_checkpoint
from lib.utils.cli import Parser, run_command
from lib.utils.files import check_writable
from lib.utils.paths import PROJECT


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="experiment that was trained")
    parser.add_argument("--checkpoint", default="", help="default: the last checkpoint of the experiment in save_dir")
    parser.add_argument("--save_dir", default="output", help="folder of the training run")
    parser.add_argument("--output", help="default: pretrained_models/<config>.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="the same settings as in training; repeatable"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the written tensors"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    name, cfg = config_name(args.config), load_config("transcmd", args.config, args.set)
    output = Path(args.output or PROJECT / "pretrained_models" / f"{name}.safetensors")
    checkpoint = find_checkpoint(cfg, args.config, args.save_dir, args.checkpoint)
    check_writable(output.parent)
    tensors = export_network(cfg, checkpoint, output, args.dtype, args.overwrite)
    print(f"{output}: {tensors} tensors, {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
