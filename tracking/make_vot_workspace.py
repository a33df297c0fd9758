"""Writes a workspace of the VOT toolkit, where `vot evaluate` runs our trackers on a data set; or tests all of this on
synthetic sequences.

python tracking/make_vot_workspace.py transcmd tiny --dataset DepthTrack --output output/vot/DepthTrack
python tracking/make_vot_workspace.py --self-test

Run again for another tracker in the same workspace. The data set is linked, not copied, and nothing is written into it.
"""

import argparse
import logging
import re
import shlex
import sys
import tempfile
from pathlib import Path

import _init_paths

from lib.config.loader import config_name, find_config, load_config
from lib.data.datasets import build_store, load_dataset
from lib.data.storage import DiskStore
from lib.data.synthetic import write_datasets
from lib.tracker.baselines import BASELINES, TRACKERS
from lib.utils.cli import run_command
from lib.utils.trees import to_plain
from lib.vot.selftest import check_scores
from lib.vot.workspace import LONG_TERM, STACKS, run_toolkit, toolkit_command, write_workspace

logger = logging.getLogger(__name__)

SEED = 5  # of the self-test's data and weights


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", nargs="?", choices=TRACKERS, help="transcmd, or a baseline that needs no training")
    parser.add_argument("config", nargs="?", help="experiment: YAML in experiments/transcmd, without .yaml, or a path")
    parser.add_argument("--dataset", choices=STACKS, help="which benchmark's data and experiments")
    parser.add_argument("--output", type=Path, help="the workspace; default <save_dir>/vot/<dataset>")
    parser.add_argument("--checkpoint", type=Path, help="default: what training the experiment left in save_dir")
    parser.add_argument("--save_dir", type=Path, default="output")
    parser.add_argument("--device", default="", help="e.g. cpu or cuda:1; default: a GPU if there is one")
    parser.add_argument("--name", help="of the tracker in the toolkit; default <tracker>_<config>")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="runs the toolkit on two synthetic sequences and compares its scores with ours; default tracker: "
        "`transcmd debug` with random weights",
    )
    args = parser.parse_args()
    if not args.self_test and not (args.tracker and args.config and args.dataset):
        parser.error("expected TRACKER CONFIG --dataset NAME, or --self-test")
    if args.self_test and (args.dataset or args.output):
        parser.error("--self-test takes no --dataset and no --output: it makes its own and removes them")
    if bool(args.tracker) != bool(args.config):
        parser.error("expected TRACKER and CONFIG, or neither with --self-test")
    return args


def main() -> None:
    args = parse_args()
    if args.self_test:
        with tempfile.TemporaryDirectory(prefix="vot_self_test_") as folder:
            self_test(args, Path(folder))
        return
    stack, output = STACKS[args.dataset], args.output or args.save_dir / "vot" / args.dataset
    name, command = tracker_name(args), tracker_command(args)
    sequences = load_dataset(args.dataset, build_store(load_config("transcmd", args.config, args.set), args.dataset))
    write_workspace(output, stack, sequences, {name: command})
    logger.info("%s: %d sequences of %s, tracker %s. Next:", output, len(sequences), args.dataset, name)
    results = [sys.executable, "tracking/analysis_results.py", "--benchmark", args.dataset, "--config", args.config]
    results += [word for setting in args.set for word in ("--set", setting)] + ["--results"]
    for line in (
        ["cd", str(output.absolute())],
        toolkit_command("test", "--sequence", f"sequences/{sequences[0].name}", name),
        toolkit_command("evaluate", name),
        toolkit_command("analysis", "--name", "scores", name),
        ["cd", str(_init_paths.ROOT)],
        [*results, f"{name}={(output / 'results' / name / stack.experiment).absolute()}"],
    ):
        print(shlex.join(line))


def tracker_name(args: argparse.Namespace) -> str:
    """What the toolkit calls the tracker; it allows few characters."""
    return args.name or re.sub(r"[^A-Za-z0-9_-]", "_", f"{args.tracker}_{config_name(args.config)}")


def tracker_command(args: argparse.Namespace) -> list[str]:
    """How the toolkit starts the tracker, from any folder. Raises ValueError or FileNotFoundError for a wrong one."""
    cfg, config = load_config("transcmd", args.config, args.set), args.config
    if config.endswith((".yaml", ".yml")):
        config = str(find_config("transcmd", config).absolute())
    command = [sys.executable, str(_init_paths.ROOT / "tracking" / "vot_tracker.py"), args.tracker, config]
    if args.tracker not in BASELINES:
        from lib.tracker.build import default_checkpoint  # here: baselines do without torch, whose import takes seconds

        checkpoint = args.checkpoint or default_checkpoint(cfg, args.config, args.save_dir)
        if not checkpoint.is_file():
            raise FileNotFoundError(f"{checkpoint}: no such checkpoint; train it, or name one with --checkpoint")
        command += ["--checkpoint", str(checkpoint.absolute())]
    command += ["--device", args.device] if args.device else []
    return command + [word for setting in args.set for word in ("--set", setting)]


def self_test(args: argparse.Namespace, folder: Path) -> None:
    """Data, workspace, `vot test`, `vot evaluate`, `vot analysis`, and our own scores of what they left.

    Raises:
        ValueError: one of them failed, or the scores are not the same.
    """
    if not args.tracker:
        args.tracker, args.config, args.device = "transcmd", "debug", "cpu"
        args.checkpoint = random_weights(args.config, folder)
    frames = {"train_sequences": 1, "test_sequences": 2, "train_frames": 12, "test_frames": 30}
    write_datasets(folder / "data", seed=SEED, datasets=("DepthTrack",), workers=1, **frames)
    sequences = load_dataset("DepthTrack", DiskStore(folder / "data" / "DepthTrack"))
    workspace, name = folder / "workspace", tracker_name(args)
    write_workspace(workspace, LONG_TERM, sequences, {name: tracker_command(args)})
    first = f"sequences/{sequences[0].name}"
    run_toolkit(workspace, "test", "--sequence", first, name, done="Test concluded")
    run_toolkit(workspace, "evaluate", name, done="Evaluation concluded")
    run_toolkit(workspace, "analysis", "--name", "scores", name, done="Analysis successful")
    scores = check_scores(workspace, LONG_TERM.experiment, name, sequences)
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
    print(f"self-test passed: vot test, evaluate and analysis ran; the toolkit and we find {figures}")


def random_weights(config: str, folder: Path) -> Path:
    """A checkpoint of a network that was never trained."""
    import torch

    from lib.models.build import build_model
    from lib.models.weights.read import write_net

    torch.manual_seed(SEED)
    cfg, path = load_config("transcmd", config), folder / f"{config}.safetensors"
    write_net(path, build_model(cfg).state_dict(), to_plain(cfg), torch.float32)
    return path


if __name__ == "__main__":
    run_command(main)
