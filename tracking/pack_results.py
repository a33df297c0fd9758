"""Packs raw results into the archive that a benchmark's authors or the VOT toolkit take, or reads such an archive back.

python tracking/pack_results.py --benchmark LasHeR --results RESULTS --annotations data/LasHeR --output tiny_LasHeR.zip
python tracking/pack_results.py --unpack published.zip --output results/published

With --annotations results are checked as they are before scoring; without it only their number is.
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401

from lib.data.datasets import load_dataset
from lib.data.storage import open_store
from lib.evaluation.annotations import (
    Annotation,
    annotations_from_folder,
    annotations_from_sequences,
    holds_annotations_alone,
)
from lib.evaluation.benchmarks import BENCHMARKS, Benchmark
from lib.evaluation.evaluate import load_results
from lib.results.pack import FORMS, list_results, list_runs, make_zip, pack_results
from lib.results.raw import experiment_folder, read_drop
from lib.results.unpack import unpack_results, write_files
from lib.utils.cli import run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--results", type=Path, metavar="DIR", help="raw results to pack")
    source.add_argument("--unpack", type=Path, metavar="ARCHIVE", help="zip or tar file to read")
    parser.add_argument("--output", type=Path, required=True, help="the .zip file, or with --unpack a folder")
    parser.add_argument("--benchmark", choices=BENCHMARKS, help="whose tool shall read the archive")
    parser.add_argument(
        "--name", default="", help="the tracker's, default: its folder's; with --unpack: its results alone"
    )
    parser.add_argument("--annotations", type=Path, help="folder of annotations, or the data set")
    parser.add_argument("--allow-missing", action="store_true", help="pack the sequences that are there")
    parser.add_argument("--force", action="store_true", help="overwrite files")
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
    """Checks, packs and writes one tracker's results."""
    benchmark, tracker = BENCHMARKS[args.benchmark], args.name or folder_name(args.results, args.benchmark)
    if args.output.suffix != ".zip":
        raise ValueError(f"--output {args.output}: expected a name that ends in .zip")
    names, dropped = check(args, benchmark, tracker), read_drop(args.results)
    members = pack_results(args.results, FORMS[benchmark.name], tracker, names)
    write_files(args.output.parent, {args.output.name: make_zip(members)}, args.force)
    print(f"{args.output}: {len(members)} files of {tracker} on {benchmark.name}")
    if not args.annotations:
        print("note: lengths were not checked; --annotations does that")
    if dropped:
        print(f"note: part of the input was dropped in these results ({dropped})")


def folder_name(folder: Path, benchmark: str) -> str:
    """What the tracker is called by its folder: <name>, or <tracker>/<config>/<benchmark> as test.py lays it out."""
    path = folder.absolute()
    return path.name if path.name != benchmark else f"{path.parents[1].name}_{path.parent.name}"


def check(args: argparse.Namespace, benchmark: Benchmark, tracker: str) -> list[str] | None:
    """Names of the sequences to pack, None for all there are; ValueError where some are missing or do not fit."""
    if args.annotations:
        annotations = load_annotations(args.annotations, benchmark)
        loaded = load_results(benchmark, annotations, {tracker: args.results}, args.allow_missing)
        return [annotation.name for annotation in loaded.annotations]
    if not args.results.is_dir():
        raise ValueError(f"--results {args.results}: no such folder")
    found = (list_runs if FORMS[benchmark.name].runs else list_results)(experiment_folder(args.results))
    if len(found) != benchmark.sequences and not args.allow_missing:
        raise ValueError(
            f"{args.results}: results of {len(found)} sequences, {benchmark.name} has {benchmark.sequences}; "
            "--annotations tells which, --allow-missing packs what is there"
        )
    return None


def load_annotations(folder: Path, benchmark: Benchmark) -> list[Annotation]:
    """Ground truth from published files or from the data set."""
    if folder.is_dir() and holds_annotations_alone(folder):
        return annotations_from_folder(folder)
    sequences = load_dataset(benchmark.dataset, open_store(folder, benchmark.dataset))
    thinned = [sequence.thinned(benchmark.rule.every) for sequence in sequences]
    return annotations_from_sequences(thinned, with_anchors=FORMS[benchmark.name].runs)


def unpack(args: argparse.Namespace) -> None:
    """Reads an archive into the output folder."""
    unpacked = unpack_results(args.unpack, args.name)
    new = write_files(args.output, unpacked.files, args.force)
    for text in unpacked.left_out:
        print(f"left out: {text}")
    print(f"{args.output}: {unpacked.sequences} sequences in {len(unpacked.files)} files, {new} of them new")


if __name__ == "__main__":
    run_command(main)
