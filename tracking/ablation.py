"""What each part of the method is worth: the ladder of METHOD.md B.10 and its controls, over several seeds.

python tracking/ablation.py --seeds 1 2 3 --jobs 2
python tracking/ablation.py --rows scratch joint --seeds 1

Every run is kept; run again to go on, and to add rows or seeds. All rows of a seed see the same samples in the same
order, with the same initial weights where they share them; samples and the teacher's answers are drawn once.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _init_paths

from lib.config.loader import load_config
from lib.evaluation.ladder import ROWS, Row, to_json, to_markdown
from lib.utils.cli import run_child, run_command
from lib.utils.files import write_text

PRETRAINED = {
    "cmae_random": "pretrain_random",
    "cmae_redundancy": "pretrain_redundancy",
    **dict.fromkeys(
        ("cmae", "scfd", "mpsd", "response", "cosine", "content_style", "mpsd_uniform", "fused"),
        "pretrain_complementarity",
    ),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--save_dir", default="output/ablation")
    parser.add_argument("--train_sequences", type=int, default=200, help="of each kind")
    parser.add_argument("--teacher", help="checkpoint; default: the one that the rows' YAML names")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--workers", type=int, default=2, help="processes for drawing samples")
    parser.add_argument("--keep_cache", action="store_true", help="9 GB a seed; else gone when its rows are finished")
    parser.add_argument("--device", default="")
    parser.add_argument("--report", action="store_true", help="only write the table of what is finished")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run; repeatable")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.report:
        return report(args)
    make_data(args)
    failed = [run for seed in args.seeds for run in train_rows(args, seed)]
    for config, seed in failed:
        print(f"failed: {config}, seed {seed}: see {folder(args, seed)}/logs/transcmd-ablation/{config}.txt")
    return 1 if failed else 0


def train_rows(args: argparse.Namespace, seed: int) -> list[tuple[str, int]]:
    """All rows of a seed, and before them what they start from. Returns those that failed."""
    if all(finished(args, row, seed) for row in args.rows):
        return []
    fill_caches(args, seed)
    first = sorted({PRETRAINED[row] for row in args.rows if row in PRETRAINED})
    first += [row for row in args.rows if row not in PRETRAINED]  # they wait for nothing
    failed = []
    for configs in (first, [row for row in args.rows if row in PRETRAINED]):
        with ThreadPoolExecutor(args.jobs) as pool:
            done = pool.map(lambda config: train(args, config, seed), configs)
            failed += [(config, seed) for config, good in zip(configs, done, strict=True) if not good]
        report(args)
    if not (failed or args.keep_cache):
        shutil.rmtree(cache(args, seed))
    return failed


def tracking_command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(_init_paths.ROOT / "tracking" / name), *map(str, arguments)]


def make_data(args: argparse.Namespace) -> None:
    root = load_config("transcmd", "ablation/scratch", args.set).DATA.ROOT
    sizes = ["--train_sequences", args.train_sequences, "--test_sequences", 1, "--workers", args.workers]
    if code := run_child(tracking_command("make_demo_data.py", "--output", root, *sizes)):
        sys.exit(code)


def fill_caches(args: argparse.Namespace, seed: int) -> None:
    """Draws the samples of a seed, once, for all rows; as many epochs as the longest of them takes."""
    from lib.data.loader import fill_cache

    configs = [load_config("transcmd", f"ablation/{row}", overrides(args, seed)) for row in args.rows]
    fill_cache(max(configs, key=lambda cfg: cfg.TRAIN.EPOCH), args.workers)


def folder(args: argparse.Namespace, seed: int) -> Path:
    return Path(args.save_dir) / f"seed{seed}"


def cache(args: argparse.Namespace, seed: int) -> Path:
    return (Path(args.save_dir) / "cache" / f"seed{seed}").resolve()


def overrides(args: argparse.Namespace, seed: int) -> list[str]:
    place = cache(args, seed)
    teacher = [f"TRAIN.TEACHER.CHECKPOINT={Path(args.teacher).resolve()}"] if args.teacher else []
    return [f"TRAIN.SEED={seed}", f"DATA.CACHE={place}", f"TRAIN.TEACHER.CACHE={place}/teacher", *teacher, *args.set]


def set_words(pairs: list[str]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def finished(args: argparse.Namespace, config: str, seed: int) -> bool:
    from lib.train.predecessors import is_finished, newest

    path = newest("transcmd", f"ablation/{config}", folder(args, seed))
    return path is not None and is_finished(path) and times_path(args, config, seed).is_file()


def times_path(args: argparse.Namespace, config: str, seed: int) -> Path:
    return folder(args, seed) / "logs" / "transcmd-ablation" / f"{config}.json"


def train(args: argparse.Namespace, config: str, seed: int) -> bool:
    """One run, unless it is finished; its time and what it printed are kept. True where it succeeded."""
    if finished(args, config, seed):
        return True
    save_dir = folder(args, seed)
    arguments = ["--config", f"ablation/{config}", "--resume", "--save_dir", save_dir, "--device", args.device]
    times = times_path(args, config, seed)
    times.parent.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {config}", flush=True)
    environment = dict(os.environ)
    if args.jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))
    begin = time.monotonic()
    with times.with_suffix(".txt").open("a", encoding="utf-8") as output:
        command = tracking_command("train.py", *arguments, *set_words(overrides(args, seed)))
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
    if code == 0:
        write_text(times, json.dumps({"seconds": time.monotonic() - begin}))
    return code == 0


def report(args: argparse.Namespace) -> int:
    """Writes ladder.json, ladder.md and ladder.png of every finished run, of whatever rows and seeds."""
    from lib.evaluation.plots import plot_ladder
    from lib.train.predecessors import newest

    rows = []
    for name, (title, reference) in ROWS.items():
        row = Row(name, title, reference)
        for seed in sorted(int(place.name[4:]) for place in Path(args.save_dir).glob("seed*")):
            if finished(args, name, seed):
                path = newest("transcmd", f"ablation/{name}", folder(args, seed)).with_name("validation.json")
                took = json.loads(times_path(args, name, seed).read_text(encoding="utf-8"))["seconds"]
                row.add(seed, json.loads(path.read_text(encoding="utf-8")), took)
        rows.append(row)
    save_dir = Path(args.save_dir)
    write_text(save_dir / "ladder.json", to_json(rows))
    write_text(save_dir / "ladder.md", to_markdown(rows))
    if any(row.seeds for row in rows):
        plot_ladder([row for row in rows if row.seeds], save_dir / "ladder")
    print(to_markdown(rows))
    return 0


if __name__ == "__main__":
    run_command(main)
