"""Packs raw results into the archive that the tool of a benchmark or the VOT toolkit reads.

The row of a benchmark defines the form of the files. The same results give the same bytes, because names are sorted and
time stamps are fixed. `unpack.py` reads archives.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.results.matching import find_results
from lib.results.raw import (
    boxes_text,
    experiment_folder,
    find_companion,
    holds_boxes,
    is_vot,
    numbers_text,
    read_boxes,
    read_numbers,
)
from lib.results.vot_files import read_confidences, read_trajectory
from lib.utils.files import is_clutter


class Form(NamedTuple):
    """The result files that the tool of a benchmark reads. Paths contain {tracker} and {sequence}."""

    boxes: str  # path in the archive; with `runs`, path of the sequence's folder
    delimiter: str = ","
    corners: bool = False  # x1 y1 x2 y1 x2 y2 x1 y2 instead of x y w h
    codes: bool = False  # a frame without a box has a code of the VOT toolkit, not NaN
    score: str = ""  # path of the confidences; "": not packed
    time: str = ""  # path of the times in seconds; "": not packed
    runs: bool = False  # several runs per sequence, in files of the VOT toolkit, packed unchanged


COMMA = Form("{tracker}/{sequence}.txt")
BLANK = COMMA._replace(delimiter=" ")
TAB = COMMA._replace(delimiter="\t")
CORNERS = Form("{tracker}/{tracker}_{sequence}.txt", delimiter=" ", corners=True)
# The first frame has its initial box with a confidence of 1, as in published results. The toolkit then computes the
# same scores from the archive as we do from the files.
UNSUPERVISED = Form(
    "{tracker}/rgbd-unsupervised/{sequence}/{sequence}_001.txt",
    codes=True,
    score="{tracker}/rgbd-unsupervised/{sequence}/{sequence}_001_confidence.value",
    time="{tracker}/rgbd-unsupervised/{sequence}/{sequence}_001_time.value",
)
RUNS = Form("{tracker}/baseline/{sequence}", runs=True)
INITIALISED, UNKNOWN = "1", "0"  # the toolkit's codes for the initial frame and for a frame without a box
RUN_FILE = r"_\d{8}(\.txt|\.bin|_\w+\.value)"  # suffix after the sequence's name
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can store


def pack_results(folder: Path, form: Form, tracker: str, names: Collection[str] | None = None) -> dict[str, bytes]:
    """Reads a tracker's raw results and converts them to a form: path in the archive → content.

    Args:
        tracker: name of the tracker in the archive: letters, digits, "-", "_" and ".".
        names: names of the sequences; None: all sequences with a result in `folder`.

    Raises:
        ValueError: results are missing (one message lists all), a file is invalid or empty, or `tracker` is not a valid
            name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", tracker):
        raise ValueError(f"tracker '{tracker}': expected letters, digits, '-', '_' and '.' (the name of a folder)")
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder")
    folder = experiment_folder(Path(folder))
    listed = list_runs(folder) if form.runs else list_results(folder)
    if names is not None:
        found = listed if form.runs else find_results(folder, names)
        listed = {name: found.get(name) for name in names}
    if missing := sorted(name for name, path in listed.items() if path is None):
        raise ValueError(f"{folder}: no result of {len(missing)} of {len(listed)} sequences: {', '.join(missing)}")
    if not listed:
        what = "<sequence>/<sequence>_00000000.txt" if form.runs else "<sequence>.txt"
        raise ValueError(f"{folder}: no result, expected {what}")
    members: dict[str, bytes] = {}
    for name, path in listed.items():
        members |= (_pack_runs if form.runs else _pack_sequence)(path, form, tracker, name)
    return members


def tracker_name(folder: Path, benchmark: str) -> str:
    """Returns a tracker's name from its folder: <name>, or <tracker>/<config>/<benchmark> of tracking/test.py."""
    path = folder.absolute()
    return path.name if path.name != benchmark else f"{path.parents[1].name}_{path.parent.name}"


def check_count(folder: Path, form: Form, benchmark: str, sequences: int, allow_missing: bool = False) -> None:
    """Raises ValueError if the folder is missing or does not have results of all `sequences` (a number)."""
    if not folder.is_dir():
        raise ValueError(f"--results {folder}: no such folder")
    found = len((list_runs if form.runs else list_results)(experiment_folder(folder)))
    if found != sequences and not allow_missing:
        raise ValueError(
            f"{folder}: results of {found} sequences, {benchmark} has {sequences}; "
            "--annotations lists the missing ones, --allow-missing packs the others"
        )


def list_results(folder: Path) -> dict[str, Path]:
    """Returns all box files of a folder by sequence name, in our layout or the VOT toolkit's."""
    entries = [path for path in sorted(folder.iterdir()) if not is_clutter(path.name)]
    plain = {path.stem: path for path in entries if path.suffix == ".txt" and holds_boxes(path)}
    nested = (path / f"{path.name}_001" for path in entries if path.is_dir())
    files = (stem.with_name(stem.name + suffix) for stem in nested for suffix in (".txt", ".bin"))
    return {path.parent.name: path for path in files if path.is_file()} | plain


def list_runs(folder: Path) -> dict[str, Path]:
    """Returns the sequence folders that contain runs from anchors, by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and _run_files(path)}


def _run_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if re.fullmatch(re.escape(folder.name) + RUN_FILE, path.name)]


def _pack_sequence(path: Path, form: Form, tracker: str, name: str) -> dict[str, bytes]:
    boxes = read_boxes(path)
    if not len(boxes):
        raise ValueError(f"{path}: no box; run the sequence again")
    if form.corners and (negative := np.flatnonzero((boxes[:, 2:] < 0).any(axis=1))).size:
        raise ValueError(f"{path}, row {negative[0] + 1}: negative size, which cannot be written as corners")
    names = {"tracker": tracker, "sequence": name}
    members = {form.boxes.format(**names): _rows(boxes, form).encode()}
    for suffix, target in (("_score", form.score), ("_time", form.time)):
        companion = find_companion(path, suffix) if target else None
        if companion is not None:
            # A blank confidence of the toolkit means 0.
            values = (read_confidences if is_vot(path) and suffix == "_score" else read_numbers)(companion)
            if len(values) != len(boxes):
                raise ValueError(f"{companion}: {len(values)} rows for the {len(boxes)} boxes in {path.name}")
            members[target.format(**names)] = numbers_text(values).encode()
        elif suffix == "_score" and target:
            raise ValueError(f"{path}: no file with confidences, which the benchmark's tool needs")
    return members


def _rows(boxes_xywh: np.ndarray, form: Form) -> str:
    rows = boxes_xywh
    if form.corners:
        x1, y1, x2, y2 = (*boxes_xywh[:, :2].T, *(boxes_xywh[:, :2] + boxes_xywh[:, 2:]).T)
        rows = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1)
    text = boxes_text(rows, form.delimiter)
    if not form.codes or not np.isnan(boxes_xywh).any():
        return text
    lines = [
        UNKNOWN if lost else line for line, lost in zip(text.splitlines(), np.isnan(rows).any(axis=1), strict=True)
    ]
    if np.isnan(rows[0]).any():
        lines[0] = INITIALISED
    return "".join(f"{line}\n" for line in lines)


def _pack_runs(folder: Path, form: Form, tracker: str, name: str) -> dict[str, bytes]:
    members, target = {}, form.boxes.format(tracker=tracker, sequence=name)
    for path in _run_files(folder):
        if path.suffix != ".value" and not len(read_trajectory(path)):
            raise ValueError(f"{path}: the run has no frame; run the sequence again")
        members[f"{target}/{path.name}"] = path.read_bytes()
    return members


def make_zip(members: Mapping[str, bytes]) -> bytes:
    """Returns the bytes of a zip of these files; they depend only on names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, EARLIEST)
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, members[name], compresslevel=9)
    return buffer.getvalue()
