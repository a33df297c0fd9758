"""Writes synthetic RGB-T, RGB-D and RGB-E training and test sets; nothing is downloaded.

    python tracking/make_demo_data.py --output data/demo --seed 0

OUTPUT/manifest.json records a hash of the data. A second run with the same arguments does nothing.
"""

import argparse

import _init_paths  # noqa: F401

from lib.data.datasets.synthetic import list_textures
from lib.data.storage import open_store
from lib.data.synthetic import DATASETS, write_datasets
from lib.data.synthetic.dataset import FRAMES, SEQUENCES
from lib.data.synthetic.motion import SHORT_ABSENCE
from lib.data.synthetic.preview import write_preview
from lib.data.synthetic.v2 import Textures
from lib.data.synthetic.v2.write import TextureRenderer
from lib.data.synthetic.write import DrawingRenderer
from lib.utils.cli import Parser, integer, run_command


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--output", default="data/demo", help="folder to write")
    parser.add_argument("--seed", type=integer(0), default=0, help="of the random numbers that make the data")
    parser.add_argument(
        "--version", type=integer(1, 2), default=1, help="1: drawn; 2: made of photographs (--textures)"
    )
    parser.add_argument("--textures", metavar="DIR", help="folder with cutouts/ and backgrounds/, for --version 2")
    parser.add_argument(
        "--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, metavar="NAME", help="default: all"
    )
    parser.add_argument("--train_sequences", type=integer(*SEQUENCES), default=100, help="per data set")
    parser.add_argument("--test_sequences", type=integer(*SEQUENCES), default=8, help="per data set")
    parser.add_argument("--train_frames", type=integer(*FRAMES), default=20, help="per sequence")
    parser.add_argument("--test_frames", type=integer(*FRAMES), default=60, help="per sequence")
    parser.add_argument(
        "--absence",
        type=integer(0),
        default=0,
        metavar="FRAMES",
        help="for which the target of each test sequence of version 1 is out of view, as in long-term benchmarks; "
        "at most half of them; 0: a short time, in few sequences",
    )
    parser.add_argument(
        "--workers", type=integer(0), default=0, help="processes; 0: one per core, the data stay the same"
    )
    parser.add_argument("--force", action="store_true", help="replace the data that OUTPUT/manifest.json records")
    parser.add_argument("--preview", metavar="FILE.png", help="also draw an overview of some test sequences")
    args = parser.parse_args()
    if (args.version == 2) != bool(args.textures):
        parser.error("--version 2 and --textures DIR go together")
    if args.version == 2 and args.preview:
        parser.error("--preview shows version 1 alone; remove it or --version 2")
    if args.absence and (args.version == 2 or not SHORT_ABSENCE <= args.absence <= args.test_frames // 2):
        parser.error(
            f"--absence {args.absence}: expected 0, or with version 1 {SHORT_ABSENCE} to {args.test_frames // 2}, "
            "half of --test_frames"
        )
    return args


def main() -> None:
    args = vars(parse_args())
    preview, output = args.pop("preview"), args.pop("output")
    args["datasets"] = tuple(args["datasets"])
    version, textures = args.pop("version"), args.pop("textures")
    args["renderer"] = DrawingRenderer(args.pop("absence"))
    if version == 2:
        store = open_store(textures, "textures")
        keys = {"train": list_textures(store, "train"), "test": list_textures(store, "val")}
        args["renderer"] = TextureRenderer({split: Textures(store, of_split) for split, of_split in keys.items()})
    write_datasets(output, **args)
    if preview:
        write_preview(preview, args["seed"], args["datasets"])


if __name__ == "__main__":
    run_command(main)
