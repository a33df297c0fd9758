"""Raw result files: the files of one sequence, in our layout and in the layouts of published results.

    <folder>/<sequence>.txt          x y w h per frame, tabs, 4 decimals; row 0 is the initial box
    <folder>/<sequence>_time.txt     seconds per frame            <sequence>_score.txt    confidence per frame
    <folder>/<sequence>_drop.txt     missing images per frame, see `drop.py`; only in runs with a drop

Reading also accepts commas and blanks, a tracker's name before the sequence's (`OTR_car.txt`), and the VOT toolkit's
layout (`car/car_001.txt` with `car_001_confidence.value` and `car_001_time.value`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lib.data.drop import AnyDrop, parse_drop
from lib.results.vot_files import read_trajectory
from lib.utils.boxes import xyxy_to_xywh
from lib.utils.files import decode_text, parse_rows, read_text, write_text
from lib.utils.locks import exclusive
from lib.utils.texts import shorten

# Suffixes of files with one number per frame, after the sequence's name, and the same in the VOT toolkit's layout.
RECORD = "run.json"
RESULT_SUFFIXES = ("_time", "_score")
DROP_SUFFIX = "_drop"
COMPANIONS = (*RESULT_SUFFIXES, DROP_SUFFIX)
EXPERIMENTS = ("rgbd-unsupervised", "baseline")  # subfolders of a tracker's folder in the VOT toolkit's layout
FIRST_BYTES = 4096  # of a file; its first line ends in them
VOT_ENDINGS = {"_time": "_time.value", "_score": "_confidence.value"}


def read_record(folder: Path) -> dict[str, dict[str, str]]:
    """Reads the run of each of our results in a folder, by sequence; empty if there is no valid record."""
    try:
        record = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # without a record, no sequence counts as finished
    is_valid = isinstance(record, dict) and all(isinstance(entry, dict) for entry in record.values())
    return record if is_valid else {}


def read_drop(folder: Path) -> AnyDrop | None:
    """Reads which images were withheld in the results of a folder, see `drop.py`; None: no image.

    Raises:
        ValueError: the folder contains results with several drops.
    """
    return drop_of(read_record(folder), folder)


def drop_of(record: dict[str, dict[str, str]], folder: Path) -> AnyDrop | None:
    """Like `read_drop`, for a record that was read from `folder`.

    Raises:
        ValueError: the record contains several drops or an invalid one.
    """
    drops = sorted({entry.get("drop", "") for entry in record.values()})
    if len(drops) > 1:
        raise ValueError(f"{folder} mixes results with different parts of the input dropped: {shorten(drops)}")
    try:
        return parse_drop(drops[0]) if drops and drops[0] else None
    except ValueError as error:
        raise ValueError(f"{Path(folder) / RECORD}: {error}; run tracking/test.py again") from None


def write_record(folder: Path, record: dict[str, dict[str, str]]) -> None:
    """Writes the record that `read_record` reads, atomically. Raises OSError if it cannot be written."""
    write_text(Path(folder) / RECORD, json.dumps(record, indent=1))


def add_to_record(folder: Path, sequence: str, entry: dict[str, str]) -> None:
    """Adds a result to the record of a folder, and keeps what other processes add at the same time.

    Raises:
        OSError: the record cannot be written.
    """
    with exclusive(Path(folder) / f".{RECORD}.lock"):
        write_record(folder, {**read_record(folder), sequence: entry})


def write_result(
    folder: Path,
    name: str,
    boxes_xywh: np.ndarray,
    times: np.ndarray,
    scores: np.ndarray,
    drops: np.ndarray | None = None,
) -> None:
    """Writes the files of one sequence. The box file is written last, so that it marks a complete result.

    Args:
        boxes_xywh: (N, 4) image pixels.
        times: (N,) seconds.
        scores: (N,) confidence.
        drops: (N,) missing images of each frame, see `drop.CODES`; None: no image, an older file is removed.

    Raises:
        ValueError: the numbers of frames differ, or a file of another sequence would be overwritten.
        OSError: a file cannot be written.
    """
    boxes, times, scores = np.asarray(boxes_xywh), np.asarray(times), np.asarray(scores)
    frames = len(boxes)
    if boxes.shape != (frames, 4) or times.shape != (frames,) or scores.shape != (frames,):
        shapes = f"{boxes.shape}, {times.shape}, {scores.shape}"
        raise ValueError(f"{name}: expected (N, 4) boxes, (N,) times and (N,) scores, got {shapes}")
    if drops is not None and np.shape(drops) != (frames,):
        raise ValueError(f"{name}: {np.shape(drops)} drops for {frames} frames")
    folder = Path(folder)
    _refuse_overwriting(folder, name)
    write_text(folder / f"{name}_time.txt", numbers_text(times))
    write_text(folder / f"{name}_score.txt", numbers_text(scores))
    if drops is not None:
        write_text(folder / f"{name}{DROP_SUFFIX}.txt", "".join(f"{code}\n" for code in drops.tolist()))
    elif (stale := folder / f"{name}{DROP_SUFFIX}.txt").is_file() and not holds_boxes(stale):
        stale.unlink()
    write_text(folder / f"{name}.txt", boxes_text(boxes))


def _refuse_overwriting(folder: Path, name: str) -> None:
    """Raises ValueError if a file of another sequence would be overwritten: sequences can be named x and x_time."""
    for suffix in COMPANIONS:
        taken = folder / f"{name}{suffix}.txt"
        if taken.is_file() and first_row_length(taken) > 1:
            raise ValueError(f"{taken} contains the boxes of sequence '{taken.stem}': '{name}' would overwrite them")
    own = folder / f"{name}.txt"
    if own.is_file() and not holds_boxes(own):
        raise ValueError(f"{own} contains numbers of another sequence: the boxes of '{name}' would overwrite them")


def boxes_text(rows: np.ndarray, delimiter: str = "\t") -> str:
    """Returns (N, 4) or (N, 8) numbers as lines with 4 decimals."""
    return "".join(delimiter.join(f"{value:.4f}" for value in row) + "\n" for row in np.asarray(rows).tolist())


def numbers_text(values: np.ndarray) -> str:
    """Returns (N,) numbers as lines with 6 decimals."""
    return "".join(f"{value:.6f}\n" for value in np.asarray(values).tolist())


def read_boxes(path: Path, round_corners: bool = False) -> np.ndarray:
    """Reads one box per row as (N, 4) float64 xywh.

    Rows of 8 numbers are the corners of a quadrilateral and become the axis-aligned box around it, without a one-pixel
    shift. A row with a single number is one of the VOT toolkit's codes (initialised, lost) and becomes NaN.

    Args:
        round_corners: round these boxes to integer pixels, halves away from zero.

    Raises:
        ValueError: a row has the wrong length, or a word is not a number; names file and line.
    """
    return boxes_of(read_rows(path), round_corners)


def read_rows(path: Path) -> np.ndarray:
    """Reads the numbers of a box file unchanged, (N, 4) xywh or (N, 8) corners. Raises ValueError as `read_boxes`."""
    path = Path(path)
    if path.suffix == ".bin":
        return read_trajectory(path)
    return _parse_rows(read_text(path), str(path), is_vot(path))


def parse_boxes(text: str, source: str, with_codes: bool = False) -> np.ndarray:
    """Parses one box per row of a text as (N, 4) float64 xywh, see `read_boxes`.

    Args:
        source: name of the file, for error texts.
        with_codes: the text may contain codes of the VOT toolkit, which become NaN.

    Raises:
        ValueError: as `read_boxes`.
    """
    return boxes_of(_parse_rows(text, source, with_codes))


def _parse_rows(text: str, source: str, with_codes: bool) -> np.ndarray:
    """Parses a text, see `read_rows`."""
    columns = columns_after_code(text)
    if columns:
        text = " ".join(["nan"] * columns) + "\n" + text.lstrip().partition("\n")[2]
    if with_codes:
        text = "\n".join("nan nan nan nan" if line.strip().isdecimal() else line for line in text.splitlines())
    return parse_rows(text, source, columns=(4, 8))


def columns_after_code(text: str) -> int:
    """Returns the number of words in line 2 if line 1 is "1", the VOT toolkit's code for the given box; else 0."""
    first, second = (*text.lstrip().split("\n", 2), "", "")[:2]
    return len(second.replace(",", " ").split()) if first.strip() == "1" else 0


def boxes_of(rows: np.ndarray, round_corners: bool = False) -> np.ndarray:
    """Converts (N, 8) corners to (N, 4) xywh, rounded to integer pixels if wanted. Returns (N, 4) xywh unchanged."""
    if rows.shape[1] == 4:
        return rows
    corners = rows.reshape(-1, 4, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    boxes = xyxy_to_xywh(np.concatenate([low, high], axis=1))
    return np.sign(boxes) * np.floor(np.abs(boxes) + 0.5) if round_corners else boxes


def read_numbers(path: Path) -> np.ndarray:
    """Reads one number per line as (N,) float64; a blank line (the VOT toolkit's first frame) is NaN.

    Raises:
        ValueError: a line is not a number; names file and line.
    """
    return parse_numbers(read_text(path), str(path))


def parse_numbers(text: str, source: str) -> np.ndarray:
    """Parses one number per line of a text as (N,) float64, see `read_numbers`.

    Args:
        source: name of the file, for error texts.

    Raises:
        ValueError: a line is not a number.
    """
    lines = text.rstrip().splitlines()
    return parse_rows("\n".join(line.strip() or "nan" for line in lines), source, columns=(1,))[:, 0]


def experiment_folder(folder: Path) -> Path:
    """Returns the folder of an experiment of the VOT toolkit in a tracker's folder, or else the folder itself."""
    return next((folder / name for name in EXPERIMENTS if (folder / name).is_dir()), folder)


def find_companion(path: Path, suffix: str) -> Path | None:
    """Returns the file with one number per frame that belongs to a box file, or None.

    Args:
        suffix: one of COMPANIONS.
    """
    ending = VOT_ENDINGS.get(suffix, f"{suffix}.value") if is_vot(path) else f"{suffix}.txt"
    companion = path.with_name(path.stem + ending)
    return companion if companion.is_file() and first_row_length(companion) <= 1 else None


def is_vot(path: Path) -> bool:
    """Returns whether a box file is in the VOT toolkit's layout, <sequence>/<sequence>_001.txt."""
    return path.stem == f"{path.parent.name}_001"


def holds_boxes(path: Path) -> bool:
    """Returns whether a file contains boxes, and not times, scores or drops.

    A sequence can be named x_time, so the number of columns decides.
    """
    return not path.stem.endswith(COMPANIONS) or first_row_length(path) != 1


def first_row_length(path: Path) -> int:
    """Returns the number of words in the first line of a result file, and 1 for a file that is not text."""
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
    try:
        text = decode_text(start[: len(start) // 2 * 2] if len(start) == FIRST_BYTES else start, str(path))
    except ValueError:
        return 1
    after = columns_after_code(text)
    return after if after in (4, 8) else len(text.partition("\n")[0].replace(",", " ").split())
