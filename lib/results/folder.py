"""Result folders of trackers. Every file is parsed once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Hashable
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.drop import AnyDrop
from lib.results.matching import find_results, unread_files
from lib.results.raw import drop_of, experiment_folder, find_companion, read_record
from lib.results.unpack import unpack_results, write_files


class ResultFolder:
    """The results of one tracker. Files are found, read and parsed once, also if several protocols score them.

    Attributes:
        tracker: name of the tracker, for reports and errors.
        path: the folder, or its subfolder with an experiment of the VOT toolkit.

    Args:
        folder: the folder, or a zip or tar archive of it.

    Raises:
        ValueError: the folder is missing, or the archive has no results, see `unpack_results`.
    """

    def __init__(self, tracker: str, folder: Path):
        folder = Path(folder)
        if folder.is_file():
            folder = self._unpack(folder)
        if not folder.is_dir():
            raise ValueError(f"{tracker}: no result folder {folder}")
        self.tracker, self.path = tracker, experiment_folder(folder)
        self._kept: dict[Hashable, Any] = {}

    def _unpack(self, archive: Path) -> Path:
        """Unpacks an archive of results into a temporary folder, which is removed with this object."""
        self._unpacked = tempfile.TemporaryDirectory()
        folder = Path(self._unpacked.name) / archive.name
        write_files(folder, unpack_results(archive).files)
        return folder

    def find(self, names: Collection[str]) -> dict[str, Path | None]:
        """Returns the box file of each sequence, or None. Raises ValueError as `find_results`."""
        return self.once(("find", *names), lambda: find_results(self.path, names))

    def unread(self, paths: dict[str, Path | None]) -> dict[str, Path]:
        """Returns sequence → another file that could be its result, see `unread_files`."""
        return self.once(("unread", *paths), lambda: unread_files(self.path, paths))

    def read(self, path: Path, reader: Callable[[Path], np.ndarray]) -> np.ndarray:
        """Returns the result of `reader` for a file. The array is shared and read-only.

        Raises:
            ValueError: raised by `reader`; an invalid file is also read only once.
        """

        def read_shared() -> np.ndarray:
            values = reader(path)
            values.setflags(write=False)
            return values

        return self.once((path, reader), read_shared)

    def companion(self, path: Path, suffix: str) -> Path | None:
        """Returns the companion of a box file, or None, see `find_companion`."""
        return self.once((path, suffix), lambda: find_companion(path, suffix))

    @property
    def record(self) -> dict[str, dict[str, str]]:
        """The run of each result by sequence, see `read_record`."""
        return self.once("record", lambda: read_record(self.path))

    @property
    def drop(self) -> AnyDrop | None:
        """The images that were withheld from the tracker. Raises ValueError if the results have several drops."""
        return drop_of(self.record, self.path)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Returns the value of `compute`, which is called once per key. A ValueError is stored and raised again."""
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
    """Returns name of the tracker → folder of its results on a benchmark.

    Args:
        save_dir: folder of the results of `tracking/test.py`.
        trackers: trackers in `save_dir`, each as <tracker>/<config>.
        named: further folders, each as NAME=DIR. If `trackers` and `named` are empty: all trackers in `save_dir`.

    Raises:
        ValueError: there is no tracker, two have the same name, or a text is not NAME=DIR.
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
