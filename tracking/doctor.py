"""Checks the environment and the data sets before a training run. Decodes every image.

python tracking/doctor.py --config tiny
python tracking/doctor.py --dataset_name LasHeR DepthTrack VisEvent --workers 8
python tracking/doctor.py --config tiny --write-skip skip.txt
python tracking/train.py --script transcmd --config tiny --set DATA.SKIP=skip.txt

UNUSABLE: the sequence would end a run; PROBLEM: something to correct; note: nothing needs to be done. The exit status
is 1 if there is more than notes. --write-skip lists the unusable sequences, and DATA.SKIP leaves them out.
"""

import argparse
import sys
from pathlib import Path

import _init_paths  # noqa: F401
from tqdm import tqdm

from lib.data.doctor.environment import check_environment, cores, describe_environment
from lib.data.doctor.examine import build_names, build_needs, build_patients, check_sequences
from lib.data.doctor.findings import conclude, describe, is_wrong, unusable
from lib.data.loader import build_skip
from lib.data.skip import write_skip
from lib.tracker.build import load_experiment
from lib.utils.cli import Parser, integer, run_command
from lib.utils.files import check_writable
from lib.utils.texts import MOST


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", default="tiny", help="experiment whose data sets, folders and settings are checked")
    parser.add_argument(
        "--dataset_name", nargs="+", default=[], help="check these data sets; default: those of the experiment"
    )
    parser.add_argument("--every", type=integer(0), default=1, help="decode every n-th image; 0: none")
    parser.add_argument("--workers", type=integer(0), default=cores(), help="processes that decode; 0: no others")
    parser.add_argument("--write-skip", type=Path, metavar="FILE", help="write the unusable sequences, for DATA.SKIP")
    parser.add_argument("--full", action="store_true", help="list all places of a finding, not the first five")
    parser.add_argument("--save_dir", default="output", help="folder of the training run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    cfg, most = load_experiment(args.config, args.set), sys.maxsize if args.full else MOST
    if args.write_skip:
        check_writable(args.write_skip.parent)
    skip, found, bad, total = build_skip(cfg), list(check_environment(build_needs(cfg, args.save_dir))), 0, 0
    print("environment", *(f"  {line}" for line in (*describe_environment(), *describe(found, most))), sep="\n")
    for patient in build_patients(cfg, args.dataset_name or build_names(cfg)):
        findings = patient.findings
        with tqdm(total=patient.frames, desc=patient.name, unit="frame", leave=False, disable=None) as bar:
            for frames, others in check_sequences(patient, args.workers, args.every):
                findings = findings + others
                bar.update(frames)
        print(f"{patient.name}: {len(patient.sequences)} sequences, {patient.frames} frames, {patient.path}")
        print(*(f"  {line}" for line in describe(findings, most)), sep="\n", end="\n" if findings else "")
        reasons = unusable(findings)
        skip.setdefault(patient.name, {}).update(reasons)
        found, bad, total = found + findings, bad + len(reasons), total + patient.total
    if args.write_skip:
        write_skip(args.write_skip, skip)
    print(*conclude(found, bad, total, args.write_skip or ""), sep="\n")
    return int(is_wrong(found))


if __name__ == "__main__":
    run_command(main)
