"""Trains an experiment.

python tracking/train.py --script transcmd --config tiny
python tracking/train.py --script transcmd --config tiny --mode multiple --nproc_per_node 2
python tracking/train.py --script transcmd --config tiny --mode multi_node --nnodes 2 --node_rank 0 --master_addr HOST
torchrun --nproc_per_node 8 tracking/train.py --script transcmd --config tiny
python tracking/train.py --script transcmd --config tiny --chain
python tracking/train.py --script transcmd --config tiny --resume --set TRAIN.NUM_WORKER=4
python tracking/train.py --script transcmd --config tiny --dry-run
python tracking/train.py --reproduce CKPT --save_dir output/again
python tracking/train.py --replay output/checkpoints/train/transcmd/tiny/replay.pt
"""

import argparse
import os
import sys
from functools import partial

import _init_paths

from lib.config.loader import config_name, dump_config, load_config
from lib.utils.cli import Parser, Preempted, Terminated, end_with_parent, integer, run_child, run_command


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--script", default="transcmd", help="subfolder of experiments/")
    parser.add_argument(
        "--config", help="name of a YAML file in this folder, or a path that ends in .yaml; default: none, it is needed"
    )
    parser.add_argument("--save_dir", default="output", help="folder for checkpoints, logs and curves")
    parser.add_argument(
        "--mode",
        choices=("single", "multiple", "multi_node"),
        help="one process, or several with torchrun, of one machine or of several; default: multi_node if --nnodes is "
        "above 1, multiple if --nproc_per_node is",
    )
    parser.add_argument("--nproc_per_node", type=integer(1), default=1, help="number of processes on this machine")
    parser.add_argument("--nnodes", type=integer(1), default=1, help="multi_node: number of machines")
    parser.add_argument(
        "--node_rank", type=integer(0), help="multi_node: number of this machine, from 0; default: none, it is needed"
    )
    parser.add_argument(
        "--master_addr", help="multi_node: name or address of machine 0, the same on all; default: none, it is needed"
    )
    parser.add_argument("--master_port", type=integer(1, 65535), default=29500, help="multi_node: free port there")
    parser.add_argument(
        "--max_restarts",
        type=integer(0),
        default=0,
        help="how often torchrun starts all processes again after one has ended with an error; they resume",
    )
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
    parser.add_argument(
        "--logger",
        choices=("wandb", "mlflow"),
        action="append",
        default=[],
        help="one more place for curves and pictures, besides TensorBoard; its package is an extra; repeatable",
    )
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. TRAIN.LR=1e-4; repeatable"
    )
    parser.add_argument(
        "--replay",
        metavar="FILE",
        help="run the step of a replay.pt again, which a loss or gradient that was not finite has left",
    )
    parser.add_argument(
        "--reproduce",
        metavar="CKPT",
        help="repeat the training that led to this checkpoint, into another --save_dir, and compare the networks",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, run a few steps, and print memory, time and disk space of the whole run; keep nothing",
    )
    parser.add_argument(
        "--overfit-one-batch",
        metavar="STEPS",
        type=integer(1),
        nargs="?",
        const=500,
        help="train on one batch only, to check that the loss comes near 0; 500 steps without a number; keep nothing",
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    args = parser.parse_args()
    if not (args.config or args.replay or args.reproduce):
        parser.error("--config: expected the name of an experiment")
    check_launch(parser, args)
    if args.overwrite and (args.resume or args.chain):
        parser.error("--overwrite contradicts --resume and --chain, which continue from existing checkpoints")
    if (args.dry_run or args.overfit_one_batch) and (args.resume or args.overwrite or args.chain):
        parser.error("--dry-run and --overfit-one-batch keep nothing; remove --resume, --overwrite and --chain")
    return args


def check_launch(parser: Parser, args: argparse.Namespace) -> None:
    """Sets the default of --mode, and ends with an error if options contradict it."""
    args.mode = args.mode or ("multi_node" if args.nnodes > 1 else "multiple" if args.nproc_per_node > 1 else "single")
    if args.mode == "single" and args.nproc_per_node > 1:
        parser.error(f"--mode single contradicts --nproc_per_node {args.nproc_per_node}; remove one of them")
    if args.mode != "multi_node" and args.nnodes > 1:
        parser.error(f"--mode {args.mode} contradicts --nnodes {args.nnodes}; remove one of them")
    if args.mode != "multi_node":
        return
    if args.chain:
        parser.error(
            "--chain starts its runs on one machine; train the prerequisites one by one with --mode multi_node"
        )
    if args.node_rank is None or not args.master_addr:
        parser.error("--mode multi_node needs --node_rank and --master_addr")
    if args.node_rank >= args.nnodes:
        parser.error(f"--node_rank {args.node_rank}: expected 0 to {args.nnodes - 1} for --nnodes {args.nnodes}")


def main() -> int:
    args = parse_args()
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):  # torchrun has started all processes again
        args.resume, args.overwrite = True, False
    if args.replay:
        return replay_step(args)
    try:
        return repeat(args) if args.reproduce else run(args)
    except Terminated as stop:  # while data are read or networks are built; a step is finished first, see Trainer.fit
        if args.dry_run or args.overfit_one_batch:
            raise
        raise Preempted("no step is lost; continue with --resume") from stop


def run(args: argparse.Namespace) -> int:
    cfg = load_config(args.script, args.config, args.set)
    if args.print_config:
        print(dump_config(cfg), end="")
        return 0
    if args.chain:
        return train_prerequisites(args)
    if is_launcher(args):
        return launch(args)
    from lib.train.run import rehearse, train  # imported here, because training code takes seconds to import

    if args.dry_run or args.overfit_one_batch:
        names = args.script, config_name(args.config), args.save_dir
        show(rehearse(cfg, *names, args.finetune, args.device, args.overfit_one_batch or 0))
        return 0
    train(
        cfg,
        args.script,
        config_name(args.config),
        args.save_dir,
        args.resume,
        args.overwrite,
        args.finetune,
        args.device,
        sinks=args.logger,
    )
    return 0


def is_launcher(args: argparse.Namespace) -> bool:
    """Returns whether this process starts those that train. Processes of any torchrun train."""
    if "WORLD_SIZE" in os.environ:
        end_with_parent()  # torchrun may be killed
    return args.mode != "single" and "WORLD_SIZE" not in os.environ


def repeat(args: argparse.Namespace) -> int:
    if is_launcher(args):
        return launch(args)
    from lib.train.run import reproduce

    text = reproduce(args.reproduce, args.save_dir, args.set, args.resume, args.device)
    show(text)
    return 0


def show(text: str) -> None:
    """Prints a result of several processes once."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def replay_step(args: argparse.Namespace) -> int:
    from lib.train.run import replay

    for name, value in replay(args.replay, args.device).items():
        print(f"{name:24} {value:g}")
    return 0


def train_prerequisites(args: argparse.Namespace) -> int:
    from lib.train.chain import train_chain

    options = ["--mode", args.mode, "--device", args.device]
    for name in ("nproc_per_node", "max_restarts"):
        options += [f"--{name}", str(getattr(args, name))]
    options += [word for name in args.logger for word in ("--logger", name)]
    finetune = ["--finetune", args.finetune] if args.finetune else []
    show = partial(print, flush=True)
    return train_chain(args.script, args.config, args.save_dir, args.set, options, finetune, show)


def launch(args: argparse.Namespace) -> int:
    """Runs the same command under torchrun and returns its exit status."""
    where = ["--standalone"]
    if args.mode == "multi_node":
        names = ("nnodes", "node_rank", "master_addr", "master_port")
        where = [f"--{name}={getattr(args, name)}" for name in names]
    where += [f"--nproc_per_node={args.nproc_per_node}", f"--max_restarts={args.max_restarts}"]
    return run_child([sys.executable, str(_init_paths.HERE / "_launch.py"), *where, __file__, *sys.argv[1:]])


if __name__ == "__main__":
    run_command(main)
