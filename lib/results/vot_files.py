"""Files of the VOT toolkit: trajectories as text or binary, confidences, anchors of the multistart experiment."""

from __future__ import annotations

import struct
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.utils.files import parse_rows, read_text

BINARY_VERSION = 1  # of the toolkit's binary result files


def read_trajectory(path: Path) -> np.ndarray:
    """Reads the toolkit's result or annotation file, text (.txt) or binary (.bin), as (N, 4) xywh; codes become NaN.

    Raises:
        ValueError: the file is invalid, or a region is not a rectangle.
    """
    path = Path(path)
    if path.suffix == ".bin":
        return _read_binary(path.read_bytes(), path)
    lines = read_text(path).splitlines()
    codes = [len(line.replace(",", " ").split()) <= 1 and not line.startswith("m") for line in lines]
    rows = ["nan nan nan nan" if code else line for code, line in zip(codes, lines, strict=True)]
    boxes = parse_rows("\n".join(rows), f"{path} (only rectangles can be scored)")
    return np.where(np.isnan(boxes).any(axis=1, keepdims=True), np.nan, boxes)


def _read_binary(data: bytes, path: Path) -> np.ndarray:
    try:
        version, length = struct.unpack_from("<hI", data)
        if version != BINARY_VERSION:
            raise ValueError(f"{path}: version {version} of the binary format, expected {BINARY_VERSION}")
        boxes, offset = np.full((length, 4), np.nan), 6
        for row in range(length):
            kind = data[offset]
            if kind not in (0, 1):
                raise ValueError(f"{path}, frame {row}: region of type {kind}; only rectangles (1) can be scored")
            if kind == 1:
                boxes[row] = struct.unpack_from("<ffff", data, offset + 1)
            offset += 17 if kind else 5
    except (struct.error, IndexError):
        raise ValueError(f"{path}: the file is cut off ({len(data)} bytes); run the sequence again") from None
    return boxes


def read_confidences(path: Path) -> np.ndarray:
    """Reads `<sequence>_001_confidence.value` as (N,) float64.

    A blank line, as for the first frame, is a confidence of 0, which the toolkit uses as a threshold. NaN is no
    confidence.

    Raises:
        ValueError: a word is not a number; names the line.
    """
    lines = read_text(path).splitlines()
    return parse_rows("\n".join(line.strip() or "0" for line in lines), str(path), columns=(1,))[:, 0]


class Anchor(NamedTuple):
    """A frame where a run starts, which goes to the end of the sequence or backward to its first frame."""

    frame: int  # from 0
    backward: bool

    def frames(self, length: int) -> np.ndarray:
        """Returns the numbers of the frames of the run in the order of tracking, (n,) int, for `length` frames."""
        return np.arange(self.frame, -1, -1) if self.backward else np.arange(self.frame, length)


def read_anchors(path: Path, length: int) -> list[Anchor]:
    """Reads the anchors of a sequence from `anchor.value`: one number per frame, see `anchors_of`.

    Args:
        length: number of frames of the sequence.

    Raises:
        ValueError: there are more rows than frames, or no anchor.
        FileNotFoundError: the file is missing. Anchors are part of the data set and cannot be computed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; multistart needs the anchors of the data set")
    values = parse_rows(read_text(path), str(path), columns=(1,))[:, 0]
    if len(values) > length:
        raise ValueError(f"{path}: {len(values)} rows for {length} frames")
    return anchors_of(values, str(path))


def anchors_of(values: SequenceOf[float], source: str) -> list[Anchor]:
    """Returns forward anchors for frames with a value above 0, then backward anchors for values below 0.

    Args:
        values: one number per frame.
        source: name of the file, for error texts.

    Raises:
        ValueError: there is no anchor.
    """
    forward, backward = (np.flatnonzero(side).tolist() for side in (np.array(values) > 0, np.array(values) < 0))
    if not forward + backward:
        raise ValueError(f"{source}: no anchor; expected numbers above or below 0 in frames where runs start")
    return [Anchor(frame, False) for frame in forward] + [Anchor(frame, True) for frame in backward]


def find_run(folder: Path, sequence: str, anchor: Anchor) -> Path | None:
    """Returns the file of a run in `baseline`, <sequence>/<sequence>_00000123.txt or .bin, or None."""
    stem = Path(folder) / sequence / f"{sequence}_{anchor.frame:08d}"
    paths = (stem.with_name(stem.name + suffix) for suffix in (".txt", ".bin"))
    return next((path for path in paths if path.is_file()), None)
