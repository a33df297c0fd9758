"""Speed of the students against a network with the cost of OSTrack-256, in one run, one thread, batch 1.

python benchmarks/speed.py
python benchmarks/speed.py --insert README.md

All trackers take turns. The ratio is the time of `track()` at 640x480 divided by that of OSTrack-256 in float32 in the
same turn. The floor is the time of the network's multiply-accumulates at the rate of large float32 matrix products. The
last two columns decode two JPEG files, or two MP4 streams, for every frame as well. Weights are random, and int8 is
calibrated on noise; times do not depend on them.
"""

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np

from lib.data.image import decode_color
from lib.deploy.build import REFERENCE, build_network, build_reference, build_torch_tracker, write_kind
from lib.deploy.export import MIN_CALIBRATION, noise_inputs, write_onnx
from lib.deploy.memory import BOX
from lib.deploy.metadata import export_path
from lib.deploy.profile import compare, count_frame, describe_machine, matrix_rate
from lib.deploy.runtime import load_tracker
from lib.report.tables import insert_text
from lib.structures import Frame
from lib.tracker.cropped import CropTracker
from lib.utils.cli import Parser, integer, run_command
from lib.utils.misc import set_threads

KINDS = (
    ("onnx", "fp32"),
    ("onnx", "int8-dynamic"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8-static"),
)
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")  # worth naming
MARK = "speed"  # of the table in Markdown files
JPEG_QUALITY = 80  # the files of `photographs` then have 70 to 90 KiB, as photographs of this size have


def build_trackers(configs: list[str], threads: int, folder: Path) -> tuple[dict[str, CropTracker], dict[str, int]]:
    """Returns OSTrack-256, and every experiment in PyTorch and as exports, by name; and their multiply-accumulates."""
    found: dict[str, CropTracker] = {REFERENCE: build_reference("cpu")}
    macs = {REFERENCE: count_frame(found[REFERENCE])}
    for config in configs:
        network = build_network(config, (), None)
        tracker = build_torch_tracker(network, "rgbt", "cpu")
        forms: dict[str, CropTracker] = {f"{config}, PyTorch fp32": tracker}
        source = export_path(folder / "source", network.about.config, "fp32", "onnx")
        write_onnx(network.model, network.about, source)
        noise = noise_inputs(network.about, MIN_CALIBRATION)
        for runtime, kind in KINDS:
            path = export_path(folder, network.about.config, kind, runtime)
            write_kind(source, kind, path, noise)
            forms[f"{config}, {runtime} {kind}"] = load_tracker(path, "rgbt", threads)
        found |= forms
        macs |= dict.fromkeys(forms, count_frame(tracker))
    return found, macs


def rates_with_decoding(
    trackers: Mapping[str, CropTracker], frames: Callable[[], Iterator[Frame]], rounds: int
) -> dict[str, float]:
    """Returns the frames per second of decoding and tracking, the median over turns.

    Args:
        frames: starts to decode; the first frame initialises a tracker.
    """
    found: dict[str, list[float]] = {name: [] for name in trackers}
    for turn in range(rounds + 1):
        for name, tracker in trackers.items():
            stream, count = frames(), 0
            tracker.initialize(next(stream), BOX)
            begin = time.perf_counter()
            for frame in stream:
                tracker.box_xywh = BOX.copy()
                tracker.track(frame)
                count += 1
            if turn:
                found[name].append(count / (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in found.items()}


def decode_files(pictures: list[np.ndarray]) -> Callable[[], Iterator[Frame]]:
    """Returns a function that decodes pairs of JPEG files in memory."""
    files = [
        [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes() for image in pair]
        for pair in pictures
    ]
    return lambda: (Frame(*(decode_color(data, "frame") for data in pair)) for pair in files)


def decode_videos(pictures: list[np.ndarray], folder: Path) -> Callable[[], Iterator[Frame]]:
    """Writes two MP4 files (MPEG-4 part 2) and returns a function that decodes them, on one thread each."""
    paths = [str(folder / f"{name}.mp4") for name in ("rgb", "aux")]
    for path, images in zip(paths, zip(*pictures, strict=True), strict=True):
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 25, (640, 480))
        for image in images:
            writer.write(image)
        writer.release()

    return lambda: (Frame(*images) for images in zip(*map(read_video, paths), strict=True))


def read_video(path: str) -> Iterator[np.ndarray]:
    stream = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    while (found := stream.read())[0]:
        yield cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB)


def photographs(count: int) -> list[np.ndarray]:
    """Draws (count, 2, 480, 640, 3) pairs of images, of which JPEG files are about as large as those of photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 2, 60, 80, 3)).astype(np.float32)
    smooth = [[cv2.resize(image, (640, 480), interpolation=cv2.INTER_CUBIC) for image in pair] for pair in coarse]
    return list(np.clip(smooth + rng.normal(0, 6, (count, 2, 480, 640, 3)), 0, 255).astype(np.uint8))


def moving_photographs(count: int) -> list[np.ndarray]:
    """Draws pairs as `photographs` does, the next one moved by 3 pixels and with other noise, as those of a video."""
    rng, (first,) = np.random.default_rng(0), photographs(1)
    moved = (np.roll(first, 3 * number, axis=2) + rng.normal(0, 2, first.shape) for number in range(count))
    return [np.clip(pair, 0, 255).astype(np.uint8) for pair in moved]


def speed_table(
    found: Mapping[str, Mapping], macs: Mapping[str, int], rate: float, rates: list[Mapping[str, float]]
) -> str:
    """Returns a Markdown table.

    Args:
        found: the result of `compare`.
        macs: multiply-accumulates for one frame, by name.
        rate: multiply-accumulates per second, see `matrix_rate`.
        rates: results of `rates_with_decoding`, of JPEG files and of MP4 files.
    """
    rows = [
        "| | ms per frame | floor | ratio to OSTrack-256 | crop and postprocessing | frames/s, JPEG | frames/s, MP4 |"
    ]
    rows.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, parts in found.items():
        ratio, whole = parts["ratio"], parts["track"]["median"]
        around = (parts["crop"]["median"] + parts["postprocessing"]["median"]) / whole
        cells = [f"{whole:.2f}", f"{1000 * macs[name] / rate:.1f}"]
        cells.append(f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})")
        cells += [f"{around:.0%}", *(f"{found_rates[name]:.0f}" for found_rates in rates)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def describe(threads: int, rate: float) -> str:
    """Returns date, processor, its rate of matrix products and versions, for below the table."""
    machine, flags = describe_machine("cpu"), set()
    if Path("/proc/cpuinfo").is_file():
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    names = ", ".join(flag for flag in FLAGS if flag in flags) or "unknown"
    return (
        f"{time.strftime('%Y-%m-%d')}, {threads} thread{'s' * (threads > 1)}, {machine['processor']} ({names}), "
        f"float32 products at {rate / 1e9:.1f} GMAC/s, torch {machine['torch'].partition('+')[0]}."
    )


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--configs", nargs="+", default=["nano", "nano_fast", "tiny", "tiny_fast"], help="experiments of students"
    )
    parser.add_argument("--threads", type=integer(1), default=1, help="threads of every tracker")
    parser.add_argument("--rounds", type=integer(1), default=5, help="turns of each tracker")
    parser.add_argument("--frames", type=integer(2), default=4, help="frames per turn")
    parser.add_argument(
        "--insert", nargs="*", default=[], type=Path, metavar="FILE", help="Markdown files that show the table"
    )
    args = parser.parse_args()
    set_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        trackers, macs = build_trackers(args.configs, args.threads, Path(folder))
        before = matrix_rate()
        found = compare(trackers, args.rounds, args.frames)
        rate = (before + matrix_rate()) / 2
        streams = (
            decode_files(photographs(args.frames + 1)),
            decode_videos(moving_photographs(args.frames + 1), Path(folder)),
        )
        rates = [rates_with_decoding(trackers, stream, args.rounds) for stream in streams]
    text = f"{speed_table(found, macs, rate, rates)}\n\n{describe(args.threads, rate)}"
    print(text)
    for path in args.insert:
        insert_text(path, MARK, f"{text}\n")


if __name__ == "__main__":
    run_command(main)
