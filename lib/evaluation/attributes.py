"""Which sequence has which attribute, from the flags that benchmarks publish with their annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.evaluation.benchmarks import LASHER_ATTRIBUTES
from lib.evaluation.rules.base import Benchmark

LASHER_FOLDER = "AttriSeqsTxt"  # LasHeR's name for the folder of its flags; our synthetic sets of all kinds have it too
FOLDERS = ("", "attr_txt", "att", LASHER_FOLDER)  # names of published folders of flags; "": the given folder itself
ORDER, NAMES = "Attributes_order.txt", "SequencesName.txt"


def load_attributes(
    benchmark: Benchmark, sequences: list[str], folder: Path | None, annotations: Path | None
) -> dict[str, np.ndarray]:
    """Which of a benchmark's sequences have which attribute: name → (S,) bool.

    Args:
        folder: of the flags; None: a folder in `annotations`, where there is one; without flags nothing is returned.

    Raises:
        As `read_attributes`.
    """
    if folder is None and benchmark.attributes and annotations:
        folder = find_folder(annotations, sequences, subfolders_only=True)
    return read_attributes(folder, benchmark.attributes, sequences) if folder else {}


def read_attributes(folder: Path, attributes: tuple[str, ...], sequences: list[str]) -> dict[str, np.ndarray]:
    """Attribute → (S,) bool, in the order of `sequences`.

    Takes a file for each sequence with its flags (LasHeR in one line, VisEvent in lines), or one for each attribute
    with a line for each name of SequencesName.txt (RGBT234).

    Args:
        attributes: their names in the order of the flags. Attributes_order.txt in `folder`, or LasHeR's order where the
            folder has LasHeR's name, is used instead of it.

    Raises:
        FileNotFoundError: no such files, or some sequences have none; names them. ValueError: broken flags.
    """
    folder = Path(folder)
    found = find_folder(folder, sequences)
    if found is None:
        raise FileNotFoundError(
            f"{folder}: no attributes of these sequences, expected <sequence>.txt files of flags or {NAMES} with a "
            "file for each attribute"
        )
    if (found / NAMES).is_file():
        return _by_attribute(found, sequences)
    attributes = LASHER_ATTRIBUTES if found.name == LASHER_FOLDER else attributes
    for place in (found, found.parent):
        if (place / ORDER).is_file():
            attributes = tuple((place / ORDER).read_text(encoding="utf-8-sig").replace(",", " ").split())
    if missing := [name for name in sequences if not (found / f"{name}.txt").is_file()]:
        raise FileNotFoundError(f"{found}: no attributes of {len(missing)} sequences: {_first_names(missing)}")
    rows = np.stack([_read_flags(found / f"{name}.txt", len(attributes)) for name in sequences])
    return dict(zip(attributes, rows.T, strict=True))


def find_folder(folder: Path, sequences: list[str], subfolders_only: bool = False) -> Path | None:
    """The folder itself or one in it that holds flags of the sequences, or None.

    Args:
        subfolders_only: not the folder itself, which holds annotations: they are `<sequence>.txt` files as well.
    """
    for place in (Path(folder) / name for name in FOLDERS[subfolders_only:]):
        if (place / NAMES).is_file():
            return place
        if any(_holds_flags(place / f"{name}.txt") for name in sequences[:3]):
            return place
    return None


def _holds_flags(path: Path) -> bool:
    return path.is_file() and set(_words(path)) <= {"0", "1"}


def _words(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").replace(",", " ").split()


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
    return ", ".join(names[:5]) + (", …; are these another benchmark's?" if len(names) > 5 else "")
