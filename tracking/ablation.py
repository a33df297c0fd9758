"""What each part of the method is worth: the ladder of METHOD.md B.10 and its controls, over several seeds.

python tracking/ablation.py --seeds 1 2 3
python tracking/ablation.py --rows scratch joint --seeds 1 --jobs 2

Every run is kept; run again to go on, and to add rows or seeds. All rows of a seed see the same samples in the same
order, with the same initial weights where they share them.
"""

import argparse
import json
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
    parser.add_argument("--teacher", help="checkpoint, instead of training one")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--workers", type=int, default=2, help="processes for drawing samples")
    parser.add_argument("--device", default="")
    parser.add_argument("--report", action="store_true", help="only write the table of what is finished")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run; repeatable")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.report:
        return report(args)
    make_data(args)
    teacher = args.teacher or train_teacher(args)
    for seed in args.seeds:
        fill_caches(args, seed)
    needed = {PRETRAINED[row] for row in args.rows if row in PRETRAINED}
    failed = []
    for stage in (sorted(needed), args.rows):  # what several rows start from, then the rows
        runs = [(config, seed) for seed in args.seeds for config in stage]
        with ThreadPoolExecutor(args.jobs) as pool:
            failed += [
                run
                for run, done in zip(runs, pool.map(lambda r: train(args, teacher, *r), runs), strict=True)
                if not done
            ]
        report(args)
    for config, seed in failed:
        print(f"failed: {config}, seed {seed}: see {folder(args, seed)}/logs/transcmd-ablation/{config}.txt")
    return 1 if failed else 0


def tracking_command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(_init_paths.ROOT / "tracking" / name), *map(str, arguments)]


def make_data(args: argparse.Namespace) -> None:
    root = load_config("transcmd", "ablation/scratch", args.set).DATA.ROOT
    sizes = ["--train_sequences", args.train_sequences, "--test_sequences", 1, "--workers", args.workers]
    if code := run_child(tracking_command("make_demo_data.py", "--output", root, *sizes)):
        sys.exit(code)


def train_teacher(args: argparse.Namespace) -> Path:
    """One teacher for all rows and seeds; trained on, if it is not finished."""
    save_dir = Path(args.save_dir) / "teacher"
    arguments = ["--config", "ablation/teacher", "--chain", "--save_dir", save_dir, "--device", args.device]
    workers = ["--set", f"TRAIN.NUM_WORKER={args.workers}"]
    if code := run_child(tracking_command("train.py", *arguments, *workers, *set_words(args.set))):
        sys.exit(code)
    from lib.train.predecessors import finished_checkpoint

    return finished_checkpoint("transcmd", "ablation/teacher", save_dir, "teacher")


def fill_caches(args: argparse.Namespace, seed: int) -> None:
    """Draws the samples of a seed, once, for all rows; as many epochs as the longest of them takes."""
    from lib.data.loader import fill_cache

    configs = [load_config("transcmd", f"ablation/{row}", overrides(args, seed)) for row in args.rows]
    fill_cache(max(configs, key=lambda cfg: cfg.TRAIN.EPOCH), args.workers)


def folder(args: argparse.Namespace, seed: int) -> Path:
    return Path(args.save_dir) / f"seed{seed}"


def overrides(args: argparse.Namespace, seed: int) -> list[str]:
    cache = (Path(args.save_dir) / "cache" / f"seed{seed}").resolve()
    return [f"TRAIN.SEED={seed}", f"DATA.CACHE={cache}", *args.set]


def set_words(pairs: list[str]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def train(args: argparse.Namespace, teacher: Path, config: str, seed: int) -> bool:
    """One run, unless it is finished; its time and what it printed are kept. True where it succeeded."""
    from lib.train.predecessors import is_finished, newest

    path = newest("transcmd", f"ablation/{config}", folder(args, seed))
    if path is not None and is_finished(path):
        return True
    settings = [*overrides(args, seed), f"TRAIN.TEACHER.CHECKPOINT={Path(teacher).resolve()}"]
    arguments = ["--config", f"ablation/{config}", "--chain", "--save_dir", folder(args, seed), "--device", args.device]
    log = folder(args, seed) / "logs" / "transcmd-ablation" / f"{config}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {config}", flush=True)
    begin = time.monotonic()
    with log.open("a", encoding="utf-8") as output:
        command = tracking_command("train.py", *arguments, *set_words(settings))
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    if code == 0:
        write_text(log.with_suffix(".json"), json.dumps({"seconds": time.monotonic() - begin}))
    return code == 0


def report(args: argparse.Namespace) -> int:
    """Writes ladder.json, ladder.md and ladder.png of every finished run, of whatever rows and seeds."""
    from lib.evaluation.plots import plot_ladder
    from lib.train.predecessors import is_finished, newest

    rows = []
    for name, (title, reference) in ROWS.items():
        row = Row(name, title, reference)
        for place in sorted(Path(args.save_dir).glob("seed*"), key=lambda p: int(p.name[4:])):
            path = newest("transcmd", f"ablation/{name}", place)
            times = place / "logs" / "transcmd-ablation" / f"{name}.json"
            if path is not None and is_finished(path) and times.is_file():
                validation = json.loads(path.with_name("validation.json").read_text(encoding="utf-8"))
                row.add(int(place.name[4:]), validation, json.loads(times.read_text(encoding="utf-8"))["seconds"])
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
