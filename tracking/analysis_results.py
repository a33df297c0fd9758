"""Raw results → report.json, report.html, tables and plots, for one or several trackers.

python tracking/analysis_results.py --benchmark LasHeR --trackers transcmd/tiny
python tracking/analysis_results.py --benchmark LasHeR --annotations gt --results MTNet=results/MTNet --output_dir out
python tracking/analysis_results.py --benchmark VisEvent --trackers transcmd/tiny --protocol official,strict,pytracking
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import _init_paths  # noqa: F401
import numpy as np

from lib.config.loader import load_config
from lib.data.datasets import build_store, load_dataset
from lib.data.sequence import Sequence
from lib.data.storage import DiskStore, open_store
from lib.data.synthetic import read_manifest
from lib.evaluation.annotations import (
    Annotation,
    annotations_from_folder,
    annotations_from_sequences,
    holds_annotations_alone,
)
from lib.evaluation.attributes import find_folder, read_attributes
from lib.evaluation.benchmarks import BENCHMARKS, PROTOCOLS, Benchmark, under_protocol
from lib.evaluation.evaluate import Results, load_results, overlap_traces, score_results
from lib.evaluation.report import Report
from lib.evaluation.rules import LongTermRule, MultiStartRule
from lib.report.html import write_html
from lib.report.moments import Moment, draw_moments, find_moments
from lib.report.palette import PLOTS
from lib.report.plots import draw_plots
from lib.report.tables import page, save_report
from lib.utils.cli import run_command

MOMENTS = 24  # thumbnails in report.html


class Truth(NamedTuple):
    """What results are scored against."""

    annotations: list[Annotation]
    sequences: dict[str, Sequence]  # by name; empty where there are no images
    source: str  # what the data are, if not the benchmark's own
    folder: Path | None  # where attributes may lie


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--benchmark", "--dataset_name", dest="dataset_name", required=True, choices=BENCHMARKS, help="what to score"
    )
    parser.add_argument(
        "--results", nargs="+", action="extend", default=[], metavar="NAME=DIR", help="raw results, anywhere"
    )
    parser.add_argument(
        "--trackers", nargs="+", action="extend", default=[], metavar="TRACKER/CONFIG", help="raw results in save_dir"
    )
    parser.add_argument("--save_dir", type=Path, default="output", help="with neither of them: all trackers found here")
    parser.add_argument(
        "--annotations", type=Path, help="folder of <sequence>.txt, or the data set; else as configured"
    )
    parser.add_argument("--config", default="tiny", help="experiment whose DATA.ROOT and ROOTS tell where data lies")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/ssd; repeatable"
    )
    parser.add_argument("--output_dir", type=Path, help="default <save_dir>/test/reports/<benchmark>")
    parser.add_argument("--attributes", type=Path, help="folder of attribute flags; default: beside the annotations")
    parser.add_argument(
        "--protocol", default="official", metavar="NAME[,NAME]", help=f"{', '.join(PROTOCOLS)}; several: side by side"
    )
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


def load_truth(args: argparse.Namespace, benchmark: Benchmark) -> Truth:
    """Ground truth from --annotations, or from the data set that the configuration names."""
    folder = args.annotations
    if folder is None:
        try:
            store = build_store(load_config("transcmd", args.config, args.set), benchmark.dataset)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; ground truth without images will do: --annotations DIR") from None
    elif not folder.exists():
        raise FileNotFoundError(f"--annotations {folder}: no such folder")
    elif folder.is_dir() and holds_annotations_alone(folder):
        return Truth(annotations_from_folder(folder), {}, "", folder)
    else:
        store = open_store(folder, benchmark.dataset)
    root = store.root if isinstance(store, DiskStore) else None
    source = "synthetic data" if root and read_manifest(root.parent) else ""
    sequences = [sequence.thinned(benchmark.rule.every) for sequence in load_dataset(benchmark.dataset, store)]
    drawn = isinstance(benchmark.rule, LongTermRule | MultiStartRule)  # overlaps of masks, cut to the image
    anchors = isinstance(benchmark.rule, MultiStartRule)
    annotations = annotations_from_sequences(sequences, with_size=drawn, with_anchors=anchors)
    return Truth(annotations, {sequence.name: sequence for sequence in sequences}, source, root)


def load_attributes(args: argparse.Namespace, benchmark: Benchmark, results: Results, truth: Truth) -> dict:
    """Which of the scored sequences have which attribute; empty where no flags lie beside the annotations."""
    names = [annotation.name for annotation in results.annotations]
    folder = args.attributes
    if folder is None and benchmark.attributes and truth.folder:
        folder = find_folder(truth.folder, names, inside=True)
    return read_attributes(folder, benchmark.attributes, names) if folder else {}


def worst_moments(
    report: Report, results: Results, traces: dict[str, dict[str, np.ndarray]], truth: Truth
) -> list[Moment]:
    """Pictures of where trackers went wrong, where images are at hand; in the report's order, which sets colours."""
    if not (truth.sequences and traces):
        return []
    names = [annotation.name for annotation in results.annotations]
    boxes = {
        tracker: {name: output.boxes_xywh for name, output in zip(names, results.outputs[tracker], strict=True)}
        for tracker in report.ranked(report.metrics[-1])
    }
    return draw_moments(find_moments(traces, MOMENTS), truth.sequences, boxes)


def clear_report(folder: Path) -> None:
    """Removes what an earlier run left in the folder, so that no old table or figure stands beside the new ones."""
    if not (folder / "report.json").is_file():
        return
    plots = [plot.file for plot in PLOTS.values()] + ["attributes", "robustness"]
    names = [f"report.{suffix}" for suffix in ("json", "md", "csv", "tex", "html")] + [
        "sequences.csv",
        "attributes.csv",
    ]
    for name in [*names, *(f"{plot}{suffix}" for plot in plots for suffix in (".png", ".pdf"))]:
        (folder / name).unlink(missing_ok=True)


def save_all(report: Report, results: Results, truth: Truth, folder: Path) -> list[Path]:
    """Tables, plots and the page; returns their paths."""
    traces = overlap_traces(results)
    paths = save_report(report, folder) + draw_plots(report, folder)
    write_html(report, traces, worst_moments(report, results, traces, truth), folder / "report.html")
    return [*paths, folder / "report.html"]


def main() -> None:
    args = parse_args()
    benchmark = BENCHMARKS[args.dataset_name]
    chosen = [under_protocol(benchmark, name) for name in dict.fromkeys(map(str.strip, args.protocol.split(",")))]
    folders = find_folders(args)
    folder = args.output_dir or args.save_dir / "test" / "reports" / benchmark.name
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output_dir {folder}: is a file, expected a folder")
    truth = load_truth(args, benchmark)
    loaded = [load_results(rules, truth.annotations, folders, args.allow_missing) for rules in chosen]
    reports = [
        score_results(rules, results, truth.source, load_attributes(args, rules, results, truth))
        for rules, results in zip(chosen, loaded, strict=True)
    ]
    first = reports[0].with_beside(reports[1:])
    print(page(first))
    for place in (folder, *(folder / protocol for protocol in PROTOCOLS)):
        clear_report(place)
    targets = [folder, *(folder / report.protocol for report in reports[1:])]
    for report, results, target in zip([first, *reports[1:]], loaded, targets, strict=True):
        print(*save_all(report, results, truth, target), sep="\n")


if __name__ == "__main__":
    run_command(main)
