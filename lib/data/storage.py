"""Access to the files of a data set in a folder or in one LMDB file. In both, keys are paths with forward slashes."""

from __future__ import annotations

import contextlib
import os
import struct
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Protocol

import lmdb

from lib.utils.files import is_clutter
from lib.utils.locks import lock_folder

PAGE = 4096  # bytes; LMDB stores large values in whole pages
MAGIC, VERSION = 0xBEEFC0DE, 1  # of LMDB 0.9, the format of the Python package
META = struct.Struct("<16x II 16x I 92x QQ")  # a meta page: magic, version, page size, last page, transaction
META_PAGES = 2  # the first pages of a file; the one of the later transaction counts
SYNTHETIC = "SYNTHETIC.txt"  # file in the folder of a data set that is not the published one
LONGEST_KEY = 511  # bytes
FETCH = "copy the file again, or write it with tracking/pack_lmdb.py"
STARTED = b"\0started"  # key in an unfinished file: when packing began, and the folder


class Store(Protocol):
    """Read access to a data set. A store can be pickled; each process opens its files itself."""

    name: str

    def list(self, folder: str = "") -> list[str]:
        """Returns the sorted names of the files and folders in `folder`. Raises FileNotFoundError if it is missing."""

    def read(self, key: str) -> bytes:
        """Returns the content of one file. Raises FileNotFoundError if it is missing."""


class ScreenedStore:
    """A store for reading a data set of which some sequences are left out. Sequences keep the store inside it.

    Args:
        store: the store to read from.
        skip: names of sequences that are not read.
        failed: gets a text for each sequence that cannot be read, by its name; None: the error is raised.
    """

    def __init__(self, store: Store, skip: Collection[str] = (), failed: dict[str, str] | None = None):
        self.store, self.name = store, store.name
        self.skip, self.failed = frozenset(skip), failed

    def list(self, folder: str = "") -> list[str]:
        """See `Store.list`."""
        return self.store.list(folder)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        return self.store.read(key)


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
        environment = self._open()
        with named(self.path), environment.begin() as transaction:
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
        environment, value = self._open(), None
        if 0 < len(key.encode()) <= LONGEST_KEY:
            with named(self.path), environment.begin() as transaction:
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
        check_lmdb(path)
        with named(path):
            environment = lmdb.open(key[0], subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
        _HANDLES[key] = environment
    return environment


def check_lmdb(path: Path) -> None:
    """Checks that a file is as long as its header says. To read a missing page would kill the process by SIGBUS.

    Raises:
        ValueError: the file is empty, is no LMDB file, has another version, or is cut off.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(META_PAGES << 16)  # a page has at most 64 KiB
    if len(start) < META.size:
        raise ValueError(f"{path}: not an LMDB file, or cut off ({size} bytes); {FETCH}")
    magic, version, page, *_ = META.unpack_from(start)
    if magic == MAGIC and version != VERSION:
        raise ValueError(f"{path}: an LMDB file of version {version}, expected {VERSION}; {FETCH}")
    if magic != MAGIC or page < META.size:
        raise ValueError(f"{path}: not an LMDB file, it begins with {start[:12]!r}; {FETCH}")
    metas = [META.unpack_from(start, at) for at in (0, page) if len(start) >= at + META.size]
    *_, last_page, _ = max(metas, key=lambda meta: meta[-1])
    if size < (needed := max(META_PAGES, last_page + 1) * page):
        raise ValueError(f"{path}: cut off, {size} of {needed} bytes; {FETCH}")


@contextlib.contextmanager
def named(path: Path, hint: str = FETCH) -> Iterator[None]:
    """Raises LMDB's errors as ValueError that names the file and says what to do."""
    try:
        yield
    except lmdb.Error as error:
        raise ValueError(f"{path}: {error}; {hint}") from error


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


def find_files(folder: str | Path) -> dict[bytes, Path]:
    """Returns the files below `folder` by their keys in an LMDB file, in the order of their paths.

    Raises:
        FileNotFoundError: the folder is missing or contains no file.
        ValueError: a path cannot be a key.
    """
    found = os.walk(folder, followlinks=True)  # data sets are often symbolic links
    paths = sorted(Path(parent, name) for parent, _, names in found for name in names if not is_clutter(name))
    if not paths:
        raise FileNotFoundError(f"{folder}: the folder is missing or contains no file")
    return {_key(path.relative_to(folder)): path for path in paths}


def pack_lmdb(
    folder: str | Path, target: str | Path, convert: Callable[[str, bytes], bytes] | None = None, settings: str = ""
) -> Iterator[str]:
    """Writes every file below `folder` to one LMDB file. Yields each key after it is written.

    The file gets its name when it is complete. An interrupted run leaves .<name>.part; the next run continues it, and
    writes again what has changed since.

    Args:
        convert: function (key, content of a file) → content to write, not longer; None: the content of the file.
        settings: name of `convert` and its arguments; unfinished files with other settings are not continued.

    Raises:
        FileNotFoundError: the folder is missing or contains no file.
        ValueError: a path cannot be a key, another process packs the same file, or the target cannot be written.
        OSError: a file cannot be read, or the folder of the target cannot be written.
    """
    folder, target = Path(folder), Path(target)
    files = find_files(folder)
    partial = target.with_name(f".{target.name}.part")
    size = sum(path.stat().st_size + 2 * PAGE for path in files.values()) + (1 << 24)
    with (
        lock_folder(target.parent, f"packing of {target.name}", f".{target.name}.lock"),
        named(target, "free space or choose another target, and run the command again to continue"),
    ):
        with _open_partial(partial, folder, size, settings) as environment:
            for key, path in files.items():
                if not _is_packed(environment, key, path, same_size=convert is None):
                    data = path.read_bytes()
                    with environment.begin(write=True) as transaction:
                        transaction.put(key, convert(key.decode(), data) if convert else data)
                yield key.decode()
            with environment.begin(write=True) as transaction:
                # The start, and what an earlier run packed and was deleted since.
                for key in [key for key in transaction.cursor().iternext(values=False) if key not in files]:
                    transaction.delete(key)
            environment.sync(True)
        os.replace(partial, target)


def _key(path: Path) -> bytes:
    """Returns the key of a path. Raises ValueError if it is longer than LMDB allows, or is not Unicode."""
    try:
        key = path.as_posix().encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path.as_posix().encode(errors='replace').decode()}: the name is not UTF-8") from None
    if len(key) > LONGEST_KEY:
        raise ValueError(f"{path}: a path of {len(key)} bytes, LMDB allows {LONGEST_KEY}; shorten it")
    return key


def _open_partial(partial: Path, folder: Path, size: int, settings: str) -> lmdb.Environment:
    """Opens the unfinished file of an interrupted run on the same folder with the same settings, or a new one."""
    origin = f"{folder.resolve()}{f' as {settings}' if settings else ''}".encode(errors="replace")
    if partial.exists():
        environment = None
        with contextlib.suppress(ValueError, lmdb.Error):  # not even its first pages are complete
            check_lmdb(partial)
            environment = lmdb.open(str(partial), subdir=False, lock=False, map_size=size, sync=False)
            with environment.begin() as transaction:
                if transaction.get(STARTED, b"").partition(b" ")[2] == origin:
                    return environment
        if environment:
            environment.close()
        partial.unlink()
    environment = lmdb.open(str(partial), subdir=False, lock=False, map_size=size, sync=False)
    with environment.begin(write=True) as transaction:
        transaction.put(STARTED, f"{time.time_ns()} ".encode() + origin)
    return environment


def _is_packed(environment: lmdb.Environment, key: bytes, path: Path, same_size: bool) -> bool:
    """Returns whether a file was packed, and was not changed after packing began."""
    with environment.begin(buffers=True) as transaction:
        value = transaction.get(key)
        began = int(bytes(transaction.get(STARTED)).partition(b" ")[0])
        found = path.stat()
        fits = value is not None and (not same_size or len(value) == found.st_size)
        return fits and max(found.st_mtime_ns, found.st_ctime_ns) < began
