"""The whole way on synthetic data, with the commands a user would type: make data, pretrain, distil, test, plot.

python tracking/run_demo.py
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _init_paths

from lib.config.loader import load_config
from lib.data.datasets import load_dataset
from lib.data.storage import open_store
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import LASHER
from lib.evaluation.evaluate import evaluate
from lib.evaluation.report import Report
from lib.utils.cli import run_child, run_command

BENCHMARKS = ("LasHeR", "DepthTrack", "VisEvent")
TEACHER = "pretrained_models/teacher_nano.safetensors"
ROWS = {  # table row → result folder
    "a box that never moves": "static/demo",
    "student, RGB alone": "transcmd/demo_drop_aux",
    "student, the other one alone": "transcmd/demo_drop_rgb",
    "student without distillation": "transcmd/demo_supervised",
    "student, distilled": "transcmd/demo",
    "teacher": "transcmd/teacher_nano",
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save_dir", default="output", help="where checkpoints, results and plots go")
    parser.add_argument("--workers", type=int, default=2, help="processes for making data and tracking")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. TRAIN.EPOCH=1; repeatable"
    )
    return parser.parse_args()


def run(command: str, *arguments: str) -> None:
    """Runs one of our commands and shows it; ends the demo with its exit status where it fails."""
    print(f"\n$ python tracking/{command} {' '.join(arguments)}", flush=True)
    code = run_child([sys.executable, str(_init_paths.ROOT / "tracking" / command), *arguments])
    if code:
        sys.exit(code)


def run_side_by_side(commands: list[list[str]], workers: int) -> None:
    """As `run`, with one core each and several at a time; what they print is shown as each is done."""

    def start(command: list[str]) -> tuple[list[str], subprocess.CompletedProcess]:
        line = [sys.executable, str(_init_paths.ROOT / "tracking" / command[0]), *command[1:]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return command, subprocess.run(
            line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    with ThreadPoolExecutor(workers) as pool:
        for command, done in pool.map(start, commands):
            print(f"\n$ python tracking/{' '.join(command)}\n{done.stdout}", end="", flush=True)
            if done.returncode:
                sys.exit(done.returncode)


def main() -> None:
    args, start = parse_args(), time.monotonic()
    os.environ.pop("TRANSCMD_DATA", None)  # where real data lie; the demo's have their own place
    overrides = [word for pair in args.set for word in ("--set", pair)]
    save_dir = ["--save_dir", args.save_dir]
    data_root = load_config("transcmd", "demo", args.set).DATA.ROOT
    run("make_demo_data.py", "--output", data_root, "--workers", str(args.workers))
    for config in ("demo_pretrain", "demo", "demo_supervised"):
        run("train.py", "--script", "transcmd", "--config", config, "--overwrite", *save_dir, *overrides)
    common = ["--dataset_name", *BENCHMARKS, *save_dir, *overrides]
    teacher = ["--checkpoint", str(_init_paths.ROOT / TEACHER), "--set", f"DATA.ROOT={data_root}"]
    run_side_by_side(
        [
            ["test.py", "transcmd", "teacher_nano", *teacher, *common],
            *(["test.py", "transcmd", config, *common] for config in ("demo", "demo_supervised")),
            *(["test.py", "transcmd", "demo", "--drop", modality, *common] for modality in ("rgb", "aux")),
            ["test.py", "static", "demo", *common],
        ],
        args.workers,
    )
    trackers = ["--trackers", *ROWS.values()]
    run_side_by_side(
        [
            ["analysis_results.py", "--config", "demo", "--dataset_name", benchmark, *trackers, *save_dir, *overrides]
            for benchmark in BENCHMARKS
        ],
        args.workers,
    )
    print_table(Path(args.save_dir), data_root)
    print(f"\n{time.monotonic() - start:.0f} s in all")


def print_table(save_dir: Path, data_root: str) -> None:
    """The benchmarks' own scores, and the success rate by LasHeR's rule on all three sets; and where the plots lie."""
    columns: dict[str, list[float]] = {}
    for name in BENCHMARKS:
        report = Report.from_json(save_dir / "test" / "reports" / name / "report.json")
        sequences = load_dataset(name, open_store(Path(data_root) / name, name))
        folders = {tracker: save_dir / "test" / "tracking_results" / tracker / name for tracker in ROWS.values()}
        success = evaluate(LASHER, annotations_from_sequences(sequences), folders)
        official = "F" if "F" in report.metrics else "PR"
        columns[f"{name} {official}"] = [report.trackers[tracker].scores[official] for tracker in ROWS.values()]
        columns[f"{name} SR"] = [success.trackers[tracker].scores["SR"] for tracker in ROWS.values()]
    print(f"\n| {'per cent':30} | {' | '.join(columns)} |")
    print(f"| {'-' * 30} | {' | '.join('-' * (len(column) - 1) + ':' for column in columns)} |")
    for row, title in enumerate(ROWS):
        print(f"| {title:30} | {' | '.join(f'{v[row]:{len(column)}.1f}' for column, v in columns.items())} |")
    print("\nPlots:")
    for path in sorted((save_dir / "test" / "reports").glob("*/*.png")):
        print(f"  {path}")


if __name__ == "__main__":
    run_command(main)
