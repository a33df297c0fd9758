"""Speed of the students against a network with the cost of OSTrack-256, in one run, one thread, batch 1.

python benchmarks/speed.py
python benchmarks/speed.py --insert README.md

All trackers take turns. The ratio is the time of `track()` at 640x480 divided by that of OSTrack-256 in float32 in the
same turn. The last column decodes two JPEG files for every frame as well. Weights are random; times do not depend on
them.
"""

import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np

from lib.data.image import decode_color
from lib.deploy.build import REFERENCE, build_network, build_reference, build_torch_tracker, write_kind
from lib.deploy.export import write_onnx
from lib.deploy.memory import BOX
from lib.deploy.metadata import export_path
from lib.deploy.profile import compare, describe_machine
from lib.deploy.runtime import load_tracker
from lib.report.tables import insert_text
from lib.structures import Frame
from lib.tracker.cropped import CropTracker
from lib.utils.cli import Parser, integer, run_command
from lib.utils.misc import set_threads

KINDS = (("onnx", "fp32"), ("onnx", "int8-dynamic"), ("openvino", "fp32"), ("openvino", "bf16"))
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")  # worth naming
MARK = "speed"  # of the table in Markdown files


def build_trackers(configs: list[str], threads: int, folder: Path) -> dict[str, CropTracker]:
    """Returns OSTrack-256, and every experiment in PyTorch and as exports, by name."""
    found: dict[str, CropTracker] = {REFERENCE: build_reference("cpu")}
    for config in configs:
        network = build_network(config, (), None)
        found[f"{config}, PyTorch fp32"] = build_torch_tracker(network, "rgbt", "cpu")
        source = export_path(folder / "source", network.about.config, "fp32", "onnx")
        write_onnx(network.model, network.about, source)
        for runtime, kind in KINDS:
            path = export_path(folder, network.about.config, kind, runtime)
            write_kind(source, kind, path, [])
            found[f"{config}, {runtime} {kind}"] = load_tracker(path, "rgbt", threads)
    return found


def rates_with_decoding(trackers: Mapping[str, CropTracker], rounds: int, frames: int) -> dict[str, float]:
    """Returns the frames per second of decoding two JPEG files of 640x480 and tracking, the median over turns."""
    files = [[cv2.imencode(".jpg", image)[1].tobytes() for image in pair] for pair in photographs(frames)]
    found: dict[str, list[float]] = {name: [] for name in trackers}
    for turn in range(rounds + 1):
        for name, tracker in trackers.items():
            tracker.initialize(read(files[0]), BOX)
            begin = time.perf_counter()
            for pair in files:
                tracker.box_xywh = BOX.copy()
                tracker.track(read(pair))
            if turn:
                found[name].append(len(files) / (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in found.items()}


def read(pair: list[bytes]) -> Frame:
    return Frame(*(decode_color(data, "frame") for data in pair))


def photographs(count: int) -> list[np.ndarray]:
    """Draws pairs of images whose JPEG files are about as large as those of photographs, 60 to 100 KiB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 2, 60, 80, 3)).astype(np.float32)
    smooth = [[cv2.resize(image, (640, 480), interpolation=cv2.INTER_CUBIC) for image in pair] for pair in coarse]
    return list(np.clip(smooth + rng.normal(0, 6, (count, 2, 480, 640, 3)), 0, 255).astype(np.uint8))


def speed_table(found: Mapping[str, Mapping], rates: Mapping[str, float]) -> str:
    """Returns the results of `compare` and `rates_with_decoding` as a Markdown table."""
    rows = ["| | ms per frame | ratio to OSTrack-256 | crop and postprocessing | frames/s, with decoding |"]
    rows.append("|---|---:|---:|---:|---:|")
    for name, parts in found.items():
        ratio, whole = parts["ratio"], parts["track"]["median"]
        around = (parts["crop"]["median"] + parts["postprocessing"]["median"]) / whole
        rows.append(
            f"| {name} | {whole:.2f} | {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) "
            f"| {around:.0%} | {rates[name]:.0f} |"
        )
    return "\n".join(rows)


def describe(threads: int) -> str:
    """Returns date, processor and versions, for below the table."""
    machine, flags = describe_machine("cpu"), set()
    if Path("/proc/cpuinfo").is_file():
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    names = ", ".join(flag for flag in FLAGS if flag in flags) or "unknown"
    return (
        f"{time.strftime('%Y-%m-%d')}, {threads} thread{'s' * (threads > 1)}, {machine['processor']} ({names}), "
        f"torch {machine['torch'].partition('+')[0]}."
    )


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--configs", nargs="+", default=["nano", "tiny", "tiny_fast"], help="experiments of students")
    parser.add_argument("--threads", type=integer(1), default=1, help="threads of every tracker")
    parser.add_argument("--rounds", type=integer(1), default=5, help="turns of each tracker")
    parser.add_argument("--frames", type=integer(2), default=4, help="frames per turn")
    parser.add_argument(
        "--insert", nargs="*", default=[], type=Path, metavar="FILE", help="Markdown files that show the table"
    )
    args = parser.parse_args()
    set_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        trackers = build_trackers(args.configs, args.threads, Path(folder))
        found = compare(trackers, args.rounds, args.frames)
        rates = rates_with_decoding(trackers, args.rounds, args.frames)
    text = f"{speed_table(found, rates)}\n\n{describe(args.threads)}"
    print(text)
    for path in args.insert:
        insert_text(path, MARK, f"{text}\n")


if __name__ == "__main__":
    run_command(main)
