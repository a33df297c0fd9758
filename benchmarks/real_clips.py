"""Trackers on real clips: success, precision, their mean with an interval, and frames per second on one core.

python benchmarks/real_clips.py --drop aux rgb --output docs/results/nano --insert README.md pretrained_models/README.md
python benchmarks/real_clips.py --trackers static --checkpoints new=nano:TransCMD_ep0006.pth.tar

The clips are in the folders LasHeR, DepthTrack and VisEvent, in the layouts of these data sets. Clips that a tracker
has finished are not tracked again; --save_dir keeps their results.
"""

import argparse
import functools
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


from lib.data.drop import AnyDrop
from lib.report.tables import insert_text
from lib.running.run import folder_names, parse_drops, track_datasets
from lib.study.clips import MARK, headline, load_clips, per_clip, score_clips
from lib.tracker.base import Tracker
from lib.tracker.baselines import nanotrack_files
from lib.tracker.build import Built, Request, build_tracker, file_hash
from lib.utils.cli import Parser, run_command
from lib.utils.files import check_writable, write_text
from lib.utils.manifest import describe_run
from lib.utils.misc import set_threads
from lib.utils.paths import find_weights, is_plain_name
from lib.utils.texts import shorten

SHARED = Path(os.environ.get("TRANSCMD_SHARED", ROOT.parent / "shared"))
BASELINES = ("static", "mil", "nanotrack")
TITLES = {"static": "a box that never moves", "mil": "MIL (OpenCV), RGB", "nanotrack": "NanoTrack V2, RGB"}
WITHOUT = {"aux": "RGB alone", "rgb": "auxiliary alone"}  # names of MODALITY in --drop
NOTES = """\
SR and PR: success and precision at 20 pixels by LasHeR's rules, for all clips. RGB-D F: by DepthTrack's rules. Mean:
over all clips, with the 95 % interval of a bootstrap over the clips. Frames per second: of one core, without reading
images; other work on the machine lowers them. "RGB alone" and "auxiliary alone": the other image is black in every
frame, the first one included. A tracker without training and NanoTrack see RGB alone.

These are a few clips in the layouts of LasHeR, DepthTrack and VisEvent, not the test sets of these benchmarks. Those of
RGB-T are real aligned pairs of stills under a simulated camera, in which first the visible light and later the thermal
contrast fades. In 81 of their 720 frames (44 of them in stander_night), the target touches the left or upper edge of
the image: LasHeR's rules count such a frame as a miss in SR, but not in PR, whatever the tracker says. Those of RGB-D
are parts of one real recording. The events of RGB-E are simulated from real video.
"""

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """A line of the table: a tracker, and the images that it does not get."""

    title: str
    request: Request
    name: str  # of its result folder
    drop: AnyDrop | None = None


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--clips", type=Path, default=SHARED / "real", help="holds LasHeR/, DepthTrack/ and VisEvent/")
    parser.add_argument("--trackers", nargs="*", choices=BASELINES, default=list(BASELINES), help="for comparison")
    parser.add_argument("--nanotrack", type=Path, default=SHARED / "peers/nanotrackv2", help="files of NanoTrack V2")
    parser.add_argument(
        "--checkpoints",
        nargs="*",
        metavar="NAME=CONFIG:FILE",
        default=["nano=nano:nano.safetensors"],
        help="our networks: a name for the table, the experiment and its weights, also from pretrained_models/",
    )
    parser.add_argument(
        "--drop", nargs="*", metavar="SPEC", default=[], help="our networks also without images, as in tracking/test.py"
    )
    parser.add_argument("--save_dir", default="output/clips", help="folder of the raw results")
    parser.add_argument("--output", default="", help="writes this name with .json and .md; default: save_dir/clips")
    parser.add_argument(
        "--insert", nargs="*", type=Path, default=[], metavar="FILE", help="Markdown files that show the table"
    )
    parser.add_argument("--mark", default=MARK, help="the comments <!-- MARK --> and <!-- end of MARK --> around it")
    return parser.parse_args()


def parse_checkpoint(text: str, save_dir: str) -> tuple[str, Request]:
    """Parses NAME=CONFIG:FILE. Raises ValueError for another text, FileNotFoundError if the file is missing."""
    name, _, rest = text.partition("=")
    config, _, file = rest.partition(":")
    if not (is_plain_name(name) and config and file) or name in BASELINES:
        raise ValueError(f"--checkpoints {text}: expected NAME=CONFIG:FILE, e.g. nano=nano:nano.safetensors")
    if not find_weights(file).is_file():
        raise FileNotFoundError(f"--checkpoints {text}: no file {file}, also not in pretrained_models/")
    return name, Request("transcmd", config, (), find_weights(file), save_dir, "cpu")


def plan_rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yields the lines of the table. Raises ValueError or FileNotFoundError for wrong options."""
    missing = [path for path in nanotrack_files({"WEIGHTS": args.nanotrack}) if not path.is_file()]
    if missing and "nanotrack" in args.trackers:
        raise FileNotFoundError(f"{missing[0]}: no such file; set --nanotrack, or --trackers without nanotrack")
    for tracker in args.trackers:
        settings = (f"TRACKER.WEIGHTS={args.nanotrack}",) if tracker == "nanotrack" else ()
        yield Row(TITLES[tracker], Request(tracker, "", settings), tracker)
    checkpoints = [parse_checkpoint(text, args.save_dir) for text in args.checkpoints]
    names = [name for name, _ in checkpoints]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--checkpoints: {shorten(twice)} named twice; give each network its own name")
    drops = [None, *(drop for drop in parse_drops(args.drop, 0) if drop)]
    for name, request in checkpoints:
        for drop in drops:
            title = f"{name}, {WITHOUT.get(str(drop), f'--drop {drop}')}" if drop else name
            yield Row(title, request, name, drop)


def make_alone(built: Built, modality: str, device: str) -> Tracker:
    """Makes a tracker that computes on one core."""
    set_threads(1)
    return built.make(modality, device)


def page(command: str, rows: dict, weights: dict[str, str]) -> str:
    """Returns the Markdown page of a record."""
    files = "".join(f"- {name}: sha256 `{digest}`\n" for name, digest in weights.items())
    tables = f"{headline(rows)}\n## Each clip\n\n{per_clip(rows, 'SR')}\n{per_clip(rows, 'PR')}"
    return f"# Real clips\n\n```bash\n{command}\n```\n\n{NOTES}\n{tables}\n## Weights\n\n{files}"


def main() -> int:
    args = parse_args()
    rows = list(plan_rows(args))
    output = Path(args.output or Path(args.save_dir) / "clips")
    check_writable(output.parent)
    clips, folders, failed = load_clips(args.clips), {}, {}
    for row in rows:
        built = build_tracker(row.request)
        alone = Built(functools.partial(make_alone, built), built.fingerprint)
        kind = "transcmd" if row.request.tracker == "transcmd" else "baselines"
        folder = folder_names(args.save_dir, kind, row.name, several=True)
        failed.update(track_datasets(alone, clips, folder, [row.drop]))
        folders[row.title] = {name: folder(name, row.drop) for name in clips}
    if failed:
        logger.error("failed: %s", shorten([f"{name}: {reason}" for name, reason in failed.items()], "; "))
        return 1
    scores = score_clips(clips, folders)
    weights = {row.name: file_hash(row.request.checkpoint) for row in rows if row.request.checkpoint}
    about = describe_run()
    command = f"python {shlex.join(about['command'])}"
    made = {"command": command, "versions": about["versions"], "weights": weights}
    write_text(output.with_name(f"{output.name}.json"), json.dumps({**made, "rows": scores}, indent=1) + "\n")
    write_text(output.with_name(f"{output.name}.md"), page(command, scores, weights))
    for path in args.insert:
        insert_text(path, args.mark, headline(scores))
    print(headline(scores), end="")
    return 0


if __name__ == "__main__":
    run_command(main)
