"""Packs raw results into the archive that a benchmark or the VOT toolkit expects, or reads such an archive.

python tracking/pack_results.py --benchmark LasHeR --results RESULTS --annotations data/LasHeR --output tiny_LasHeR.zip
python tracking/pack_results.py --unpack published.zip --output results/published

With --annotations, the results are checked as for scoring. Without it, only their number is checked.
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401

from lib.evaluation.benchmarks import BENCHMARKS
from lib.evaluation.selection import load_results
from lib.evaluation.truth import truth_from_folder
from lib.results.folder import ResultFolder
from lib.results.pack import check_count, make_zip, pack_results, tracker_name
from lib.results.raw import read_drop
from lib.results.unpack import unpack_results, write_files
from lib.utils.cli import Parser, plain_name, run_command


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--results", type=Path, metavar="DIR", help="raw results to pack")
    source.add_argument("--unpack", type=Path, metavar="ARCHIVE", help="zip or tar file to read")
    parser.add_argument("--output", type=Path, required=True, help="the .zip file to write, or with --unpack a folder")
    parser.add_argument("--benchmark", choices=BENCHMARKS, help="benchmark whose tool will read the archive")
    parser.add_argument(
        "--name",
        type=plain_name,
        help="name of the tracker, default: that of its folder; with --unpack, only this tracker is read",
    )
    parser.add_argument("--annotations", type=Path, help="folder of annotation files, or the data set")
    parser.add_argument(
        "--allow-missing", action="store_true", help="pack the existing results even if sequences are missing"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    args = parser.parse_args()
    if args.results and not args.benchmark:
        parser.error("--results needs --benchmark")
    return args


def main() -> None:
    args = parse_args()
    if args.unpack:
        unpack(args)
    else:
        pack(args)


def pack(args: argparse.Namespace) -> None:
    """Checks the results of one tracker and writes them as an archive."""
    benchmark, folder, names = BENCHMARKS[args.benchmark], args.results, None
    tracker = args.name or tracker_name(folder, benchmark.name)
    if args.output.suffix != ".zip":
        raise ValueError(f"--output {args.output}: expected a name that ends in .zip")
    if args.annotations:
        annotations = truth_from_folder(benchmark, args.annotations, with_size=False).annotations
        loaded = load_results(benchmark, annotations, {tracker: ResultFolder(tracker, folder)}, args.allow_missing)
        names = [annotation.name for annotation in loaded.annotations]
    else:
        check_count(folder, benchmark.form, benchmark.name, benchmark.sequences, args.allow_missing)
    dropped = read_drop(folder)
    members = pack_results(folder, benchmark.form, tracker, names)
    write_files(args.output.parent, {args.output.name: make_zip(members)}, args.force)
    print(f"{args.output}: {len(members)} files of {tracker} on {benchmark.name}")
    if not args.annotations:
        print("note: the lengths were not checked; use --annotations to check them")
    if dropped:
        print(f"note: part of the input was dropped in these results ({dropped})")


def unpack(args: argparse.Namespace) -> None:
    """Reads an archive into the output folder."""
    unpacked = unpack_results(args.unpack, args.name or "")
    new = write_files(args.output, unpacked.files, args.force)
    for text in unpacked.left_out:
        print(f"left out: {text}")
    print(f"{args.output}: {unpacked.sequences} sequences in {len(unpacked.files)} files, {new} of them new")


if __name__ == "__main__":
    run_command(main)
