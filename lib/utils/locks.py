"""Locks that keep two processes, also of different hosts, from the same work in one folder."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lib.utils.files import host_name, is_alive, remove_abandoned

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

LOCK = ".lock"
TAKEN = (errno.EACCES, errno.EAGAIN)  # errors of a lock that another process holds; other errors: no locks here


@contextlib.contextmanager
def lock_folder(folder: str | Path, purpose: str, name: str = LOCK, shared: bool = False) -> Iterator[None]:
    """Holds a lock on a folder, which is created, and removes what killed processes left there.

    The system releases the lock when the process ends, for any reason; the next run takes it over. The lock file says
    who holds it. Where the file system has no locks, this text decides, if its process is one of this host.

    Args:
        purpose: what the holder does, for error texts, e.g. "training".
        name: name of the lock file.
        shared: any number of processes may hold the lock in this way, but none while one holds it alone.

    Raises:
        ValueError: another process holds the lock; names its id and host.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    file = _open_locked(path, shared=shared, wait=False)
    if file is None:
        raise ValueError(
            f"{folder}: {_holders(folder, name)} is at work here ({purpose}); wait for it, stop it, or choose "
            "another folder"
        )
    with file:
        if not shared:
            if before := file.read():
                logger.info("%s: taken over from %s, which has ended", path, _describe(before))
            _write(file, json.dumps({"pid": os.getpid(), "host": host_name(), "started": time.ctime()}))
        remove_abandoned(folder, os.getpid())
        try:
            yield
        finally:
            if not shared:
                _write(file, "")
                with contextlib.suppress(OSError):  # Windows does not remove an open file
                    path.unlink()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until no other process is in this block with the same `path`, a file that is created and removed.

    Without effect where the file system has no locks. Raises OSError if the file cannot be written.
    """
    with _open_locked(path, shared=False, wait=True):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _open_locked(path: Path, shared: bool, wait: bool) -> IO[str] | None:
    """Opens a lock file and locks it, at its start. Returns None if another process holds the lock."""
    while True:
        file = path.open("a+", encoding="utf-8")
        file.seek(0)
        try:
            if not _acquire(file, shared, wait):
                file.close()
                return None
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # its holder removed it while this process waited


def _acquire(file: IO[str], shared: bool, wait: bool) -> bool:
    """Locks an open file. POSIX locks: a forked process does not inherit them, and they end with their process."""
    if fcntl is not None:
        try:
            fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            return True
        except OSError as error:
            if error.errno in TAKEN:
                return False
    holder = _parse(file.read())
    file.seek(0)
    return wait or holder.get("host") != host_name() or not is_alive(holder["pid"])


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _parse(text: str) -> dict:
    with contextlib.suppress(ValueError):
        holder = json.loads(text)
        if isinstance(holder, dict) and isinstance(holder.get("pid"), int):
            return holder
    return {}


def _describe(text: str) -> str:
    if not (holder := _parse(text)):
        return "another process"
    return f"process {holder['pid']} on {holder.get('host')}, started {holder.get('started')}"


def _holders(folder: Path, name: str) -> str:
    """Describes who holds a lock: the text in its file, or in those of the other locks in the folder."""
    for path in (folder / name, *sorted(folder.glob(f".*{LOCK}"))):
        with contextlib.suppress(OSError):
            if text := path.read_text(encoding="utf-8"):
                return _describe(text)
    return "another process"
