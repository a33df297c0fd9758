"""A tracker's result folder → checked Outputs, and in words what is missing or does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.benchmarks import Benchmark
from lib.evaluation.rules import Rule
from lib.evaluation.scorers import Output
from lib.results.raw import (
    experiment_folder,
    find_companion,
    find_results,
    is_vot,
    read_boxes,
    read_numbers,
    read_record,
)
from lib.results.vot_files import read_confidences

# Names of sequences that one benchmark has and the others have not, to say whose results a folder holds. RGBT210 shares
# its names with RGBT234: there the lengths tell.
SIGNATURES = {
    "LasHeR": "10runone 11leftboy 1boycoming 2girl 2girlup 7rightorangegirl blackman_0115 leftrunningboy",
    "RGBT234 or RGBT210": "afterrain balancebike baketballwaliking elecbike10 flower2 nightthreepeople redmanchange",
    "GTOT": "BlackCar BlackSwan1 BlueCar DarkNig FastMotor GarageHover OccCar-1 Torabi occBike",
    "STC": "athlete_move backpack_static blanket_move gloves_static toytank_move umbrella_static",
    "DepthTrack": "adapter01_indoor backpack_indoor bag01_indoor colacan03_indoor hat02_indoor_320 toy07_indoor_320",
    "CDTB": "backpack_blue bag_outside bicycle_outside bottle_box humans_corridor_occ_2_A",
    "VisEvent": "00141_tank_outdoor2 00282_tennis_outdoor4 00335_UAV_outdoor5 basketball_0076 tennis_long_002",
    "COESOT": "dvSave-2021_10_19_22_47_56 dvSave-2022_09_17_23_07_07 dvSave-2022_08_18_16_47_33",
    "VTUAV": "pedestrian_224 car_070 elebike_022 bus_030 truck_009",
}


def check_annotations(benchmark: Benchmark, annotations: list[Annotation]) -> None:
    """Raises ValueError for annotations that are, by the names in them, another benchmark's or more than this one's."""
    names = {annotation.name for annotation in annotations}
    owners = [name for name, words in SIGNATURES.items() if names & set(words.split())]
    own = _own_signatures(benchmark)
    if own and owners and not set(own) & set(owners):
        raise ValueError(f"these are annotations of {owners[0]}, and the benchmark to score is {benchmark.name}")
    if set(own) & set(owners) and len(names) > benchmark.sequences:
        raise ValueError(
            f"{benchmark.name} has {benchmark.sequences} sequences, and {len(names)} are annotated: take its own test "
            "set, or score another benchmark (LasHeR_all is LasHeR's training and test set)"
        )


def _own_signatures(benchmark: Benchmark) -> list[str]:
    """Rows of SIGNATURES that are this benchmark's; LasHeR_all's are LasHeR's."""
    return [name for name in SIGNATURES if benchmark.name.split("_")[0] in name]


def load_outputs(
    benchmark: Benchmark, annotations: list[Annotation], tracker: str, folder: Path
) -> tuple[dict[str, Output], list[str]]:
    """Reads a tracker's results: sequence → Output for those that fit, and what is wrong with the others.

    Raises:
        ValueError: no such folder, nothing of this benchmark in it, results of several runs or of another benchmark.
    """
    if not folder.is_dir():
        raise ValueError(f"{tracker}: no result folder {folder}")
    folder, names = experiment_folder(folder), [annotation.name for annotation in annotations]
    paths = find_results(folder, names)
    if annotations and not any(paths.values()):
        raise ValueError(
            f"{tracker}: {folder} holds no result of {benchmark.name}'s {len(names)} sequences, expected for example "
            f"{names[0]}.txt{_whose(benchmark, folder) or _inside(folder)}"
        )
    runs = {entry["fingerprint"] for name, entry in read_record(folder).items() if paths.get(name)}
    if len(runs) > 1:
        raise ValueError(
            f"{tracker}: {folder} mixes results of {len(runs)} runs (other weights or settings): test it again"
        )
    problems = []
    if missing := sorted(name for name, path in paths.items() if path is None):
        problems.append(f"{tracker}: no file in {folder} for {len(missing)} of {len(names)}: {', '.join(missing)}")
        if len(missing) > len(names) / 2 and (whose := _whose(benchmark, folder)):
            raise ValueError(f"{problems[0][:200]}…{whose}, not of {benchmark.name}")
    outputs, differ = {}, []
    for annotation in (annotation for annotation in annotations if paths[annotation.name]):
        try:
            boxes = read_boxes(paths[annotation.name], benchmark.rule.round_corners)
            if len(range(0, len(boxes), benchmark.rule.every)) != len(annotation.boxes_xywh):
                expected = _frames(benchmark.rule, len(annotation.boxes_xywh))
                differ.append(f"{annotation.name} ({len(boxes)} rows for {expected})")
            outputs[annotation.name] = make_output(benchmark.rule, annotation, paths[annotation.name], boxes)
        except ValueError as error:
            problems.append(f"{tracker}/{annotation.name}: {error}")
    _refuse_other_data(benchmark, differ, len(names) - len(missing), f"{tracker}: {folder}")
    return outputs, problems


def _refuse_other_data(benchmark: Benchmark, differ: list[str], found: int, where: str) -> None:
    """Raises ValueError where most results have another length than their annotations: they are of other data."""
    if found > 5 and len(differ) > found / 2:
        raise ValueError(
            f"{where}: {len(differ)} of {found} results have another length than {benchmark.name}'s annotations, for "
            f"example {', '.join(differ[:3])}: results of another benchmark with the same names, or annotations of "
            "another release"
        )


def _whose(benchmark: Benchmark, folder: Path) -> str:
    """A hint at the other benchmark whose results lie in a folder, or nothing."""
    stems = {path.name.removesuffix(".txt") for path in folder.iterdir()}
    for name, words in SIGNATURES.items():
        if name not in _own_signatures(benchmark) and any(
            stem == word or stem.endswith(f"_{word}") for stem in stems for word in words.split()
        ):
            return f"; these look like results of {name}"
    return ""


def _inside(folder: Path) -> str:
    """A hint at the folders in a folder, which may be meant, or nothing."""
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return f"; there are folders in it: {', '.join(folders[:5])}" if folders else ""


def make_output(rule: Rule, annotation: Annotation, path: Path, boxes: np.ndarray) -> Output:
    """One sequence's boxes with what lies beside their file. Raises ValueError for what does not fit or is broken."""
    frames, rows = len(annotation.boxes_xywh), len(boxes)
    boxes = boxes[:: rule.every]
    if problem := _wrong_length(rule, frames, len(boxes)):
        raise ValueError(f"{rows} rows for {_frames(rule, frames)} in {path}{problem}")
    if rule.pad_short_results and len(boxes) < frames:
        boxes = np.concatenate([boxes, np.zeros((frames - len(boxes), 4))])
    scores = None
    if rule.needs_scores:
        companion = find_companion(path, "_score")
        if companion is None:
            raise ValueError(f"no confidence file beside {path}")
        scores = read_confidences(companion) if is_vot(path) else read_numbers(companion)
        if len(scores) != frames:
            raise ValueError(f"{len(scores)} rows for {frames} frames in {companion}")
    companion = find_companion(path, "_time")
    return Output(boxes[:frames], scores, read_numbers(companion) if companion else None, rows)


def _wrong_length(rule: Rule, frames: int, rows: int) -> str | None:
    """What to say of a length that the rule does not take, or None."""
    if rows == frames or (rows > frames and rule.cut_long_results):
        return None
    if 0 < rows < frames and (rule.allow_short_results or rule.pad_short_results):
        return None
    return " (empty)" if not rows else f" (they differ from frame {min(rows, frames) * rule.every + 1} on)"


def _frames(rule: Rule, frames: int) -> str:
    return f"{frames} frames" if rule.every == 1 else f"{frames} annotated frames, one in {rule.every},"
