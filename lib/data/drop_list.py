"""Lists of missing images: which modality each frame of each sequence lacks.

Reads the files of Modality-missing-RGBT-Tracking (Lu et al., IJCV 2024) for the sets LasHeR_missing, RGBT234_missing
and VTUAV_missing. There is one JSON file per data set, with one pair of flags per frame:

    {"<sequence>": {"frames": N, "data": [[1.0, 1.0], [0.0, 1.0], …]}, …}     1: the RGB, the auxiliary image exists

Reads also a file per sequence, `<sequence>.txt`, or a folder of them. A line contains either both flags, as above, or
one code of `drop.CODES`: 0 complete, 1 without RGB, 2 without the auxiliary image, 3 without both. In a folder of
results of tracking/test.py, `<sequence>_drop.txt` contains these codes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from lib.utils.files import is_clutter, parse_rows, read_text

SUFFIX = "_drop"  # of the lists in a folder of results, in which <sequence>.txt contains boxes
DIGITS = 8  # of the digest
EXPECTED = '"data" with two flags per frame, whether the RGB and the auxiliary image exist: [[1, 0], …]'


def read_drop_list(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Reads sequence → (frames,) uint8 codes of the missing images, see `drop.CODES`; and a digest of the content.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a file is no such list, or the folder contains none; names the file.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"--drop {path}: no such file or folder; expected a list of missing images, or MODALITY:RATE"
        )
    codes = _read_texts(path) if path.is_dir() or path.suffix == ".txt" else _read_json(path)
    if not codes:
        raise ValueError(f"{path}: lists no sequence; expected <sequence>.txt or <sequence>{SUFFIX}.txt files")
    digest = hashlib.sha256()
    for name, row in sorted(codes.items()):
        digest.update(f"{name}\0{len(row)}\0".encode() + row.tobytes())
    return codes, digest.hexdigest()[:DIGITS]


def _read_json(path: Path) -> dict[str, np.ndarray]:
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a JSON file ({error}); expected one for all sequences, or a folder of <sequence>.txt"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected {{"<sequence>": {{"data": [[1, 0], …]}}}}, got {type(content).__name__}')
    return {name: _codes_of_entry(entry, f"{path}, sequence {name}") for name, entry in content.items()}


def _codes_of_entry(entry: object, where: str) -> np.ndarray:
    if isinstance(entry, dict) and "data" not in entry:
        raise ValueError(
            f"{where}: expected {EXPECTED}, got {', '.join(list(entry)[:5]) or 'nothing'}; the published lists are "
            "called missing_results_….json, not groups_data or subgroups_data"
        )
    rows = entry["data"] if isinstance(entry, dict) else entry
    try:
        flags = np.array(rows, np.float64)
    except (TypeError, ValueError, OverflowError):
        flags = np.empty(0)
    if flags.ndim != 2:
        raise ValueError(f"{where}: expected {EXPECTED}; fetch the file again")
    return _codes_of(flags, where)


def _read_texts(path: Path) -> dict[str, np.ndarray]:
    paths = [path] if path.is_file() else sorted(p for p in path.glob("*.txt") if not is_clutter(p.name))
    paths = [path for path in paths if path.stem.endswith(SUFFIX)] or paths
    return {
        path.stem.removesuffix(SUFFIX): _codes_of(parse_rows(read_text(path), str(path), columns=(1, 2)), str(path))
        for path in paths
    }


def _codes_of(rows: np.ndarray, where: str) -> np.ndarray:
    """Converts (frames, 1) codes or (frames, 2) flags to (frames,) codes. Raises ValueError for other values."""
    width = rows.shape[1]
    allowed = {1: (0, 1, 2, 3), 2: (0, 1)}.get(width, ())
    wrong = np.argwhere(~np.isin(rows, allowed))
    if len(wrong) or not len(rows):
        got = f"{rows[tuple(wrong[0])]:g} in frame {wrong[0][0] + 1}" if len(wrong) else "no frame"
        raise ValueError(
            f"{where}: got {got}; expected per frame two flags of 0 and 1 (1: the image exists) or one code from 0 to 3"
        )
    codes = rows[:, 0] if width == 1 else (1 - rows[:, 0]) + 2 * (1 - rows[:, 1])
    return codes.astype(np.uint8)
