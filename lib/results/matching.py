"""Finds the box file of each sequence in a folder of results, also under names that almost fit."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from lib.results.raw import COMPANIONS, holds_boxes
from lib.utils.files import is_clutter
from lib.utils.texts import plain_spelling

TEXT_SUFFIXES = (".txt", ".csv")


def find_results(folder: Path, names: Collection[str]) -> dict[str, Path | None]:
    """Returns the box file of each sequence of a benchmark, or None.

    If there is no `x.txt` or `x/x_001.txt`, names that almost fit are accepted where they are unique: other letters'
    case, `.csv`, `x/x.txt`, - for _, and one prefix or suffix that most files have, e.g. the tracker's name.
    `OTR_old_man.txt` belongs to `old_man`, not to `man`, if both are in `names`. `backup_of_x.txt` is not the result of
    x if other sequences have plain names.

    Raises:
        ValueError: several files match a sequence.
    """
    folder = Path(folder)
    paths = {name: _own_file(folder, name) for name in names}
    missing = {plain_spelling(name): name for name, path in paths.items() if path is None}
    if not missing:
        return paths
    taken = {path for path in paths.values() if path is not None}
    stems = _stems(folder, taken)
    matches = _match_names(stems, [plain_spelling(name) for name in names], missing)
    counts = Counter(affix for found in matches.values() for affix in {affix for affix, _ in found})
    counts[""] += len(taken)
    accepted = {affix for affix, count in counts.items() if not affix or count >= counts[""]}
    for plain, found in matches.items():
        fitting = [path for affix, path in found if affix in accepted]
        exact = [path for affix, path in found if not affix]
        chosen = exact if len(exact) == 1 else fitting
        if len(chosen) > 1:
            raise ValueError(
                f"{folder}: {', '.join(path.name for path in chosen)} match sequence '{missing[plain]}'; keep only one"
            )
        paths[missing[plain]] = chosen[0] if chosen else None
    return paths


def _stems(folder: Path, taken: Collection[Path], companions: bool = True) -> list[tuple[str, Path]]:
    """Returns the plain names and paths of the files in a folder that can be box files, without those in `taken`.

    They are sorted, and followed by `x/x.txt` of the subfolders.

    Args:
        companions: whether boxes are also sought in files that are named as a companion, which must be opened.
    """
    entries = [path for path in sorted(folder.iterdir()) if not is_clutter(path.name)]
    inner = [path / f"{path.name}.txt" for path in entries if path.is_dir()]
    files = [path for path in entries if path.suffix.lower() in TEXT_SUFFIXES] + inner
    if not companions:
        files = [path for path in files if not path.stem.endswith(COMPANIONS)]
    return [(plain_spelling(p.stem), p) for p in files if p not in taken and p.is_file() and holds_boxes(p)]


def _match_names(
    stems: list[tuple[str, Path]], names: list[str], wanted: Collection[str]
) -> dict[str, list[tuple[str, Path]]]:
    """Returns for each wanted name the files that fit: (what stands before or after the name, file)."""
    longest_first = sorted(names, key=len, reverse=True)
    matches: dict[str, list[tuple[str, Path]]] = {}
    for stem, path in stems:
        name = next((n for n in longest_first if f"_{n}_" in f"_{stem}_"), "")  # the longest name that it holds
        if not name or not (stem.startswith(name) or stem.endswith(name)) or name not in wanted:
            continue
        affix = f"*{stem.removeprefix(name)}" if stem.startswith(name) else f"{stem.removesuffix(name)}*"
        matches.setdefault(name, []).append(("" if stem == name else affix, path))
    return matches


def unread_files(folder: Path, paths: dict[str, Path | None]) -> dict[str, Path]:
    """Returns sequence → another file in the folder that could be its result and is not read, see `find_results`."""
    found = {plain_spelling(name): name for name, path in paths.items() if path is not None}
    stems = _stems(folder, set(paths.values()), companions=False)
    matches = _match_names(stems, [plain_spelling(name) for name in paths], found)
    return {found[plain]: files[0][1] for plain, files in matches.items()}


def nearest_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Returns the file in a folder whose name is most like that of each missing sequence, if one is like it."""
    stems, found = dict(_stems(folder, ())), {}
    for name in names:
        plain = plain_spelling(name)
        near = difflib.get_close_matches(plain, stems, n=1, cutoff=0.75)
        inside = [stem for stem in stems if f"_{plain}_" in f"_{stem}_"]
        if near or inside:
            found[name] = stems[(near or inside)[0]]
    return found


def _own_file(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.txt", folder / name / f"{name}_001.txt", folder / name / f"{name}_001.bin"):
        if path.is_file() and holds_boxes(path):
            return path
    return None
