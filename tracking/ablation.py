"""Measures the effect of each part of the method: the ablation and its controls, over several seeds (docs/method.md).

python tracking/ablation.py --seeds 1 2 3 --jobs 2
python tracking/ablation.py --rows scratch joint --seeds 1
python tracking/ablation.py --textures TEXTURES --teacher pretrained_models/teacher_nano_textures.safetensors

Finished runs are kept. Run the command again to continue, or to add rows or seeds. Rows of a seed that come after as
many other runs use the same samples in the same order, and all use the same initial weights for the parameters that
they share. Samples and teacher outputs are computed once per seed and deleted when the rows of the seed are finished.

The samples are those of drawn data sets, or with --textures those of the data set Synthetic. Every row then compares
the search crop with the target as `nano` does (MODEL.FUSION.TYPE match), and tracks 24 sequences of held-out pictures.
"""

import argparse
from functools import partial
from pathlib import Path

import _init_paths  # noqa: F401

from lib.study.ladder import ROWS, from_json
from lib.utils.cli import Parser, integer, run_command
from lib.utils.locks import lock_folder


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="rows of the table; default: all")
    parser.add_argument("--seeds", nargs="+", type=integer(0), default=[1, 2, 3], help="seeds of the runs")
    parser.add_argument("--save_dir", type=Path, default="output/ablation", help="folder of all runs and of the table")
    parser.add_argument("--train_sequences", type=integer(1), default=200, help="sequences per modality")
    parser.add_argument(
        "--textures", type=Path, metavar="DIR", help="folder with cutouts/ and backgrounds/ (data/README.md)"
    )
    parser.add_argument("--teacher", type=Path, help="checkpoint; default: the one in the YAML files of the rows")
    parser.add_argument(
        "--jobs", type=integer(1), default=1, help="number of runs at the same time; they share the cores"
    )
    parser.add_argument("--workers", type=integer(1), default=2, help="processes that prepare samples")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument("--report", action="store_true", help="only write the table of the finished runs")
    parser.add_argument(
        "--merge",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="ladder.json of other seeds that ran elsewhere with the same settings; the table has them as well",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the configuration in every run; repeatable",
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    from lib.study.ablation import Ablation  # imported here: torch takes seconds, --help does not need it

    ablation = Ablation(
        save_dir=args.save_dir,
        rows=args.rows,
        seeds=args.seeds,
        train_sequences=args.train_sequences,
        textures=args.textures.resolve() if args.textures else None,
        teacher=args.teacher,
        jobs=args.jobs,
        workers=args.workers,
        device=args.device,
        settings=args.set,
        show=partial(print, flush=True),
        others=[row for path in args.merge for row in from_json(path)],
    )

    if args.report:
        ablation.report()
        return 0
    ablation.check_others()
    with lock_folder(args.save_dir, "ablation"):
        ablation.keep_settings()
        if code := ablation.make_data():
            return code
        failed = list(ablation.train())
    for line in failed:
        print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
