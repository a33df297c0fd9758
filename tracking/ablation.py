"""What each part of the method is worth: the ladder and its controls, over several seeds (docs/method.md).

python tracking/ablation.py --seeds 1 2 3 --jobs 2
python tracking/ablation.py --rows scratch joint --seeds 1

Every run is kept; run again to go on, and to add rows or seeds. All rows of a seed see the same samples in the same
order, with the same initial weights where they share them; samples and the teacher's answers are drawn once, and kept
until all rows of the seed are finished.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _init_paths

from lib.config.loader import load_config
from lib.study.ladder import ROWS, Row, to_json, to_markdown
from lib.utils.cli import run_child, run_command
from lib.utils.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--save_dir", type=Path, default="output/ablation")
    parser.add_argument("--train_sequences", type=int, default=200, help="of each kind")
    parser.add_argument("--teacher", type=Path, help="checkpoint; default: the one that the rows' YAML names")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--workers", type=int, default=2, help="processes for drawing samples")
    parser.add_argument("--device", default="")
    parser.add_argument("--report", action="store_true", help="only write the table of what is finished")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run; repeatable")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.report:
        return report(args)
    keep_settings(args)
    make_data(args)
    failed = [run for seed in args.seeds for run in train_rows(args, seed)]
    for config, seed in failed:
        print(f"failed: {config}, seed {seed}: see {log_path(args, config, seed)}")
    return 1 if failed else 0


def keep_settings(args: argparse.Namespace) -> None:
    """Notes what all runs of a save_dir share. Raises ValueError where earlier ones were made otherwise."""
    if args.teacher and not args.teacher.is_file():
        raise FileNotFoundError(f"--teacher {args.teacher}: no such checkpoint")
    teacher = str(args.teacher.resolve()) if args.teacher else ""
    settings = {"set": args.set, "teacher": teacher, "train_sequences": args.train_sequences}
    path = args.save_dir / "settings.json"
    if path.is_file() and (made := json.loads(path.read_text(encoding="utf-8"))) != settings:
        raise ValueError(
            f"{path}: made with {made}, asked for {settings}, which do not compare; use another --save_dir"
        )
    write_text(path, json.dumps(settings))


def make_data(args: argparse.Namespace) -> None:
    root = load_config("transcmd", "ablation/scratch", args.set).DATA.ROOT
    sizes = ["--train_sequences", args.train_sequences, "--test_sequences", 1, "--workers", args.workers]
    if code := run_child(tracking_command("make_demo_data.py", "--output", root, *sizes)):
        sys.exit(code)


def train_rows(args: argparse.Namespace, seed: int) -> list[tuple[str, int]]:
    """All rows of a seed, and before them what they start from. Returns those that failed."""
    if all(finished(args, row, seed) for row in args.rows):
        return []
    fill_caches(args, seed)
    needed = {row: load_config("transcmd", f"ablation/{row}").MODEL.PRETRAIN_CONFIG for row in args.rows}
    first = sorted({config.removeprefix("ablation/") for config in needed.values() if config})
    first += [row for row in args.rows if not needed[row]]  # they wait for nothing
    failed = []
    for configs in (first, [row for row in args.rows if needed[row]]):
        failed += train_side_by_side(args, configs, seed)
        report(args)
    if all(finished(args, row, seed) for row in ROWS):
        shutil.rmtree(cache(args, seed))
    return failed


def train_side_by_side(args: argparse.Namespace, configs: list[str], seed: int) -> list[tuple[str, int]]:
    """As many at a time as --jobs says; when this command is stopped, so are they, each in its own way."""
    children: list[subprocess.Popen] = []
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            done = list(pool.map(lambda config: train(args, config, seed, children), configs))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            raise
    return [(config, seed) for config, good in zip(configs, done, strict=True) if not good]


def train(args: argparse.Namespace, config: str, seed: int, children: list[subprocess.Popen]) -> bool:
    """One run, unless it is finished; what it printed is kept. True where it succeeded."""
    if finished(args, config, seed):
        return True
    save_dir, log = folder(args, seed), log_path(args, config, seed)
    arguments = ["--config", f"ablation/{config}", "--resume", "--save_dir", save_dir, "--device", args.device]
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {config}", flush=True)
    environment = dict(os.environ)
    if args.jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))
    with log.open("a", encoding="utf-8") as output:
        command = tracking_command("train.py", *arguments, *set_words(overrides(args, seed)))
        children.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment))
        return children[-1].wait() == 0


def finished(args: argparse.Namespace, config: str, seed: int) -> bool:
    """Whether a run has its last checkpoint and was validated after it."""
    from lib.train.prerequisites import is_finished, newest

    path = newest("transcmd", f"ablation/{config}", folder(args, seed))
    if path is None or not is_finished(path) or not (record := path.with_name("validation.json")).is_file():
        return False
    return path.name.endswith(f"_ep{json.loads(record.read_text(encoding='utf-8'))['epoch']:04d}.pth.tar")


def fill_caches(args: argparse.Namespace, seed: int) -> None:
    """Draws the samples of a seed, once, for all rows; as many epochs as the longest of them takes."""
    from lib.data.loader import fill_cache

    configs = [load_config("transcmd", f"ablation/{row}", overrides(args, seed)) for row in args.rows]
    fill_cache(max(configs, key=lambda cfg: cfg.TRAIN.EPOCH), args.workers)


def report(args: argparse.Namespace) -> int:
    """Writes ladder.json, ladder.md and ladder.png of every finished run, of whatever rows and seeds."""
    from lib.study.ladder import draw_ladder
    from lib.train.prerequisites import newest

    rows = []
    for name, (title, reference) in ROWS.items():
        row = Row(name, title, reference)
        for seed in sorted(int(place.name[4:]) for place in args.save_dir.glob("seed*")):
            if finished(args, name, seed):
                path = newest("transcmd", f"ablation/{name}", folder(args, seed)).with_name("validation.json")
                row.add(seed, json.loads(path.read_text(encoding="utf-8")))
        rows.append(row)
    write_text(args.save_dir / "ladder.json", to_json(rows))
    write_text(args.save_dir / "ladder.md", to_markdown(rows))
    draw_ladder(rows, args.save_dir / "ladder")
    print(to_markdown(rows))
    return 0


def tracking_command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(_init_paths.ROOT / "tracking" / name), *map(str, arguments)]


def folder(args: argparse.Namespace, seed: int) -> Path:
    return args.save_dir / f"seed{seed}"


def log_path(args: argparse.Namespace, config: str, seed: int) -> Path:
    return folder(args, seed) / "logs" / "transcmd-ablation" / f"{config}.txt"


def cache(args: argparse.Namespace, seed: int) -> Path:
    return (args.save_dir / "cache" / f"seed{seed}").resolve()


def overrides(args: argparse.Namespace, seed: int) -> list[str]:
    place = cache(args, seed)
    teacher = [f"TRAIN.TEACHER.CHECKPOINT={args.teacher.resolve()}"] if args.teacher else []
    return [f"TRAIN.SEED={seed}", f"DATA.CACHE={place}", f"TRAIN.TEACHER.CACHE={place}/teacher", *teacher, *args.set]


def set_words(pairs: list[str]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


if __name__ == "__main__":
    run_command(main)
