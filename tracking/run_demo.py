"""Tracks in two drawn videos with the shipped student, then runs the whole pipeline on synthetic data with the other
commands: make data, pretrain, distil, test, score, plot.

python tracking/run_demo.py
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import _init_paths  # noqa: F401

from lib.config.loader import load_config
from lib.study.demo import BENCHMARKS, ROWS, demo_table, video_words
from lib.utils.cli import (
    Children,
    Parser,
    integer,
    run_child,
    run_command,
    run_side_by_side,
    set_words,
    tracking_command,
)
from lib.utils.files import check_writable
from lib.utils.paths import PROJECT

SHIPPED = "nano"  # experiment whose weights are part of the repository
VIDEOS = ("LasHeR", "DepthTrack")
TEACHER = PROJECT / "pretrained_models" / "teacher_nano.safetensors"


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--save_dir", default="output", help="folder for checkpoints, results and plots")
    parser.add_argument("--workers", type=integer(1), default=2, help="processes that make data and track")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. TRAIN.EPOCH=1; repeatable"
    )
    return parser.parse_args()


def run(*command: str) -> None:
    """Prints and runs one of our commands. If it fails, the demo ends with its exit status."""
    print(f"\n$ python tracking/{' '.join(command)}", flush=True)
    if code := run_child(tracking_command(*command)):
        sys.exit(code)


def run_several(commands: list[list[str]], workers: int) -> None:
    """Runs several commands in parallel, each on one core. Their output is printed in the given order."""
    options = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}

    def start(children: Children, command: list[str]) -> subprocess.CompletedProcess:
        return children.run(tracking_command(*command), **options)

    for command, done in zip(commands, run_side_by_side(start, commands, workers), strict=True):
        print(f"\n$ python tracking/{' '.join(command)}\n{done.stdout}", end="", flush=True)
        if done.returncode:
            sys.exit(done.returncode)


def track_videos(folder: Path, workers: int) -> None:
    """Draws one short video of each kind and tracks in it with the shipped student, before anything is trained."""
    sizes = "--train_sequences 1 --test_sequences 1 --train_frames 12 --test_frames 60".split()
    words = ["--output", str(folder / "data"), "--datasets", *VIDEOS, "--workers", str(workers)]
    run("make_demo_data.py", *words, *sizes, "--force")
    for name in VIDEOS:
        video = ["--config", SHIPPED, "--save_dir", str(folder), "--output", str(folder / f"{name}.mp4")]
        run("demo.py", *video_words(name, folder / "data"), *video)


def main() -> None:
    args, start = parse_args(), time.monotonic()
    check_writable(args.save_dir)
    os.environ.pop("TRANSCMD_DATA", None)  # the folder of the real data; the demo has its own folder
    settings, save_dir = set_words(args.set), ["--save_dir", args.save_dir]
    data_root = load_config("transcmd", "demo", args.set).DATA.ROOT
    track_videos(Path(args.save_dir) / "videos", args.workers)
    print(f"\nthe first videos are tracked, after {time.monotonic() - start:.0f} s; training follows", flush=True)
    run("make_demo_data.py", "--output", data_root, "--workers", str(args.workers))
    for config in ("demo_pretrain", "demo", "demo_supervised"):
        run("train.py", "--script", "transcmd", "--config", config, "--overwrite", *save_dir, *settings)
    common = ["--dataset_name", *BENCHMARKS, *save_dir, *settings]
    teacher = ["--checkpoint", str(TEACHER), "--set", f"DATA.ROOT={data_root}"]
    run_several(
        [
            ["test.py", "transcmd", "teacher_nano", *teacher, *common],
            *(["test.py", "transcmd", config, *common] for config in ("demo", "demo_supervised")),
            *(["test.py", "transcmd", "demo", "--drop", modality, *common] for modality in ("rgb", "aux")),
            ["test.py", "static", "demo", *common],
        ],
        args.workers,
    )
    trackers = ["--trackers", *("/".join(row) for row in ROWS.values())]
    run_several(
        [
            ["analysis_results.py", "--config", "demo", "--dataset_name", benchmark, *trackers, *save_dir, *settings]
            for benchmark in BENCHMARKS
        ],
        args.workers,
    )
    print(f"\n{demo_table(Path(args.save_dir), Path(data_root))}")
    print("\nPlots:", *sorted((Path(args.save_dir) / "test" / "reports").glob("*/*.png")), sep="\n  ")
    print(f"\n{time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    run_command(main)
