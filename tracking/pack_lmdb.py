"""Packs a data set's folder into one LMDB file, which reads faster from slow disks; every reader takes either.

python tracking/pack_lmdb.py data/LasHeR data/LasHeR.lmdb
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401
from tqdm import tqdm

from lib.data.storage import pack_lmdb
from lib.utils.cli import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the data set, as the readers take it")
    parser.add_argument("target", type=Path, help="ends in .lmdb")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")
    args = parser.parse_args()
    if args.target.suffix != ".lmdb":
        raise ValueError(f"{args.target}: expected a name that ends in .lmdb")
    if args.target.exists() and not args.overwrite:
        raise ValueError(f"{args.target} is there already; replace it with --overwrite")
    count = sum(1 for _ in tqdm(pack_lmdb(args.folder, args.target), unit="file", disable=None))
    print(f"{args.target}: {count} files, {args.target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
