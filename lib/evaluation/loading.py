"""Reads a tracker's result folder into checked Outputs, and lists what is missing or does not fit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.checks import FIRST_LESS, OTHER_IMAGES, check_times, row_remark
from lib.evaluation.rules.base import Benchmark, Output, Remark
from lib.results.folder import ResultFolder
from lib.results.matching import nearest_files
from lib.results.raw import boxes_of, first_row_length, is_vot, read_numbers, read_rows
from lib.results.vot_files import read_confidences
from lib.utils.boxes import iou_xywh
from lib.utils.texts import MOST, shorten

# Names of sequences that occur in only one benchmark: they show to which benchmark results belong. RGBT210 and RGBT234
# have the same names, but sequences of different length.
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
    """Raises ValueError if the names show annotations of a different benchmark, or if there are too many sequences."""
    names = {annotation.name for annotation in annotations}
    owners = [name for name, words in SIGNATURES.items() if names & set(words.split())]
    own = _own_signatures(benchmark)
    if own and owners and not set(own) & set(owners):
        raise ValueError(f"these are annotations of {owners[0]}, expected annotations of {benchmark.name}")
    if set(own) & set(owners) and len(names) > benchmark.sequences:
        raise ValueError(
            f"{benchmark.name} has {benchmark.sequences} sequences, got annotations of {len(names)}: use its test "
            "set, or score a different benchmark (LasHeR_all is LasHeR's training and test set)"
        )


def _own_signatures(benchmark: Benchmark) -> list[str]:
    """Returns the keys of SIGNATURES that belong to this benchmark; LasHeR_all has those of LasHeR."""
    return [name for name in SIGNATURES if benchmark.name.split("_")[0] in name]


class ReadOptions(NamedTuple):
    """Options for reading result files. By default, every result must have one box per annotated frame."""

    cut_long: bool = False  # ignore rows after the last annotated frame; False: error
    allow_short: bool = False  # ignore frames after the last result row; False: error
    pad_short: bool = False  # use the box 0 0 0 0 for frames after the last result row
    round_corners: bool = False  # round boxes given as four corners to integer pixels, halves away from zero
    with_scores: bool = False  # read the confidence of every frame


STRICT_READING = ReadOptions()


def load_outputs(
    benchmark: Benchmark,
    annotations: list[Annotation],
    results: ResultFolder,
    options: ReadOptions = STRICT_READING,
) -> tuple[dict[str, Output], list[str]]:
    """Reads a tracker's results.

    Returns:
        Sequence → Output for all valid results; and a text for each problem with the others.

    Raises:
        ValueError: the folder has no result of this benchmark, or results of several runs or of a different benchmark.
    """
    tracker, every = results.tracker, benchmark.rule.every
    paths, problems = _find_files(benchmark, results, [annotation.name for annotation in annotations])
    outputs, differ, found, others = {}, [], 0, results.unread(paths)
    surplus: Counter[int] = Counter()  # number of rows that a result has more than frames → number of results
    for annotation in annotations:
        path, frames, remarks = paths[annotation.name], len(annotation.boxes_xywh), []
        if path is None:
            continue
        found += 1
        try:
            rows = boxes_of(results.read(path, read_rows), options.round_corners)
            remarks = _name_remarks(annotation.name, path, others)
            if not annotation.fits_images(len(rows)):
                images = f"{annotation.name} ({len(rows)} rows for {annotation.numbers[-1] + 1} images)"
                remarks.append(Remark(OTHER_IMAGES, images))
            if len(annotation.select(rows, every)) != frames:
                remark = row_remark(annotation, rows) if every == 1 else None
                remarks += [remark] if remark else []
                differ.append(f"{annotation.name} ({len(rows)} rows for {_frames(frames, every)})")
                surplus[len(rows) - frames] += 1
            outputs[annotation.name] = _make_output(results, annotation, path, rows, every, options, remarks)
        except ValueError as error:
            hint = f"; {remarks[-1].text}" if remarks and remarks[-1].text == FIRST_LESS else ""
            problems.append(f"{tracker}/{annotation.name}: {error}{hint}")
    # One row more or less nearly everywhere is a way to write results, not another benchmark.
    if max(surplus[1], surplus[-1]) < 0.8 * len(differ) or not differ:
        _refuse_other_data(benchmark, differ, found, f"{tracker}: {results.path}")
    return outputs, problems


def _find_files(
    benchmark: Benchmark, results: ResultFolder, names: list[str]
) -> tuple[dict[str, Path | None], list[str]]:
    """Returns sequence → box file or None, and a text that lists missing ones. Raises ValueError as `load_outputs`."""
    tracker, folder = results.tracker, results.path
    paths = results.find(names)
    if names and not any(paths.values()):
        raise ValueError(
            f"{tracker}: {folder} contains no result of {benchmark.name}'s {len(names)} sequences, expected e.g. "
            f"{names[0]}.txt{_other_benchmark_hint(benchmark, folder) or _subfolder_hint(folder)}"
        )
    runs = {entry["fingerprint"] for name, entry in results.record.items() if paths.get(name)}
    if len(runs) > 1:
        raise ValueError(
            f"{tracker}: {folder} mixes results of {len(runs)} runs (different weights or settings); test it again"
        )
    missing = sorted(name for name, path in paths.items() if path is None)
    if not missing:
        return paths, []
    problem = f"{tracker}: no file in {folder} for {len(missing)} of {len(names)}: {shorten(missing)}"
    near = [f"{file.name} for {name}" for name, file in nearest_files(folder, missing[:MOST]).items()]
    problem += f"; did you mean {shorten(near)}?" if near else ""
    if len(missing) > len(names) / 2 and (hint := _other_benchmark_hint(benchmark, folder)):
        raise ValueError(f"{problem}{hint}, not of {benchmark.name}")
    return paths, [problem]


def _refuse_other_data(benchmark: Benchmark, differ: list[str], found: int, where: str) -> None:
    """Raises ValueError if most results differ in length from their annotations: they belong to different data."""
    if found > 5 and len(differ) > found / 2:
        raise ValueError(
            f"{where}: {len(differ)} of {found} results differ in length from {benchmark.name}'s annotations, for "
            f"example {', '.join(differ[:3])}: results of a different benchmark with the same names, or annotations of "
            "a different release"
        )


def _other_benchmark_hint(benchmark: Benchmark, folder: Path) -> str:
    """Returns a text with the benchmark whose results are in a folder, if it is a different one; else ""."""
    stems = {path.name.removesuffix(".txt") for path in folder.iterdir()}
    for name, words in SIGNATURES.items():
        if name not in _own_signatures(benchmark) and any(
            stem == word or stem.endswith(f"_{word}") for stem in stems for word in words.split()
        ):
            return f"; these look like results of {name}"
    return ""


def _subfolder_hint(folder: Path) -> str:
    """Returns a text with the subfolders of a folder, one of which may be the right one; "" if there is none."""
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return f"; there are folders in it: {', '.join(folders[:5])}" if folders else ""


def _name_remarks(name: str, path: Path, others: dict[str, Path]) -> list[Remark]:
    """Returns remarks about a result that has another file name than expected, or beside which there is another."""
    remarks = []
    if path.name not in (f"{name}.txt", f"{name}_001.txt", f"{name}_001.bin") or path.parent.name == path.stem:
        remarks.append(Remark("are read from files with other names", f"{path.name} for {name}"))
    if name in others:
        remarks.append(Remark("have another file that is not read", f"{others[name].name} beside {path.name}"))
    return remarks


def _make_output(
    results: ResultFolder,
    annotation: Annotation,
    path: Path,
    rows: np.ndarray,
    every: int,
    options: ReadOptions,
    remarks: list[Remark],
) -> Output:
    """Reads boxes and companion files of one sequence. Raises ValueError if a file is invalid or does not fit."""
    frames, annotated = len(annotation.boxes_xywh), annotation.select(rows, every)
    boxes = annotated[:frames]
    _check_length(len(rows), len(annotated), frames, every, options, path)
    # Shared by all protocols with the same rounding: rows that a protocol cuts or pads have no overlap.
    overlaps = results.once(
        ("overlaps", annotation, options.round_corners), lambda: annotation_overlaps(annotation, boxes)
    )
    if options.pad_short:
        missing = frames - len(boxes)
        boxes = np.pad(boxes, ((0, missing), (0, 0)))
        overlaps = tuple(np.pad(overlap, (0, missing)) for overlap in overlaps)
    scores = None
    if options.with_scores:
        scores, problem = _read_scores(results, path, frames)
        if problem:
            remarks = [*remarks, Remark("have no usable confidences; every frame counts as equally sure", problem)]
    times, problem = _read_times(results, path, len(rows))
    if problem:
        remarks = [*remarks, Remark("have no usable times and are left out of FPS", problem)]
    return Output(boxes, overlaps, scores, times, len(rows), tuple(remarks))


def _check_length(rows: int, got: int, frames: int, every: int, options: ReadOptions, path: Path) -> None:
    """Raises ValueError for a length that the rule does not accept.

    Args:
        rows: number of rows of the result file.
        got: number of these that belong to annotated frames.
        frames: number of annotated frames, one in `every`.
    """
    if got == frames or (got > frames and options.cut_long):
        return
    if 0 < got < frames and (options.allow_short or options.pad_short):
        return
    detail = f"they differ from frame {min(got, frames) * every + 1} on" if got else "empty"
    raise ValueError(f"{rows} rows for {_frames(frames, every)} in {path} ({detail})")


def _frames(frames: int, every: int) -> str:
    return f"{frames} frames" if every == 1 else f"{frames} annotated frames, one in {every},"


def _read_scores(results: ResultFolder, path: Path, frames: int) -> tuple[np.ndarray, str]:
    """Returns (N,) confidences, all 1 if the file is broken, and what is wrong with it, as text.

    Raises:
        ValueError: there is no file.
    """
    companion = results.companion(path, "_score")
    if companion is None:
        raise ValueError(f"no confidence file next to {path}")
    try:
        scores = results.read(companion, read_confidences if is_vot(path) else read_numbers)
        problem = "" if len(scores) == frames else f"{companion.name}: {len(scores)} rows for {frames} frames"
    except ValueError as error:
        scores, problem = np.ones(frames), str(error)
    return (np.ones(frames), problem) if problem else (scores, "")


def _read_times(results: ResultFolder, path: Path, rows: int) -> tuple[np.ndarray | None, str]:
    """Returns the times of a result, None if there is no usable file, and what is wrong with it, as text."""
    companion = results.companion(path, "_time")
    if companion is None:
        other = path.with_name(f"{path.stem}_time.txt")
        columns = first_row_length(other) if other.is_file() else 0
        return None, "" if columns in (0, 4, 8) else f"{other.name} ({columns} numbers per row)"
    try:
        times = results.read(companion, read_numbers)
    except ValueError as error:
        return None, str(error)
    problem = check_times(times, rows)
    return (None, f"{companion.name} ({problem})") if problem else (times, "")


def annotation_overlaps(annotation: Annotation, boxes_xywh: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the (N,) IoU of (N, 4) boxes with the first N annotated boxes, for each annotated modality.

    The IoU is in [0, 1], and 0 if a box is invalid.
    """
    truths = (annotation.boxes_xywh, annotation.aux_boxes_xywh)
    return tuple(iou_xywh(boxes_xywh, truth[: len(boxes_xywh)]) for truth in truths if truth is not None)
