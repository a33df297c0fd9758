"""Exports a trained network for ONNX Runtime and OpenVINO, and shows that the export tracks as PyTorch does.

python tracking/export.py --config nano --data data/demo
python tracking/export.py --config tiny --checkpoint tiny.pth.tar --format onnx openvino --precision fp32 bf16 int8

The files go to <save_dir>/exports/<config>. Beside each, a .json states its sha256 and its parity: boxes on whole
sequences of the data sets in --data against PyTorch, and the success rate (SR) of both. int8 is calibrated on frames of
the training sets in --data; the table also shows what calibration on noise costs.
"""

import argparse
import functools
from pathlib import Path

import _init_paths  # noqa: F401
from tqdm import tqdm

from lib.config.loader import config_name
from lib.deploy.build import (
    build_network,
    build_torch_tracker,
    load_benchmarks,
    open_exports,
    write_exports,
    write_proof,
)
from lib.deploy.export import MIN_CALIBRATION, PRECISIONS, export_kinds
from lib.deploy.metadata import SUFFIXES, parts_of
from lib.deploy.parity import check_parity, measure_parity, parity_table, real_crops
from lib.tracker.build import find_checkpoint, load_experiment
from lib.utils.cli import Parser, integer, run_command
from lib.utils.files import check_writable
from lib.utils.misc import set_threads

BENCHMARKS = ("LasHeR", "DepthTrack", "VisEvent")
TRAINING = tuple(f"{name}_train" for name in BENCHMARKS)


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="experiment that was trained")
    parser.add_argument(
        "--checkpoint", default="", help="default: the last one of the experiment in save_dir, or that of the project"
    )
    parser.add_argument("--format", nargs="+", choices=SUFFIXES, default=["onnx"], help="runtimes (default: onnx)")
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=["fp32"], help="of the files (default: fp32)"
    )
    parser.add_argument("--save_dir", default="output", help="folder of the training run, and of exports/<config>")
    parser.add_argument(
        "--data", nargs="+", default=["data/demo"], help="folders of data sets for the proof (default: data/demo)"
    )
    parser.add_argument(
        "--calibration_data", default="", help="folder with training sets for int8; default: the first of --data"
    )
    parser.add_argument(
        "--calibration_frames", type=integer(MIN_CALIBRATION), default=96, help="frames that int8 is calibrated on"
    )
    parser.add_argument("--threads", type=integer(1), default=1, help="of the processor, for the proof")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the experiment; repeatable")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = Path(args.save_dir) / "exports" / config_name(args.config)
    check_writable(folder)
    set_threads(args.threads)
    cfg = load_experiment(args.config, args.set)
    network = build_network(args.config, args.set, find_checkpoint(cfg, args.config, args.save_dir, args.checkpoint))
    kinds = [kind for kind, _ in export_kinds(args.format, args.precision)]
    benchmarks, crops = load_benchmarks(args.config, args.data, BENCHMARKS), []
    if "int8-static" in kinds:
        training = load_benchmarks(args.config, [args.calibration_data or args.data[0]], TRAINING)
        videos = [video for found in training.values() for video in found]
        crops = real_crops(videos, network.about, args.calibration_frames)
    paths, rows = write_exports(network, args.format, args.precision, folder, crops), []
    with open_exports(network, paths, len(crops), args.threads) as sessions:
        frames = sum(len(video) for found in benchmarks.values() for video in found)
        with tqdm(total=frames, unit="frame", disable=None, leave=False) as bar:
            for name, videos in benchmarks.items():
                make = functools.partial(build_torch_tracker, network, device="cpu")
                rows += measure_parity(name, videos, make, sessions, bar.update)
    print(parity_table(rows))
    check_parity(rows)
    for path in paths:
        write_proof(path, sessions[path.name].metadata, rows)
        print(f"{path}: {sum(part.stat().st_size for part in parts_of(path)) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
