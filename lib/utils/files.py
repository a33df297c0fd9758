"""Atomic writing of files, and parsing of number tables with precise error messages."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import io
import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lib.utils.numbers import parse_plain

CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"}
EMPTY_FIELD = re.compile(r"(?:^|,)[ \t]*,", re.MULTILINE)  # two commas with nothing between, or one before all numbers
ABANDONED = 86400  # seconds since the last change of a temporary file after which its process has surely ended


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`. Renames the file to `path` on success and removes it on failure.

    Readers therefore see either the old or the complete new file. Missing folders are created. The suffix is the same,
    because writers choose the format by it. The first call for a folder removes what killed processes left there.

    Raises:
        OSError: the file cannot be written; names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{host_name()}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, os.getpid())
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(folder: str | Path) -> None:
    """Checks that files can be written to a folder, before work that takes long. Creates nothing.

    Raises:
        OSError: the folder, or the nearest folder above it that exists, is a file or is read-only; names it.
    """
    folder = Path(folder)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder for the output, got a file", str(nearest))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the output cannot be written to this folder", str(nearest))


@functools.cache
def remove_abandoned(folder: Path, pid: int) -> None:
    """Removes the temporary files of `atomic_path` in a folder whose process has ended. Works once per process.

    The files of other hosts are removed if they did not change for a day.

    Args:
        pid: the calling process; part of the key, because a forked process inherits the cache.
    """
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.part*"):
            with contextlib.suppress(OSError, ValueError):
                host, owner = path.name.partition(".part")[0].split(".")[-2:]
                here = host == host_name() and owner.isdecimal()
                if (here and not is_alive(int(owner))) or time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def host_name() -> str:
    """Returns the name of this machine, without dots."""
    return platform.node().partition(".")[0] or "localhost"


def is_alive(pid: int) -> bool:
    """Returns whether a process of this host is running; also True if that is unknown."""
    if os.name == "posix":  # elsewhere, os.kill would end the process
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # it is another user's
            pass
    return True


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically. Raises OSError, naming `path`, if it cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def decode_text(data: bytes, source: str) -> str:
    """Decodes UTF-8, or UTF-16 with a byte-order mark.

    Args:
        source: name of the file, for error texts.

    Raises:
        ValueError: the bytes are no such text; names the file.
    """
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{source}: expected UTF-8 text, got other bytes; fetch the file again")
    return text


def read_text(path: str | Path) -> str:
    """Reads a text file, see `decode_text`."""
    return decode_text(Path(path).read_bytes(), str(path))


def is_clutter(name: str) -> bool:
    """Returns whether a file name is one that file managers leave in folders and archives, e.g. "._car.txt"."""
    return name.startswith("._") or name in CLUTTER


def parse_rows(text: str, source: str, columns: tuple[int, ...] = (4,)) -> np.ndarray:
    """Parses rows of numbers separated by commas, tabs or spaces, which may be mixed. NaN is accepted.

    Args:
        source: name of the file, used in error texts.
        columns: accepted numbers of columns; all rows must have the same number.

    Returns:
        (rows, columns) float64. Blank lines are skipped. An empty text gives shape (0, columns[0]).

    Raises:
        ValueError: a row has the wrong length, or a word is not a number; names the line.
    """
    if "," in text and (gap := EMPTY_FIELD.search(text)):
        number = text.count("\n", 0, gap.end() - 1) + 1
        line = text.splitlines()[number - 1].strip()[:80]
        raise ValueError(f"{source}, line {number}: a field is empty: '{line}'")
    plain = parse_plain(text.encode())
    if plain is not None and plain.shape[1] in columns:
        return plain
    text = text.replace(",", " ")
    if not text.strip():
        return np.empty((0, columns[0]))
    with contextlib.suppress(ValueError):  # the invalid row or word is located below
        if "_" in text:
            raise ValueError
        table = np.loadtxt(io.StringIO(text), comments=None, ndmin=2)
        if table.shape[1] in columns:
            return table
    rows = [line.split() for line in text.splitlines()]
    width = next((len(row) for row in rows if row), columns[0])
    for number, row in enumerate(rows, start=1):
        if row and (len(row) not in columns or len(row) != width):
            expected = " or ".join(str(c) for c in columns) if width not in columns else str(width)
            raise ValueError(
                f"{source}, line {number}: expected {expected} numbers, got {len(row)}: '{' '.join(row)[:80]}'"
            )
        for word in row:
            try:
                float(word.replace("_", "x"))  # Python reads 7_0 as 70
            except ValueError:
                raise ValueError(f"{source}, line {number}: '{word[:40]}' is not a number") from None
    return np.array([row for row in rows if row], dtype=np.float64).reshape(-1, width)
