"""Where bytes come from: a folder, or one LMDB file made from it. Keys are paths with forward slashes in both."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import lmdb

from lib.utils.files import atomic_path

PAGE = 4096  # bytes; LMDB rounds values up to whole pages


class Store(Protocol):
    """Read access to a data set. Cheap to pickle; files are opened in the process that reads."""

    name: str

    def list(self, folder: str = "") -> list[str]:
        """Names of the files and folders in `folder`, sorted. Raises FileNotFoundError."""

    def read(self, key: str) -> bytes:
        """Content of one file. Raises FileNotFoundError."""


class DiskStore:
    """A folder."""

    def __init__(self, root: str | Path, name: str = ""):
        self.root = Path(root)
        self.name = name or self.root.name

    def list(self, folder: str = "") -> list[str]:
        return sorted(os.listdir(self.root / folder))

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()


class LmdbStore:
    """An LMDB file written by `tracking/pack_lmdb.py`, which keeps every path of the folder as a key."""

    def __init__(self, path: str | Path, name: str = ""):
        self.path = Path(path)
        self.name = name or self.path.stem
        self._environment: tuple[int, lmdb.Environment] | None = None

    def list(self, folder: str = "") -> list[str]:
        prefix = f"{folder.strip('/')}/".encode() if folder else b""
        names = []
        with self._open().begin() as transaction:
            cursor = transaction.cursor()
            found = cursor.set_range(prefix) if prefix else cursor.first()
            while found and cursor.key().startswith(prefix):
                name, slash, _ = cursor.key()[len(prefix) :].partition(b"/")
                names.append(name.decode())
                # A folder's keys lie together: jump behind them ("0" follows "/") instead of walking through.
                found = cursor.set_range(prefix + name + b"0") if slash else cursor.next()
        if not names:
            raise FileNotFoundError(f"{self.path}: no folder '{folder}'")
        return sorted(set(names))

    def read(self, key: str) -> bytes:
        with self._open().begin() as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise FileNotFoundError(f"{self.path}: no file '{key}'")
        return value

    def _open(self) -> lmdb.Environment:
        if self._environment is None or self._environment[0] != os.getpid():
            if not self.path.is_file():
                raise FileNotFoundError(f"{self.path}: no such LMDB file")
            self._environment = (os.getpid(), _open_once(self.path))
        return self._environment[1]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_environment": None}


# (file, process) → handle, as long as a store holds it. A data set's splits are several stores on one file.
_HANDLES: weakref.WeakValueDictionary[tuple[str, int], lmdb.Environment] = weakref.WeakValueDictionary()


def _open_once(path: Path) -> lmdb.Environment:
    """This process's handle on a file: LMDB refuses a second one, and none survives a fork."""
    for (_, process), environment in list(_HANDLES.items()):
        if process != os.getpid():
            environment.close()  # the parent's, in this process only
    key = (str(path.resolve()), os.getpid())
    environment = _HANDLES.get(key)
    if environment is None:
        environment = lmdb.open(key[0], subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
        _HANDLES[key] = environment
    return environment


def open_store(path: str | Path, name: str) -> Store:
    """A store for `path`: a folder, an .lmdb file, or `path`.lmdb where only that exists.

    Raises:
        FileNotFoundError: neither is there; says how to tell where the data lies.
    """
    path = Path(path)
    if path.is_dir():
        return DiskStore(path, name)
    for candidate in (path, path.with_name(f"{path.name}.lmdb")):
        if candidate.suffix == ".lmdb" and candidate.is_file():
            return LmdbStore(candidate, name)
    raise FileNotFoundError(
        f"{name}: no data set at {path}; put or link it there, or name its folder with --set DATA.ROOTS.{name}=DIR "
        f"(one data set) or TRANSCMD_DATA=DIR (the folder that holds all)"
    )


def pack_lmdb(folder: str | Path, target: str | Path) -> Iterator[str]:
    """Writes every file below `folder` into one LMDB file, atomically; yields each key as it is written.

    Raises:
        FileNotFoundError: no such folder, or no file in it.
    """
    folder = Path(folder)
    found = os.walk(folder, followlinks=True)  # data sets are often links
    paths = sorted(Path(parent, name) for parent, _, names in found for name in names)
    if not paths:
        raise FileNotFoundError(f"{folder}: no such folder, or no file in it")
    size = sum(path.stat().st_size + 2 * PAGE for path in paths) + (1 << 24)
    with atomic_path(target) as temporary:
        with lmdb.open(str(temporary), subdir=False, lock=False, map_size=size, sync=False) as environment:
            for path in paths:
                key = path.relative_to(folder).as_posix()
                with environment.begin(write=True) as transaction:
                    transaction.put(key.encode(), path.read_bytes())
                yield key
            environment.sync(True)
