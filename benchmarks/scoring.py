"""How long scoring takes: one tracker against the package rgbt on the same files, and twenty trackers with one command.

python benchmarks/scoring.py
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.benchmarks import LASHER
from lib.evaluation.evaluate import evaluate
from lib.utils.cli import Parser, integer


def score_ours(reference: Path, tracker: str) -> dict[str, float]:
    """Reads annotations and results, scores, and resamples for intervals."""
    annotations = annotations_from_folder(reference / "gt/LasHeR_test")
    report = evaluate(LASHER, annotations, {tracker: reference / "results/LasHeR" / tracker})
    return report.trackers[tracker].scores


def score_rgbt(reference: Path, tracker: str) -> dict[str, float]:
    """The same with the package rgbt, which brings its own copy of the annotations."""
    import rgbt

    data = rgbt.LasHeR()
    data(tracker_name=tracker, result_path=str(reference / "results/LasHeR" / tracker))
    return {metric: 100 * getattr(data, metric)(tracker)[0] for metric in ("PR", "NPR", "SR")}


def compare(reference: Path, tracker: str, rounds: int) -> None:
    """Both in turn, in this process; what they read is in the system's file cache after the first round."""
    import rgbt  # noqa: F401  its import is not timed, nor is ours

    seconds: dict[str, list[float]] = {"ours": [], "rgbt": []}
    for number in range(rounds + 1):
        for name, run in (("ours", score_ours), ("rgbt", score_rgbt)):
            begin = time.perf_counter()
            scores = run(reference, tracker)
            if number:  # the first round warms the file cache for both
                seconds[name].append(time.perf_counter() - begin)
            else:
                print(name, {metric: round(scores[metric], 2) for metric in ("PR", "NPR", "SR")})
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"{name}: median {medians[name]:.3f} s of {', '.join(f'{v:.3f}' for v in values)}")
    print(f"rgbt takes {medians['rgbt'] / medians['ours']:.1f} times as long")


def score_many(reference: Path, count: int) -> None:
    """The whole command, with its tables, figures and page, for many trackers: published ones, several times over."""
    folders = sorted((reference / "results/LasHeR").iterdir())
    results = [f"tracker{i:02d}_{folders[i % len(folders)].name}={folders[i % len(folders)]}" for i in range(count)]
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, ROOT / "tracking/analysis_results.py", "--benchmark", "LasHeR"]
        command += ["--annotations", reference / "gt/LasHeR_test", "--attributes", reference / "gt/LasHeR_attr"]
        command += ["--output_dir", output, "--results", *results]
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        size = sum(path.stat().st_size for path in Path(output).rglob("*")) / 2**20
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10  # KiB on Linux
    print(f"{count} trackers, with tables, figures and page: {seconds:.1f} s, {peak:.0f} MiB, wrote {size:.1f} MiB")


def main() -> None:
    parser = Parser(__doc__)
    default = Path(os.environ.get("TRANSCMD_SHARED", ROOT.parent / "shared")) / "reference"
    parser.add_argument("--reference", type=Path, default=default, help="holds gt/ and results/")
    parser.add_argument("--tracker", default="MTNet", help="folder in results/")
    parser.add_argument("--rounds", type=integer(1), default=5, help="repetitions")
    parser.add_argument("--many", type=integer(0), default=20, help="trackers for the second part; 0: none")
    args = parser.parse_args()
    if not (args.reference / "gt").is_dir():
        parser.error(f"{args.reference} holds no gt/; set TRANSCMD_SHARED")
    compare(args.reference, args.tracker, args.rounds)
    if args.many:
        score_many(args.reference, args.many)


if __name__ == "__main__":
    main()
