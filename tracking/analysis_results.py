"""Raw results → report.json, tables and plots, for one or several trackers.

python tracking/analysis_results.py --dataset_name LasHeR --trackers transcmd/tiny
python tracking/analysis_results.py --dataset_name LasHeR --results MTNet=results/MTNet APFNet=results/APFNet
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401

from lib.config.loader import load_config
from lib.data.datasets import build_store, load_dataset
from lib.data.storage import DiskStore, open_store
from lib.data.synthetic import read_manifest
from lib.evaluation.annotations import (
    Annotation,
    annotations_from_folder,
    annotations_from_sequences,
    holds_annotations_alone,
)
from lib.evaluation.benchmarks import BENCHMARKS, Benchmark
from lib.evaluation.evaluate import evaluate
from lib.evaluation.plots import draw_plots
from lib.utils.cli import run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_name", "--benchmark", required=True, choices=BENCHMARKS, help="what to score")
    parser.add_argument("--results", nargs="+", default=[], metavar="NAME=DIR", help="raw results, anywhere")
    parser.add_argument("--trackers", nargs="+", default=[], metavar="TRACKER/CONFIG", help="raw results in save_dir")
    parser.add_argument("--save_dir", type=Path, default="output", help="with neither of them: all trackers found here")
    parser.add_argument(
        "--annotations", type=Path, help="folder of <sequence>.txt, or the data set; else as configured"
    )
    parser.add_argument("--config", default="tiny", help="experiment whose DATA.ROOT and ROOTS tell where data lies")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/ssd; repeatable"
    )
    parser.add_argument("--output_dir", type=Path, help="default <save_dir>/test/reports/<benchmark>")
    parser.add_argument("--allow-missing", action="store_true", help="score the sequences that all trackers have")
    return parser.parse_args()


def find_folders(args: argparse.Namespace) -> dict[str, Path]:
    """Tracker's name → folder of raw results: those named, or all in save_dir."""
    root = args.save_dir / "test" / "tracking_results"
    named = [(tracker, root / tracker / args.dataset_name) for tracker in args.trackers]
    for text in args.results:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"--results: expected NAME=DIR, got '{text}'")
        named.append((name, Path(folder)))
    if not named:
        found = sorted(root.glob(f"*/*/{args.dataset_name}"))
        named = [(path.parent.relative_to(root).as_posix(), path) for path in found]
    if not named:
        raise ValueError(
            f"no results for {args.dataset_name} in {root}: run tracking/test.py, or use --results NAME=DIR"
        )
    folders = dict(named)
    if len(folders) < len(named):
        raise ValueError(f"two trackers have the same name among {', '.join(name for name, _ in named)}")
    return folders


def load_annotations(args: argparse.Namespace, benchmark: Benchmark) -> tuple[list[Annotation], str]:
    """Ground truth from --annotations, or from the data set that the configuration names; and what the data are, if
    they are not the benchmark's own.
    """
    folder = args.annotations
    if folder is None:
        store = build_store(load_config("transcmd", args.config, args.set), benchmark.dataset)
    elif folder.is_dir() and holds_annotations_alone(folder):
        return annotations_from_folder(folder), ""
    else:
        store = open_store(folder, benchmark.dataset)
    source = "synthetic data" if isinstance(store, DiskStore) and read_manifest(store.root.parent) else ""
    return annotations_from_sequences(load_dataset(benchmark.dataset, store)), source


def main() -> None:
    args = parse_args()
    benchmark = BENCHMARKS[args.dataset_name]
    folders = find_folders(args)
    annotations, source = load_annotations(args, benchmark)
    report = evaluate(benchmark, annotations, folders, args.allow_missing, source)
    folder = args.output_dir or args.save_dir / "test" / "reports" / benchmark.name
    print(report.to_markdown())
    for path in report.save(folder) + draw_plots(report, folder):
        print(path)


if __name__ == "__main__":
    run_command(main)
