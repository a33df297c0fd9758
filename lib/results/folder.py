"""A tracker's result folder: which tracker has which folder, and its files, each parsed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.drop import Drop
from lib.results.raw import drop_of, experiment_folder, find_companion, find_results, read_record


class ResultFolder:
    """One tracker's results. Files are found, read and parsed once, however many protocols score them.

    Attributes:
        tracker: its name, for reports and errors.
        path: the folder, or the one of the VOT toolkit's experiment in it.

    Raises:
        ValueError: no such folder.
    """

    def __init__(self, tracker: str, folder: Path):
        if not Path(folder).is_dir():
            raise ValueError(f"{tracker}: no result folder {folder}")
        self.tracker, self.path = tracker, experiment_folder(Path(folder))
        self._kept: dict[Hashable, Any] = {}

    def find(self, names: Collection[str]) -> dict[str, Path | None]:
        """The box file of each sequence, or None, as `find_results`."""
        return self.once(("find", *names), lambda: find_results(self.path, names))

    def read(self, path: Path, reader: Callable[[Path], np.ndarray]) -> np.ndarray:
        """What `reader` returns for a file; the array is shared and cannot be written to.

        Raises:
            ValueError: as the reader; a broken file is not read again either.
        """

        def read_locked() -> np.ndarray:
            values = reader(path)
            values.setflags(write=False)
            return values

        return self.once((path, reader), read_locked)

    def companion(self, path: Path, suffix: str) -> Path | None:
        """The file beside a box file, or None, as `find_companion`."""
        return self.once((path, suffix), lambda: find_companion(path, suffix))

    @property
    def record(self) -> dict[str, dict[str, str]]:
        """Which run each result comes from, as `read_record`."""
        return self.once("record", lambda: read_record(self.path))

    @property
    def drop(self) -> Drop | None:
        """What was taken from the tracker's input. Raises ValueError where the folder mixes several drops."""
        return drop_of(self.record, self.path)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value of `compute`, called the first time a key is asked for. A ValueError is kept and raised again."""
        if key not in self._kept:
            try:
                self._kept[key] = compute()
            except ValueError as error:
                self._kept[key] = error
        value = self._kept[key]
        if isinstance(value, ValueError):
            raise value
        return value


def find_trackers(save_dir: Path, benchmark: str, trackers: Collection[str], named: Collection[str]) -> dict[str, Path]:
    """Tracker's name → folder of its results on a benchmark.

    Args:
        save_dir: where `tracking/test.py` has written its results.
        trackers: names of trackers in `save_dir`, each <tracker>/<config>.
        named: folders anywhere, each as NAME=DIR. With neither of them: all trackers in `save_dir`.

    Raises:
        ValueError: no tracker, two with the same name, or a text that is not NAME=DIR.
    """
    root = save_dir / "test" / "tracking_results"
    found = [(tracker, root / tracker / benchmark) for tracker in trackers]
    for text in named:
        name, _, folder = text.partition("=")
        if not (name and folder):
            raise ValueError(f"--results: expected NAME=DIR, got '{text}'")
        found.append((name, Path(folder)))
    if not found:
        paths = sorted(root.glob(f"*/*/{benchmark}"))
        found = [(path.parent.relative_to(root).as_posix(), path) for path in paths]
    if not found:
        raise ValueError(f"no results for {benchmark} in {root}: run tracking/test.py, or use --results NAME=DIR")
    if len(folders := dict(found)) < len(found):
        raise ValueError(f"two trackers have the same name among {', '.join(name for name, _ in found)}")
    return folders
