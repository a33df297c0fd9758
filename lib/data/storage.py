"""Access to the files of a data set in a folder or in one LMDB file. In both, keys are paths with forward slashes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import lmdb

from lib.utils.files import atomic_path, is_clutter

PAGE = 4096  # bytes; LMDB stores large values in whole pages


class Store(Protocol):
    """Read access to a data set. A store can be pickled; each process opens its files itself."""

    name: str

    def list(self, folder: str = "") -> list[str]:
        """Returns the sorted names of the files and folders in `folder`. Raises FileNotFoundError if it is missing."""

    def read(self, key: str) -> bytes:
        """Returns the content of one file. Raises FileNotFoundError if it is missing."""


class DiskStore:
    """A store that reads from a folder."""

    def __init__(self, root: str | Path, name: str = ""):
        self.root = Path(root)
        self.name = name or self.root.name

    def list(self, folder: str = "") -> list[str]:
        """See `Store.list`."""
        return sorted(name for name in os.listdir(self.root / folder) if not is_clutter(name))

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        return (self.root / key).read_bytes()


class LmdbStore:
    """A store that reads from an LMDB file of `tracking/pack_lmdb.py`. Its keys are the relative paths of the files."""

    def __init__(self, path: str | Path, name: str = ""):
        self.path = Path(path)
        self.name = name or self.path.stem
        self._environment: tuple[int, lmdb.Environment] | None = None

    def list(self, folder: str = "") -> list[str]:
        """See `Store.list`. Raises FileNotFoundError if the LMDB file or the folder in it is missing."""
        prefix = f"{folder.strip('/')}/".encode() if folder else b""
        names = set()
        with self._open().begin() as transaction:
            cursor = transaction.cursor()
            found = cursor.set_range(prefix) if prefix else cursor.first()
            while found and cursor.key().startswith(prefix):
                name, slash, _ = cursor.key()[len(prefix) :].partition(b"/")
                names.add(name.decode())
                # The keys of a folder are contiguous: skip them ("0" follows "/" in ASCII) instead of visiting each.
                found = cursor.set_range(prefix + name + b"0") if slash else cursor.next()
        if not names:
            raise FileNotFoundError(f"{self.path}: no folder '{folder}'")
        return sorted(name for name in names if not is_clutter(name))

    def read(self, key: str) -> bytes:
        """See `Store.read`. Raises FileNotFoundError if the LMDB file or the key in it is missing."""
        with self._open().begin() as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise FileNotFoundError(f"{self.path}: no file '{key}'")
        return value

    def _open(self) -> lmdb.Environment:
        if self._environment is None or self._environment[0] != os.getpid():
            if not self.path.is_file():
                raise FileNotFoundError(f"{self.path}: no such LMDB file; write it with tracking/pack_lmdb.py")
            self._environment = (os.getpid(), _open_shared(self.path))
        return self._environment[1]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_environment": None}


# (file, process) → open environment, while a store uses it. The splits of a data set are several stores of one file.
_HANDLES: weakref.WeakValueDictionary[tuple[str, int], lmdb.Environment] = weakref.WeakValueDictionary()


def _open_shared(path: Path) -> lmdb.Environment:
    """Opens a file once per process: LMDB does not allow a second environment, nor its use after a fork."""
    for (_, process), environment in list(_HANDLES.items()):
        if process != os.getpid():
            environment.close()  # closes the parent's copy in this process only
    key = (str(path.resolve()), os.getpid())
    environment = _HANDLES.get(key)
    if environment is None:
        environment = lmdb.open(key[0], subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
        _HANDLES[key] = environment
    return environment


def open_store(path: str | Path, name: str) -> Store:
    """Opens a folder, an .lmdb file, or <path>.lmdb if there is no folder at `path`.

    Args:
        name: the data set's name, used in error texts.

    Raises:
        FileNotFoundError: there is neither a folder nor an LMDB file.
    """
    path = Path(path)
    if path.is_dir():
        return DiskStore(path, name)
    for candidate in (path, path.with_name(f"{path.name}.lmdb")):
        if candidate.suffix == ".lmdb" and candidate.is_file():
            return LmdbStore(candidate, name)
    raise FileNotFoundError(
        f"{name}: no data set at {path}; put or link it there, or set its folder with --set DATA.ROOTS.{name}=DIR "
        f"(this data set) or TRANSCMD_DATA=DIR (the folder that contains all data sets)"
    )


def pack_lmdb(folder: str | Path, target: str | Path) -> Iterator[str]:
    """Writes every file below `folder` to one LMDB file, atomically. Yields each key after it is written.

    Raises:
        FileNotFoundError: the folder is missing or contains no file.
    """
    folder = Path(folder)
    found = os.walk(folder, followlinks=True)  # data sets are often symbolic links
    paths = sorted(Path(parent, name) for parent, _, names in found for name in names if not is_clutter(name))
    if not paths:
        raise FileNotFoundError(f"{folder}: the folder is missing or contains no file")
    size = sum(path.stat().st_size + 2 * PAGE for path in paths) + (1 << 24)
    with atomic_path(target) as temporary:
        with lmdb.open(str(temporary), subdir=False, lock=False, map_size=size, sync=False) as environment:
            for path in paths:
                key = path.relative_to(folder).as_posix()
                with environment.begin(write=True) as transaction:
                    transaction.put(key.encode(), path.read_bytes())
                yield key
            environment.sync(True)
