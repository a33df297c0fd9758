"""Attributes of sequences, from the flags that benchmarks publish with their annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.evaluation.benchmarks import LASHER_ATTRIBUTES
from lib.evaluation.rules.base import Benchmark
from lib.utils.files import read_text
from lib.utils.texts import MOST, shorten

LASHER_FOLDER = "AttriSeqsTxt"  # folder of flags in LasHeR and in all synthetic data sets
FOLDERS = ("", "attr_txt", "att", LASHER_FOLDER)  # possible names of the folder of flags; "": the given folder
ORDER, NAMES = "Attributes_order.txt", "SequencesName.txt"


def load_attributes(
    benchmark: Benchmark, sequences: list[str], folder: Path | None, annotations: Path | None
) -> dict[str, np.ndarray]:
    """Returns attribute → (S,) bool, whether each of the S sequences has it; empty if there are no flags.

    Args:
        sequences: names of the sequences.
        folder: folder of the flags; None: a subfolder of `annotations`, if there is one.

    Raises:
        FileNotFoundError: `folder` or some sequences have no flags.
        ValueError: flags are invalid.
    """
    if folder is None and benchmark.attributes and annotations:
        folder = find_folder(annotations, sequences, subfolders_only=True)
    return read_attributes(folder, benchmark.attributes, sequences) if folder else {}


def read_attributes(folder: Path, attributes: tuple[str, ...], sequences: list[str]) -> dict[str, np.ndarray]:
    """Reads attribute → (S,) bool, in the order of `sequences`.

    Accepts one file of flags per sequence (LasHeR in one line, VisEvent one flag per line), or one file per attribute
    with one line per name in SequencesName.txt (RGBT234).

    Args:
        attributes: names of the attributes in the order of the flags; replaced by Attributes_order.txt in `folder`, or
            by LasHeR's order if the folder has LasHeR's name.

    Raises:
        FileNotFoundError: there are no flags, or some sequences have no flags; names them.
        ValueError: flags are invalid.
    """
    folder = Path(folder)
    found = find_folder(folder, sequences)
    if found is None:
        raise FileNotFoundError(
            f"{folder}: no attributes of these sequences, expected <sequence>.txt files of flags, or {NAMES} "
            "and a file for each attribute"
        )
    if (found / NAMES).is_file():
        return _by_attribute(found, sequences)
    attributes = LASHER_ATTRIBUTES if found.name == LASHER_FOLDER else attributes
    for parent in (found, found.parent):
        if (parent / ORDER).is_file():
            attributes = tuple(read_text(parent / ORDER).replace(",", " ").split())
    if missing := [name for name in sequences if not (found / f"{name}.txt").is_file()]:
        raise FileNotFoundError(f"{found}: no attributes of {len(missing)} sequences: {_first_names(missing)}")
    rows = np.stack([_read_flags(found / f"{name}.txt", len(attributes)) for name in sequences])
    return dict(zip(attributes, rows.T, strict=True))


def find_folder(folder: Path, sequences: list[str], subfolders_only: bool = False) -> Path | None:
    """Returns the folder, or a subfolder, that contains flags of the sequences, or None.

    Args:
        subfolders_only: search only subfolders, because `folder` contains annotations with the same file names.

    Raises:
        ValueError: a file is not UTF-8 text.
    """
    for candidate in (Path(folder) / name for name in FOLDERS[subfolders_only:]):
        if (candidate / NAMES).is_file():
            return candidate
        if any(_contains_flags(candidate / f"{name}.txt") for name in sequences[:3]):
            return candidate
    return None


def _contains_flags(path: Path) -> bool:
    return path.is_file() and set(_words(path)) <= {"0", "1"}


def _words(path: Path) -> list[str]:
    return read_text(path).replace(",", " ").split()


def _read_flags(path: Path, count: int) -> np.ndarray:
    words = _words(path)
    if len(words) != count or set(words) - {"0", "1"}:
        raise ValueError(f"{path}: expected {count} flags of 0 and 1, got {len(words)}: '{' '.join(words)[:60]}'")
    return np.array(words) == "1"


def _by_attribute(folder: Path, sequences: list[str]) -> dict[str, np.ndarray]:
    names = _words(folder / NAMES)
    if missing := sorted(set(sequences) - set(names)):
        raise FileNotFoundError(f"{folder / NAMES}: does not name {len(missing)} sequences: {_first_names(missing)}")
    order = [names.index(name) for name in sequences]
    paths = sorted(path for path in folder.glob("*.txt") if path.name not in (NAMES, ORDER))
    return {path.stem: _read_flags(path, len(names))[order] for path in paths}


def _first_names(names: list[str]) -> str:
    return shorten(names) + ("; are these flags of a different benchmark?" if len(names) > MOST else "")
