"""Packs the folder of a data set into one LMDB file, which is faster on slow disks. All readers accept both. An
interrupted run continues when the command is run again. At the end, every file is compared with what was packed.

python tracking/pack_lmdb.py data/LasHeR data/LasHeR.lmdb
python tracking/pack_lmdb.py data/VisEvent data/VisEvent.lmdb --reencode png
python tracking/pack_lmdb.py data/VisEvent data/VisEvent.lmdb --reencode jpeg --psnr 42

--reencode png stores BMP images as PNG, without loss. --reencode jpeg stores colour BMP and PNG images as JPEG, with
the lowest quality that keeps the peak signal-to-noise ratio of each image at or above --psnr. Depth, grey and
16-bit images are never changed, and no image becomes larger.
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401
from tqdm import tqdm

from lib.data.packing import to_jpeg, to_png, verify_lmdb
from lib.data.storage import find_files, pack_lmdb
from lib.utils.cli import Parser, integer, run_command
from lib.utils.texts import shorten


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder of the data set")
    parser.add_argument("target", type=Path, help="file to write; must end in .lmdb")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing target")
    parser.add_argument("--reencode", choices=("png", "jpeg"), help="store images in this format")
    parser.add_argument("--psnr", type=integer(20, 60), default=42, help="of --reencode jpeg, dB")
    parser.add_argument("--no-verify", action="store_true", help="do not compare the files at the end")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.target.suffix != ".lmdb":
        raise ValueError(f"{args.target}: expected a name that ends in .lmdb")
    if args.target.exists() and not args.overwrite:
        raise ValueError(f"{args.target} exists; --overwrite replaces it")
    convert = {"png": to_png, "jpeg": to_jpeg(args.psnr)}.get(args.reencode)
    settings = f"jpeg {args.psnr}" if args.reencode == "jpeg" else args.reencode or ""
    files = find_files(args.folder)
    bar = {"total": len(files), "unit": "file", "disable": None}
    for _ in tqdm(pack_lmdb(args.folder, args.target, convert, settings), desc="packing", **bar):
        pass
    before, after = sum(path.stat().st_size for path in files.values()), args.target.stat().st_size
    print(f"{args.target}: {len(files)} files, {after / 1e6:.1f} MB (the files have {before / 1e6:.1f} MB)")
    if args.no_verify:
        return 0
    checked = tqdm(verify_lmdb(args.folder, args.target, convert), desc="verifying", **bar)
    problems = [problem for _, problem in checked if problem]
    if problems:
        raise ValueError(f"{len(problems)} of {len(files)} files: {shorten(problems, '; ')}")
    print("verified: every file is as it was packed, and no image is cut off")
    return 0


if __name__ == "__main__":
    run_command(main)
