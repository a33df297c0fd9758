"""What a trained student can give up without training: success on real clips, cost and speed of its variants.

python benchmarks/vit_savings.py --config nano --output docs/results/savings
python benchmarks/vit_savings.py --variants "block 3=MODEL.BACKBONE.ELIMINATION.LAYERS=[3]" --save_dir output/block3
python benchmarks/vit_savings.py --config tiny --no_clips

A smaller search crop of a smaller factor is the central part of the whole one: the border is left out. With the same
factor, the images are smaller and positions are interpolated. Times are those of the processor, in turns, in
PyTorch and in ONNX Runtime, on one thread. Without trained weights, --no_clips measures cost and speed alone.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch
from real_clips import SHARED, make_alone

from lib.config.loader import ConfigError
from lib.deploy.build import build_network, build_torch_tracker, write_fp32
from lib.deploy.profile import compare, count_cost
from lib.deploy.runtime import load_tracker
from lib.models.build import build_model
from lib.models.weights.convert import convert
from lib.models.weights.read import network_of, read_checkpoint
from lib.report.tables import Table, markdown
from lib.running.run import folder_names, track_datasets
from lib.study.clips import KINDS, load_clips, score_clips
from lib.tracker.build import Built, Request, build_tracker, find_checkpoint, load_experiment
from lib.utils.cli import Parser, integer, run_command
from lib.utils.files import check_writable, write_text
from lib.utils.misc import set_threads

REMOVAL = "MODEL.BACKBONE.ELIMINATION"
POSITION = "encoder.search_position"


class Variant(NamedTuple):
    """A network with the same weights and other settings."""

    title: str
    settings: tuple[str, ...] = ()


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", default="nano", help="experiment of the student")
    parser.add_argument("--checkpoint", default="", help="its weights; default: the last ones, or those of the project")
    parser.add_argument(
        "--variants", nargs="+", default=[], metavar="NAME=SETTINGS", help="KEY=VALUE …; default: a list of variants"
    )
    parser.add_argument("--clips", type=Path, default=SHARED / "real", help="holds LasHeR/, DepthTrack/ and VisEvent/")
    parser.add_argument("--no_clips", action="store_true", help="initial weights; measure cost and speed alone")
    parser.add_argument("--rounds", type=integer(1), default=7, help="turns of each variant")
    parser.add_argument("--frames", type=integer(2), default=6, help="frames per turn")
    parser.add_argument("--save_dir", default="output/savings", help="folder of the raw results")
    parser.add_argument("--output", default="", help="writes this name with .json and .md; default: nothing is written")
    return parser.parse_args()


def plan_variants(cfg, texts: Sequence[str]) -> list[Variant]:
    """Returns the network as it is and its variants. Raises ConfigError for a text without a name."""
    found = [Variant("as trained")]
    for text in texts:
        name, _, settings = text.partition("=")
        if not (name and settings):
            raise ConfigError(f"--variants {text}: expected NAME=KEY=VALUE")
        found.append(Variant(name, tuple(settings.split())))
    if texts:
        return found
    depth = build_model(cfg).streams[0].depth
    quarters = [depth * quarter // 4 for quarter in (1, 2, 3)]
    middle, late = quarters[1:2], quarters[2:]
    for layers, keep in ((middle, 0.8), (middle, 0.7), (middle, 0.4), (late, 0.5), (quarters, 0.8), (quarters, 0.7)):
        settings = (f"{REMOVAL}.LAYERS={layers}", f"{REMOVAL}.KEEP={keep}")
        found.append(Variant(f"elimination in {', '.join(map(str, layers))}, {keep} stay", settings))
    data, stride = cfg.DATA.SEARCH, cfg.MODEL.BACKBONE.STRIDE
    for rings in (1, 2):
        size = data.SIZE - 2 * rings * stride
        settings = crop_settings("SEARCH", size, data.FACTOR * size / data.SIZE)
        found.append(Variant(f"search of {size} pixels without the border", settings))
    sizes = [part.SIZE - (part.SIZE // 6) // stride * stride for part in (cfg.DATA.TEMPLATE, data)]
    settings = [crop_settings(*crop) for crop in zip(("TEMPLATE", "SEARCH"), sizes, strict=True)]
    return [*found, Variant(f"crops of {sizes[0]} and {sizes[1]} pixels", tuple(sum(settings, ())))]


def crop_settings(part: str, size: int, factor: float = 0.0) -> tuple[str, ...]:
    """Returns the settings of a crop. `part`: TEMPLATE or SEARCH; `factor` 0: as it is."""
    keys = {"SIZE": size, **({"FACTOR": factor} if factor else {})}
    return tuple(f"{room}{key}={value}" for key, value in keys.items() for room in (f"DATA.{part}.", f"TEST.{part}_"))


def fit_weights(source: Path, cfg, inner: bool, target: Path) -> Path:
    """Writes weights whose positions fit the crops of a configuration; returns the path.

    Args:
        inner: the search crop is the central part of the one that they were trained with; else the same part at another
            size.
    """
    net = dict(network_of(read_checkpoint(source), source).tensors)
    if inner:
        positions, grid = net[POSITION], cfg.DATA.SEARCH.SIZE // cfg.MODEL.BACKBONE.STRIDE
        side = round(positions.shape[1] ** 0.5)
        begin = (side - grid) // 2
        cut = positions.unflatten(1, (side, side))[:, begin : begin + grid, begin : begin + grid]
        net[POSITION] = cut.flatten(1, 2).clone()
    else:
        net = convert(net, build_model(cfg), str(source))[0]
    torch.save({"net": net}, target)
    return target


def savings_table(costs: dict, speeds: dict, scores: dict) -> str:
    """Returns the results as a Markdown table; the scores may be empty."""
    first = next(iter(costs))
    kinds = [f"{kind} SR" for kind in KINDS.values()] if scores else []
    table: Table = [["", "GMACs", "time in PyTorch", "in ONNX Runtime", *kinds, *(["mean SR"] if scores else [])]]
    for title, macs in costs.items():
        ratios = [speeds[runtime][title]["ratio"] for runtime in speeds]
        times = [f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in ratios]
        cells = [f"{scores[title]['sets'][name]['SR']:.1f}" for name in KINDS] if scores else []
        if scores:
            mean = scores[title]["mean"]["SR"]
            cells.append(f"{mean:.1f}" if title == first else f"{mean:.1f} ({mean - scores[first]['mean']['SR']:+.1f})")
        table.append([title, f"{macs / 1e9:.3f}", *times, *cells])
    return markdown(table)


def main() -> int:
    args = parse_args()
    if args.output:
        check_writable(Path(args.output).parent)
    set_threads(1)
    cfg = load_experiment(args.config, ())
    variants = plan_variants(cfg, args.variants)
    weights = None if args.no_clips else find_checkpoint(cfg, args.config, "output", args.checkpoint)
    clips, folders, trackers, costs = {} if args.no_clips else load_clips(args.clips), {}, {"torch": {}, "onnx": {}}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (title, settings) in enumerate(variants):
            own, checkpoint = load_experiment(args.config, settings), None
            if weights is not None:
                inner = own.DATA.SEARCH.FACTOR != cfg.DATA.SEARCH.FACTOR
                checkpoint = fit_weights(weights, own, inner, Path(temporary) / f"{number}.pth")
            network = build_network(args.config, settings, checkpoint)
            path = Path(temporary) / f"{number}.onnx"
            write_fp32(network, path)
            tracker = trackers["torch"][title] = build_torch_tracker(network, "rgbt", "cpu")
            trackers["onnx"][title] = load_tracker(path, "rgbt", 1)
            costs[title] = count_cost(network.model, tracker.template_spec, tracker.search_spec).macs
            if checkpoint is not None:
                built = build_tracker(Request("transcmd", args.config, settings, checkpoint, device="cpu"))
                alone = Built(functools.partial(make_alone, built), built.fingerprint)
                folder = folder_names(args.save_dir, "transcmd", f"variant{number}", several=True)
                if failed := track_datasets(alone, clips, folder, [None]):
                    raise ValueError(f"{title}: {len(failed)} clips failed, the first: {next(iter(failed.items()))}")
                folders[title] = {name: folder(name, None) for name in clips}
        speeds = {
            runtime: compare(found, args.rounds, args.frames, time.process_time) for runtime, found in trackers.items()
        }
    scores = score_clips(clips, folders) if clips else {}
    table = savings_table(costs, speeds, scores)
    if args.output:
        content = {"macs": costs, "speed": speeds, "scores": scores, "settings": dict(variants)}
        write_text(f"{args.output}.json", json.dumps(content, indent=1) + "\n")
        write_text(f"{args.output}.md", table)
    print(table, end="")
    return 0


if __name__ == "__main__":
    run_command(main)
