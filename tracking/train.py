"""Trains an experiment.

python tracking/train.py --script transcmd --config tiny
python tracking/train.py --script transcmd --config tiny --mode multiple --nproc_per_node 2
python tracking/train.py --script transcmd --config tiny --chain
python tracking/train.py --script transcmd --config tiny --resume --set TRAIN.NUM_WORKER=4
"""

import argparse
import os
import sys
from functools import partial

import _init_paths

from lib.config.loader import config_name, dump_config, load_config
from lib.utils.cli import Parser, end_with_parent, integer, run_child, run_command


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--script", default="transcmd", help="subfolder of experiments/")
    parser.add_argument(
        "--config", required=True, help="name of a YAML file in this folder, or a path that ends in .yaml"
    )
    parser.add_argument("--save_dir", default="output", help="folder for checkpoints, logs and curves")
    parser.add_argument(
        "--mode",
        choices=("single", "multiple"),
        help="one process, or several with torchrun; default: multiple if --nproc_per_node is above 1",
    )
    parser.add_argument("--nproc_per_node", type=integer(1), default=1, help="number of processes on this machine")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint, if one exists")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the checkpoints of an earlier run and start again"
    )
    parser.add_argument(
        "--finetune", metavar="CKPT", help="start from the matching weights of this checkpoint; the others are reported"
    )
    parser.add_argument(
        "--chain",
        action="store_true",
        help="first train the missing prerequisites of this experiment; continues an interrupted chain",
    )
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. TRAIN.LR=1e-4; repeatable"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    args = parser.parse_args()
    if args.mode == "single" and args.nproc_per_node > 1:
        parser.error(f"--mode single contradicts --nproc_per_node {args.nproc_per_node}; remove one of them")
    args.mode = args.mode or ("multiple" if args.nproc_per_node > 1 else "single")
    if args.overwrite and (args.resume or args.chain):
        parser.error("--overwrite contradicts --resume and --chain, which continue from existing checkpoints")
    return args


def main() -> int:
    args = parse_args()
    cfg = load_config(args.script, args.config, args.set)
    if args.print_config:
        print(dump_config(cfg), end="")
        return 0
    if args.chain:
        return train_prerequisites(args)
    if args.mode == "multiple" and "WORLD_SIZE" not in os.environ:
        return launch(args.nproc_per_node)
    if "WORLD_SIZE" in os.environ:
        end_with_parent()  # torchrun may be killed
    from lib.train.run import train  # imported here, because training code takes seconds to import

    train(
        cfg,
        args.script,
        config_name(args.config),
        args.save_dir,
        args.resume,
        args.overwrite,
        args.finetune,
        args.device,
    )
    return 0


def train_prerequisites(args: argparse.Namespace) -> int:
    from lib.train.chain import train_chain

    options = ["--mode", args.mode, "--nproc_per_node", str(args.nproc_per_node), "--device", args.device]
    finetune = ["--finetune", args.finetune] if args.finetune else []
    show = partial(print, flush=True)
    return train_chain(args.script, args.config, args.save_dir, args.set, options, finetune, show)


def launch(processes: int) -> int:
    """Runs the same command under torchrun and returns its exit status."""
    command = [sys.executable, str(_init_paths.HERE / "_launch.py"), "--standalone", f"--nproc_per_node={processes}"]
    code = run_child([*command, __file__, *sys.argv[1:]])
    if code == 130:
        sys.stderr.write("\ninterrupted: --resume continues from the last finished epoch\n")
    return code


if __name__ == "__main__":
    run_command(main)
