"""Runs a tracker on a data set and writes raw results.

python tracking/test.py transcmd tiny --dataset_name LasHeR --threads 4 --num_gpus 1
python tracking/test.py transcmd tiny --dataset_name LasHeR --sequence 2girl --debug video
python tracking/test.py transcmd tiny --dataset_name LasHeR --drop aux:0.1 aux:0.3 aux:0.5
python tracking/test.py static tiny --dataset_name LasHeR

--drop takes pictures away: MODALITY (rgb, aux or both) in every frame, or MODALITY:RATE[:PATTERN[:FILL[:SEED]]]. RATE
is the part of the frames after the first; PATTERN random, block or switched; FILL blackout, freeze or noise. Each goes
into results of its own; <sequence>_drop.txt says what a frame lacked: 0 nothing, 1 RGB, 2 the auxiliary, 3 both.
"""

import argparse
import difflib
import hashlib
import itertools
import logging
from functools import partial
from pathlib import Path

import _init_paths  # noqa: F401
import torch

from lib.config.loader import config_name, load_config
from lib.data.datasets import build_store, load_dataset
from lib.data.drop import Drop
from lib.data.sequence import Sequence
from lib.models.build import network_settings
from lib.running.debug import MODES
from lib.running.runner import Job, run_sequences
from lib.tracker.baselines import BASELINES, TRACKERS
from lib.tracker.build import build_tracker, default_checkpoint
from lib.utils.cli import run_command
from lib.utils.trees import to_plain

logger = logging.getLogger(__name__)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", choices=TRACKERS, help="transcmd, or a baseline that needs no training")
    parser.add_argument("config", help="experiment: YAML in experiments/transcmd, without .yaml, or a path")
    parser.add_argument("--dataset_name", required=True, nargs="+", help="one or several of LasHeR, DepthTrack, ...")
    parser.add_argument("--sequence", help="only this one, by name or number")
    parser.add_argument("--checkpoint", help="default: what training the experiment left in save_dir")
    parser.add_argument("--save_dir", default="output")
    parser.add_argument("--threads", type=int, default=0, help="worker processes; 0 and 1: this process alone")
    parser.add_argument("--num_gpus", type=int, default=torch.cuda.device_count(), help="workers share them in turn")
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
    parser.add_argument("--drop_seed", type=int, default=0, help="of specifications that do not end in one")
    parser.add_argument("--name", help="folder of the results instead of the experiment's name")
    parser.add_argument("--debug", nargs="?", choices=MODES[1:], const="pictures", default="", help="draw every frame")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    drops = parse_drops(args)
    cfg = load_config("transcmd", args.config, args.set)
    datasets = {  # all of them before the first is tracked
        name: pick(load_dataset(name, build_store(cfg, name)), args.sequence, name) for name in args.dataset_name
    }
    make_tracker, weights = tracker_maker(args, cfg)
    failed = {}
    for drop, (name, sequences) in itertools.product(drops, datasets.items()):
        settings = f"{weights} {sorted(network_settings(to_plain(cfg)).items())} {drop or ''}"
        fingerprint = hashlib.sha256(settings.encode()).hexdigest()[:16]
        maker = partial(make_tracker, sequences[0].modality)
        job = Job(maker, results_folder(args, name, drop), fingerprint, drop, args.debug)
        failed.update(test_dataset(name, sequences, job, args))
    for sequence, reason in failed.items():
        logger.error("failed: %s: %s", sequence, reason)
    return 1 if failed else 0


def parse_drops(args: argparse.Namespace) -> list[Drop | None]:
    """What to take away, one for each run: nothing in the only one unless --drop says so."""
    if args.drop_seed < 0:
        raise ValueError(f"--drop_seed {args.drop_seed}: expected a whole number from 0 on")
    try:
        return list(dict.fromkeys(Drop.parse(text, args.drop_seed) for text in args.drop)) or [None]
    except ValueError as error:
        raise ValueError(f"--drop {error}") from None


def pick(sequences: list[Sequence], wanted: str | None, dataset: str) -> list[Sequence]:
    """All sequences, or the one of that name or number."""
    names = [sequence.name for sequence in sequences]
    if wanted and wanted not in names and wanted.isdecimal() and int(wanted) < len(names):
        wanted = names[int(wanted)]
    picked = [sequence for sequence in sequences if wanted in (None, sequence.name)]
    if not picked:
        near = difflib.get_close_matches(wanted, names, n=1)
        raise ValueError(f"--sequence {wanted}: {dataset} has none{f'; did you mean {near[0]}?' if near else ''}")
    return picked


def results_folder(args: argparse.Namespace, dataset: str, drop: Drop | None) -> Path:
    """Where the raw results on one data set go. --name is the whole name, unless several runs would share it."""
    name = args.name or config_name(args.config)
    if drop and (not args.name or len(args.drop) > 1):
        name += f"_drop_{drop.label}"
    return Path(args.save_dir) / "test" / "tracking_results" / args.tracker / name / dataset


def test_dataset(dataset: str, sequences: list[Sequence], job: Job, args: argparse.Namespace) -> dict[str, str]:
    """Tracks the sequences of one data set; returns the failed ones with the reason."""
    failed = run_sequences(sequences, job, args.threads, args.num_gpus)
    done = len(sequences) - len(failed)
    logger.info("%s: %d of %d sequences finished, in %s", dataset, done, len(sequences), job.folder)
    where = f"{dataset}, --drop {job.drop}: " if job.drop else f"{dataset}/"
    return {f"{where}{sequence}": reason for sequence, reason in failed.items()}


def tracker_maker(args: argparse.Namespace, cfg):
    """A picklable (modality, device) → tracker, and a text that stands for its weights."""
    if args.tracker in BASELINES:
        return partial(make_baseline, args.tracker), args.tracker
    checkpoint = Path(args.checkpoint) if args.checkpoint else default_checkpoint(cfg, args.config, args.save_dir)
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"{checkpoint}: no such checkpoint; train it with tracking/train.py --config {args.config}"
        )
    build_tracker(cfg, checkpoint, "rgbt", "cpu")  # a wrong checkpoint ends the command here, not every worker
    make = partial(make_transcmd, cfg, checkpoint, args.device)
    return make, hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def make_transcmd(cfg, checkpoint: Path, chosen: str, modality: str, device: str):
    return build_tracker(cfg, checkpoint, modality, chosen or device)


def make_baseline(name: str, modality: str, device: str):
    return BASELINES[name]()


if __name__ == "__main__":
    run_command(main)
