"""Packs the folder of a data set into one LMDB file, which is faster on slow disks. All readers accept both. An
interrupted run continues when the command is run again.

python tracking/pack_lmdb.py data/LasHeR data/LasHeR.lmdb
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401
from tqdm import tqdm

from lib.data.storage import pack_lmdb
from lib.utils.cli import Parser, run_command


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder of the data set")
    parser.add_argument("target", type=Path, help="file to write; must end in .lmdb")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing target")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.target.suffix != ".lmdb":
        raise ValueError(f"{args.target}: expected a name that ends in .lmdb")
    if args.target.exists() and not args.overwrite:
        raise ValueError(f"{args.target} exists; --overwrite replaces it")
    count = sum(1 for _ in tqdm(pack_lmdb(args.folder, args.target), unit="file", disable=None))
    print(f"{args.target}: {count} files, {args.target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
