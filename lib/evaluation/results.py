"""Raw result files: what a tracker leaves behind for one sequence, and what other trackers have published.

    <folder>/<sequence>.txt          x y w h per frame, tabs, 4 decimals; row 0 is the given box
    <folder>/<sequence>_time.txt     seconds per frame            <sequence>_score.txt    confidence per frame

Reading also takes commas and blanks, a tracker's name before the sequence's (`OTR_car.txt`), and the VOT toolkit's
layout (`car/car_001.txt` with `car_001_confidence.value` and `car_001_time.value`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np

from lib.utils.boxes import xyxy_to_xywh
from lib.utils.files import parse_rows, write_text

# What follows the sequence's name in files that hold one number per frame; the VOT toolkit's endings for the same.
RECORD = "run.json"
RESULT_SUFFIXES = ("_time", "_score")
VOT_ENDINGS = {"_time": "_time.value", "_score": "_confidence.value"}


def read_record(folder: Path) -> dict[str, dict[str, str]]:
    """Which run each of our own results in a folder comes from, by sequence; empty for other trackers' results."""
    try:
        return json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}  # without it nothing counts as finished


def write_record(folder: Path, record: dict[str, dict[str, str]]) -> None:
    """Writes what `read_record` reads."""
    write_text(Path(folder) / RECORD, json.dumps(record, indent=1))


def write_result(folder: Path, name: str, boxes_xywh: np.ndarray, times: np.ndarray, scores: np.ndarray) -> None:
    """Writes the three files of one sequence, the boxes last: a sequence whose box file exists is complete.

    Args:
        boxes_xywh: (N, 4) image pixels.
        times: (N,) seconds.
        scores: (N,) confidence.

    Raises:
        ValueError: the three do not have the same number of frames, or another sequence's boxes are in the way.
    """
    boxes, times, scores = np.asarray(boxes_xywh), np.asarray(times), np.asarray(scores)
    frames = len(boxes)
    if boxes.shape != (frames, 4) or times.shape != (frames,) or scores.shape != (frames,):
        shapes = f"{boxes.shape}, {times.shape}, {scores.shape}"
        raise ValueError(f"{name}: expected (N, 4) boxes, (N,) times and (N,) scores, got {shapes}")
    folder = Path(folder)
    for suffix in RESULT_SUFFIXES:
        taken = folder / f"{name}{suffix}.txt"
        if taken.is_file() and first_row_length(taken) > 1:
            raise ValueError(f"{taken} holds the boxes of sequence '{taken.stem}': '{name}' would overwrite them")
    write_text(folder / f"{name}_time.txt", "".join(f"{value:.6f}\n" for value in times.tolist()))
    write_text(folder / f"{name}_score.txt", "".join(f"{value:.6f}\n" for value in scores.tolist()))
    write_text(folder / f"{name}.txt", "".join("\t".join(f"{v:.4f}" for v in row) + "\n" for row in boxes.tolist()))


def read_boxes(path: Path, round_corners: bool = False) -> np.ndarray:
    """Reads one box per row as (N, 4) float64 xywh.

    Rows of 8 numbers are the corners of a quadrilateral and become the axis-aligned box around it, without a one-pixel
    shift. A row with a single number is one of the VOT toolkit's codes (initialised, lost) and becomes NaN.

    Args:
        round_corners: such boxes to whole pixels, halves away from zero.

    Raises:
        ValueError: a row of another length, or a word that is no number, with file and line.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8-sig")
    if is_vot(path):
        text = "\n".join("nan nan nan nan" if line.strip().isdecimal() else line for line in text.splitlines())
    rows = parse_rows(text, str(path), columns=(4, 8))
    if rows.shape[1] == 4:
        return rows
    corners = rows.reshape(-1, 4, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    boxes = xyxy_to_xywh(np.concatenate([low, high], axis=1))
    return np.sign(boxes) * np.floor(np.abs(boxes) + 0.5) if round_corners else boxes


def read_numbers(path: Path) -> np.ndarray:
    """Reads one number per line as (N,) float64; a blank line (the VOT toolkit's first frame) is NaN.

    Raises:
        ValueError: a line that is no number, with file and line.
    """
    lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    return parse_rows("\n".join(line.strip() or "nan" for line in lines), str(path), columns=(1,))[:, 0]


def find_result(folder: Path, name: str, names: Collection[str] = ()) -> Path | None:
    """Finds the box file of sequence `name`, or None.

    Args:
        names: all sequences of the benchmark. `OTR_old_man.txt` belongs to `old_man`, not to `man`, if both are listed.

    Raises:
        ValueError: several files could be meant.
    """
    folder = Path(folder)
    for path in (folder / f"{name}.txt", folder / name / f"{name}_001.txt"):
        if path.is_file() and holds_boxes(path):
            return path
    ending = f"_{name}"
    longer = [f"_{other}" for other in names if other.endswith(ending)]  # sequences that own files with the same ending
    found = [
        path
        for path in sorted(folder.glob("*.txt"))
        if path.stem.endswith(ending)
        and path.stem not in names
        and not any(path.stem.endswith(other) for other in longer)
        and holds_boxes(path)
    ]
    if len(found) > 1:
        raise ValueError(f"{folder}: {', '.join(path.name for path in found)} may all be the result of '{name}'")
    return found[0] if found else None


def find_companion(path: Path, suffix: str) -> Path | None:
    """The file beside a box file with one number per frame, or None. `suffix` is one of RESULT_SUFFIXES."""
    ending = VOT_ENDINGS[suffix] if is_vot(path) else f"{suffix}.txt"
    companion = path.with_name(path.stem + ending)
    return companion if companion.is_file() and first_row_length(companion) <= 1 else None


def is_vot(path: Path) -> bool:
    """Whether a box file lies in the VOT toolkit's layout, <sequence>/<sequence>_001.txt."""
    return path.stem == f"{path.parent.name}_001"


def holds_boxes(path: Path) -> bool:
    """False for the times or scores of another sequence. A sequence may itself be called x_time, so the rows decide."""
    return not path.stem.endswith(RESULT_SUFFIXES) or first_row_length(path) != 1


def first_row_length(path: Path) -> int:
    """How many numbers the first line of a result file holds."""
    with path.open(encoding="utf-8-sig") as file:
        return len(file.readline().replace(",", " ").split())
