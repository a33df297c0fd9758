"""The network of a training run alone, without helpers and optimizer, as .safetensors with its settings.

python tracking/export_weights.py --config tiny --output pretrained_models/tiny.safetensors --dtype float16
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401
import torch

from lib.config.loader import config_name, load_config
from lib.models.build import build_model, check_settings
from lib.models.weights.read import network_of, read_checkpoint, write_net
from lib.models.weights.report import load_exact
from lib.tracker.build import default_checkpoint
from lib.utils.cli import run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the experiment that was trained")
    parser.add_argument("--checkpoint", help="default: what training the experiment left in save_dir")
    parser.add_argument("--save_dir", default="output")
    parser.add_argument("--output", help="default: pretrained_models/<config>.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in training; repeatable")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg, name = load_config("transcmd", args.config, args.set), config_name(args.config)
    path = Path(args.checkpoint or default_checkpoint(cfg, args.config, args.save_dir))
    output = Path(args.output or _init_paths.ROOT / "pretrained_models" / f"{name}.safetensors")
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output}: expected a name that ends in .safetensors")
    if output.exists() and not args.overwrite:
        raise FileExistsError(f"{output} is there already: name another --output, or replace it with --overwrite")
    content = read_checkpoint(path)
    model, net = build_model(cfg), network_of(content, path).tensors
    load_exact(model, net, str(path))
    check_settings(content, cfg, path)
    write_net(output, net, portable(content.get("config", {})), getattr(torch, args.dtype))
    print(f"{output}: {len(net)} tensors, {output.stat().st_size / 1e6:.1f} MB")


def portable(config: dict) -> dict:
    """Settings without the places of files on the machine that trained."""
    places = {"DATA": ("ROOT", "ROOTS", "CACHE"), "MODEL": ("PRETRAIN_FILE",), "TRAIN": ("TEACHER",)}
    return {
        part: {key: value for key, value in values.items() if key not in places.get(part, ())}
        for part, values in config.items()
    }


if __name__ == "__main__":
    run_command(main)
