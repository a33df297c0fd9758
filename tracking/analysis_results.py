"""Scores the raw results of one or several trackers: report.json, report.html, tables and plots.

python tracking/analysis_results.py --benchmark LasHeR --trackers transcmd/tiny
python tracking/analysis_results.py --benchmark LasHeR --annotations gt --results MTNet=results/MTNet --output_dir out
python tracking/analysis_results.py --benchmark VisEvent --trackers transcmd/tiny --protocol official,strict,pytracking
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401

from lib.config.loader import ConfigError, load_config
from lib.data.datasets import build_dataset, build_store
from lib.evaluation.benchmarks import BENCHMARKS, own_benchmark
from lib.evaluation.evaluate import evaluate_protocols
from lib.evaluation.rules.base import PROTOCOLS, Benchmark
from lib.evaluation.truth import Truth, truth_from_folder, truth_from_sequences
from lib.report.save import save_evaluations
from lib.report.tables import page
from lib.results.folder import find_trackers
from lib.utils.cli import Parser, run_command
from lib.utils.files import check_writable


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--benchmark",
        "--dataset_name",
        dest="dataset_name",
        required=True,
        metavar="NAME",
        help=f"benchmark to score: {', '.join(BENCHMARKS)}, or own data, a name in DATA.CUSTOM of --config",
    )
    parser.add_argument(
        "--results",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=DIR",
        help="a tracker and the folder of its raw results",
    )
    parser.add_argument(
        "--trackers",
        nargs="+",
        action="extend",
        default=[],
        metavar="TRACKER/CONFIG",
        help="a tracker with raw results in save_dir",
    )
    parser.add_argument(
        "--save_dir",
        type=Path,
        default="output",
        help="output folder; without --results and --trackers, all trackers found in it are scored",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        help="folder of <sequence>.txt files, or the data set; default: the data set in the configuration",
    )
    parser.add_argument("--config", default="tiny", help="experiment whose DATA.ROOT and DATA.ROOTS are used")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/ssd; repeatable"
    )
    parser.add_argument("--output_dir", type=Path, help="default <save_dir>/test/reports/<benchmark>")
    parser.add_argument(
        "--attributes", type=Path, help="folder of attribute files; default: the one beside the annotations"
    )
    parser.add_argument(
        "--protocol",
        default="official",
        metavar="NAME[,NAME]",
        help=f"{', '.join(PROTOCOLS)}; several are shown side by side",
    )
    parser.add_argument("--allow-missing", action="store_true", help="score the sequences that all trackers have")
    return parser.parse_args()


def find_benchmark(args: argparse.Namespace) -> Benchmark:
    """Returns a row of BENCHMARKS, or the benchmark of own data in the configuration."""
    name = args.dataset_name
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    own = list(load_config("transcmd", args.config, args.set).DATA.CUSTOM)
    if name not in own:
        known = ", ".join([*BENCHMARKS, *own])
        raise ConfigError(f"--benchmark: unknown benchmark '{name}'; own data need DATA.CUSTOM; known: {known}")
    return own_benchmark(name)


def load_truth(args: argparse.Namespace, benchmark: Benchmark) -> Truth:
    """Loads the ground truth from --annotations, or from the data set in the configuration."""
    if args.annotations:
        if not args.annotations.exists():
            raise FileNotFoundError(f"--annotations {args.annotations}: no such folder")
        return truth_from_folder(benchmark, args.annotations)
    try:
        cfg = load_config("transcmd", args.config, args.set)
        store = build_store(cfg, benchmark.dataset)
        sequences = build_dataset(cfg, benchmark.dataset, store=store)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; if you have only the annotations, use --annotations DIR") from None
    return truth_from_sequences(benchmark, sequences, store)


def main() -> None:
    args = parse_args()
    benchmark, protocols = find_benchmark(args), dict.fromkeys(map(str.strip, args.protocol.split(",")))
    benchmarks = [benchmark.under(protocol) for protocol in protocols]
    folders = find_trackers(args.save_dir, benchmark.name, args.trackers, args.results)
    folder = args.output_dir or args.save_dir / "test" / "reports" / benchmark.name
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output_dir {folder}: expected a folder, got a file")
    truth = load_truth(args, benchmark)
    check_writable(folder)
    evaluations = evaluate_protocols(benchmarks, truth, folders, args.allow_missing, args.attributes)
    paths = save_evaluations(evaluations, truth, folder)  # before anything is printed, so that no file depends on it
    print(page(evaluations[0].report), *paths, sep="\n")


if __name__ == "__main__":
    run_command(main)
