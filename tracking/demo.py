"""Tracks in two videos, folders of images or cameras, or in RGB alone, with the weights that come with the project.

python tracking/demo.py --rgb a.mp4 --aux b.mp4 --box 100 80 40 60
python tracking/demo.py --rgb visible/ --aux infrared/ --box 100 80 40 60 --output out.mp4
python tracking/demo.py --rgb 0 --aux 1
python tracking/demo.py --side_by_side both.mp4 --modality rgbd --output out.mp4 --box 100 80 40 60
python tracking/demo.py --rgb a.mp4 --aux b.mp4 --runtime onnx --export output/exports/nano/nano.fp32.onnx

Without --output, a window shows the result; q or Escape ends it. Without --box, the target is drawn with the mouse.
out.mp4 shows both images; out.jsonl beside it has one line per frame. The images of two streams are matched by their
times, so that the streams may have different rates, and one may vanish and return. A target that is lost is searched
for in a growing part of the image; the state says so, and no box is drawn until it is found again.
"""

import argparse
import contextlib
from pathlib import Path

import _init_paths  # noqa: F401
import numpy as np
from tqdm import tqdm

from lib.deploy.live import follow, open_streams
from lib.deploy.metadata import SUFFIXES, export_path
from lib.deploy.pairing import Counts
from lib.deploy.runtime import load_tracker
from lib.deploy.show import Recorder, ask_box, check_display, show_window
from lib.deploy.sources import silence_opencv
from lib.structures import MODALITIES
from lib.tracker.base import Tracker
from lib.utils.cli import Parser, StopRequest, integer, number, run_command


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--rgb", default="", help="video, folder of images, number of a camera, or address (rtsp://…)")
    source.add_argument(
        "--side_by_side", default="", help="one video: RGB on the left, the auxiliary image on the right"
    )
    parser.add_argument("--aux", default="", help="the same for thermal, depth or events; default: RGB alone")
    parser.add_argument(
        "--box",
        nargs=4,
        type=number(),
        metavar=("X", "Y", "W", "H"),
        help="the target in the first RGB image, pixels; default: drawn with the mouse",
    )
    parser.add_argument("--modality", choices=MODALITIES, default="rgbt", help="kind of the auxiliary images")
    parser.add_argument("--output", default="", help="MP4 to write; default: no file, a window")
    parser.add_argument("--window", action="store_true", help="show a window, also with --output")
    parser.add_argument("--codec", default="mp4v", help="of the MP4, four letters")
    parser.add_argument("--fps", type=integer(1, 1000), default=25, help="images per second of folders")
    parser.add_argument(
        "--max_gap", type=integer(1, 60000), default=200, help="milliseconds after which an image stands for nothing"
    )
    parser.add_argument("--delay", type=number(), default=0.0, help="seconds by which --aux started after --rgb")
    parser.add_argument("--config", default="nano", help="experiment of the network")
    parser.add_argument(
        "--checkpoint", default="", help="its weights; default: the last ones in save_dir, or those of the project"
    )
    parser.add_argument(
        "--runtime",
        choices=("torch", *SUFFIXES),
        default="torch",
        help="onnx and openvino run an export, without torch",
    )
    parser.add_argument("--export", default="", help="file of tracking/export.py; default: in save_dir/exports, fp32")
    parser.add_argument("--threads", type=integer(0), default=0, help="of the processor, for an export; 0: all cores")
    parser.add_argument(
        "--no_redetect", action="store_true", help="raw scores; do not search for a lost target in a wider crop"
    )
    parser.add_argument("--save_dir", default="output", help="folder of the training run, and of exports")
    parser.add_argument("--device", default="", help="cpu, cuda:0, ...; default: a GPU if there is one")
    return parser.parse_args()


def make_tracker(args: argparse.Namespace, modality: str) -> Tracker:
    """Builds the tracker that the options name. torch is imported only if it is needed."""
    if args.runtime != "torch":
        path = args.export or export_path(args.save_dir, Path(args.config).stem, "fp32", args.runtime)
        return load_tracker(path, modality, args.threads, redetect=not args.no_redetect)
    try:
        from lib.tracker.build import Request, build_tracker

        settings = () if args.no_redetect else ("TRACKER.REDETECT=true",)
        request = Request("transcmd", args.config, settings, args.checkpoint, args.save_dir)
        return build_tracker(request).make(modality, args.device)
    except ImportError as error:
        raise ValueError(
            f"--runtime torch: the package {error.name} is not installed; run install.sh, or use an export with "
            "--runtime onnx"
        ) from error


def main() -> int:
    args = parse_args()
    silence_opencv()
    window = args.window or not args.output
    if window or not args.box:
        check_display()
    single = not (args.aux or args.side_by_side)
    modality = "rgb" if single else args.modality
    streams, counts = open_streams(args.rgb, args.aux, args.side_by_side, modality, args.fps), Counts()
    source = {"rgb": args.rgb or args.side_by_side, "aux": args.aux, "modality": modality, "config": args.config}
    recorder = Recorder(args.output, streams.rgb.fps, source, args.codec) if args.output else None
    try:
        tracker = make_tracker(args, modality)
        moments = streams.moments(args.max_gap / 1000, counts, args.delay)
        bar = tqdm(total=streams.announced or None, unit="frame", disable=None, leave=False)
        with recorder or contextlib.nullcontext(), StopRequest() as stop, bar:
            find_box = ask_box if args.box is None else lambda image: np.array(args.box)
            for shown in follow(moments, tracker, find_box, recorder, show_window if window else None, single):
                bar.update()
                bar.set_postfix_str(f"{shown.label}, score {shown.score:.2f}")
                if stop.requested:
                    break
    finally:
        streams.close()
        if counts.moments:
            print(*streams.report(counts), sep="\n")
        if recorder is not None and recorder.written:
            print(f"{recorder.path}\n{recorder.lines_path}")
    return 130 if stop.requested else 0


if __name__ == "__main__":
    run_command(main)
