"""Reads archives of results, ours or published ones, and converts them to raw results, see `raw.py`.

Accepts zip and tar files, also compressed; results of one or several trackers in any folder; four or eight numbers per
row; sequence names with or without the tracker's name before them; the layouts of the VOT toolkit. Members are read and
never extracted, so that an archive does not choose the names of the written files.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lib.results.pack import RUN_FILE
from lib.results.raw import (
    COMPANIONS,
    boxes_text,
    columns_after_code,
    numbers_text,
    parse_boxes,
    parse_numbers,
    read_boxes,
)
from lib.utils.files import atomic_path, decode_text

MAX_BYTES = 1 << 30  # unpacked; the results of 100 trackers on the largest benchmark need half of it
MAX_FILES = 200_000
DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}  # first bytes of the file → function
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
SUFFIXES = (".txt", ".value", ".bin")
VOT_COMPANIONS = {  # suffixes after the sequence's name, of the toolkit and of published results
    "_score": ("_001_confidence.value", "_001_confidence.txt"),
    "_time": ("_001_time.value", "001_time.value"),
}

Member = tuple[str, int, Callable[[], bytes]]  # path, size in bytes, function that reads the content


class Unpacked(NamedTuple):
    """The results in an archive."""

    files: dict[str, bytes]  # path below the target → content
    sequences: int  # number of sequences with boxes, of all trackers
    left_out: list[str]  # members that are not results or do not fit, with the reason


def unpack_results(path: Path, tracker: str = "") -> Unpacked:
    """Reads an archive of results.

    If the archive has one folder of results, files are named <sequence>.txt; if it has several, the part of their paths
    that differs is prepended. Runs from anchors keep the VOT toolkit's layout, in which they are scored.

    Args:
        tracker: read only folders with this name in their path; "": all folders.

    Raises:
        ValueError: the file is not an archive, is damaged or unsafe, or has no results (of this tracker); or boxes are
            invalid.
        FileNotFoundError: the file is missing.
    """
    path = Path(path)
    groups = group_members(read_archive(path))
    stem = re.sub(r"\.(zip|tgz|tbz2|txz|tar(\.(gz|bz2|xz))?)$", "", path.name)
    if tracker:
        known = sorted({part for folder in groups for part in folder.parts})
        groups = {folder: group for folder, group in groups.items() if tracker in (*folder.parts, stem)}
        if not groups:
            raise ValueError(f"{path}: no results of '{tracker}'; folders with files: {', '.join(known) or 'none'}")
    read = {
        folder: _Group(f"{path}:{folder}", group, {folder.name, stem, tracker} - {""}).read()
        for folder, group in groups.items()
    }
    left_out = [text for unpacked in read.values() for text in unpacked.left_out]
    read = {folder: unpacked for folder, unpacked in read.items() if unpacked.sequences}
    if not read:
        raise ValueError(f"{path}: no results, expected <sequence>.txt with 4 or 8 numbers per row")
    shared = PurePosixPath(posixpath.commonpath(list(map(str, read))))
    files = {
        (folder.relative_to(shared) / name).as_posix(): content
        for folder, unpacked in read.items()
        for name, content in unpacked.files.items()
    }
    return Unpacked(files, sum(unpacked.sequences for unpacked in read.values()), left_out)


# --- archives ---------------------------------------------------------------------------------------------------------


def read_archive(path: Path) -> dict[PurePosixPath, bytes]:
    """Reads the members of a zip or tar file that can be results, by path. Extracts no file.

    Raises:
        ValueError: the file is not an archive, is damaged or too large, or has a path outside the archive.
        OSError: the file cannot be read.
    """
    members: dict[PurePosixPath, bytes] = {}
    total = 0
    try:
        for count, (name, size, read) in enumerate((_zip_members if zipfile.is_zipfile(path) else _tar_members)(path)):
            if count >= MAX_FILES:
                raise ValueError(f"{path}: more than {MAX_FILES} files; not an archive of results")
            member = PurePosixPath(name.replace("\\", "/"))
            if member.is_absolute() or ".." in member.parts or re.match("[A-Za-z]:", name):
                raise ValueError(f"{path}: the path '{name}' is outside the archive; nothing is unpacked")
            if member.suffix not in SUFFIXES or any(p.startswith(".") or p == "__MACOSX" for p in member.parts):
                continue
            total += size
            _check_size(path, total)
            content = read()
            if members.setdefault(member, content) != content:
                raise ValueError(f"{path}: contains '{name}' twice, with different content")
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the file system, not of the archive
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as a zip or tar archive: {reason}") from error
    return members


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():  # zipfile never reads more bytes than file_size
                yield info.filename, info.file_size, lambda info=info: archive.read(info)


def _tar_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file:
        begin = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in DECOMPRESSORS.items() if begin.startswith(magic)), None)
        plain = opener(file) if opener else file
        with tarfile.open(fileobj=_Bounded(path, plain), mode="r|") as archive:
            for info in archive:
                if info.isfile():  # links are ignored: their target can be any file
                    yield info.name, info.size, lambda info=info: archive.extractfile(info).read()


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{path}: more than {MAX_BYTES >> 20} MB unpacked; not an archive of results")


class _Bounded:
    """A file that raises ValueError when more than MAX_BYTES are read, even if its headers are wrong."""

    def __init__(self, path: Path, file):
        self.path, self.file, self.count = path, file, 0

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.count += len(data)
        _check_size(self.path, self.count)
        return data


# --- layouts ----------------------------------------------------------------------------------------------------------


def group_members(members: Mapping[PurePosixPath, bytes]) -> dict[PurePosixPath, dict[str, bytes]]:
    """Groups members by folder of results: path → members by path in this folder, `car.txt` or `car/car_001.txt`."""
    nested = {path.parent for path in members if _is_nested(path)}
    groups: dict[PurePosixPath, dict[str, bytes]] = {}
    for path, content in sorted(members.items()):
        folder = path.parent.parent if path.parent in nested else path.parent
        groups.setdefault(folder, {})[path.relative_to(folder).as_posix()] = content
    return groups


def _is_nested(path: PurePosixPath) -> bool:
    """Returns whether a member is <sequence>/<sequence>_001.txt or a run from an anchor."""
    begin = re.escape(path.parent.name)
    return bool(begin and re.fullmatch(f"{begin}(_001\\.(txt|bin)|{RUN_FILE})", path.name))


class _Group:
    """The files of one tracker on one benchmark."""

    def __init__(self, source: str, members: dict[str, bytes], prefixes: set[str]):
        self.source, self.members, self.prefixes = source, members, prefixes
        self.files: dict[str, bytes] = {}
        self.left_out: list[str] = []
        self.used: set[str] = set()
        self.sequences = 0

    def read(self) -> Unpacked:
        """Converts all members to our layout. Raises ValueError if a member is invalid."""
        runs = [name for name in self.members if re.fullmatch(rf"(.+)/\1{RUN_FILE}", name)]
        for name in runs:
            self.used.add(name)
            self.files[f"baseline/{name}"] = self.members[name]
        self.sequences += len({name.partition("/")[0] for name in runs})
        for name in [name for name in self.members if re.fullmatch(r"(.+)/\1_001\.(txt|bin)", name)]:
            sequence = name.partition("/")[0]
            companions = {s: [f"{sequence}/{sequence}{e}" for e in endings] for s, endings in VOT_COMPANIONS.items()}
            self._add(sequence, name, companions, with_codes=True)
        plain = [name.removesuffix(".txt") for name in self.members if "/" not in name and self._holds_boxes(name)]
        length = self._prefix_length(plain)
        for stem in plain:
            self._add(stem[length:], f"{stem}.txt", {suffix: [f"{stem}{suffix}.txt"] for suffix in COMPANIONS})
        unused = sorted(self.members.keys() - self.used)
        self.left_out += [f"{self.source}/{name}: not a result" for name in unused]
        return Unpacked(self.files, self.sequences, self.left_out)

    def _holds_boxes(self, name: str) -> bool:
        text = self.members[name].decode("utf-8-sig", "replace")
        if columns_after_code(text):
            text = text.lstrip().partition("\n")[2]
        words = text.partition("\n")[0].replace(",", " ").split()
        with suppress(ValueError):
            return name.endswith(".txt") and len(words) in (4, 8) and bool([float(word) for word in words])
        return False

    def _prefix_length(self, stems: list[str]) -> int:
        """Returns the length of the tracker's name before every sequence name.

        A prefix counts only if it is the name of a folder or of the archive.
        """
        lengths = [len(p) + 1 for p in self.prefixes if all(s.lower().startswith(f"{p.lower()}_") for s in stems)]
        return max(lengths, default=0)

    def _add(self, sequence: str, name: str, companions: dict[str, list[str]], with_codes: bool = False) -> None:
        self.used.add(name)
        boxes = self._boxes(name, with_codes)
        if not self._put(f"{sequence}.txt", boxes_text(boxes), name):
            return
        self.sequences += 1
        for suffix, candidates in companions.items():
            found = next((c for c in candidates if c in self.members and not self._holds_boxes(c)), None)
            if found is None:
                continue
            self.used.add(found)
            # A blank confidence of the toolkit means 0.
            values = self._numbers(found, "0" if with_codes and suffix == "_score" else "nan")
            if len(values) != len(boxes):
                self.left_out.append(f"{self.source}/{found}: {len(values)} rows for {len(boxes)} boxes")
            else:
                text = numbers_text(values) if suffix != "_drop" else "".join(f"{v:.0f}\n" for v in values)
                self._put(f"{sequence}{suffix}.txt", text, found)

    def _put(self, target: str, text: str, name: str) -> bool:
        if target in self.files:
            self.left_out.append(f"{self.source}/{name}: another member already is {target}")
            return False
        self.files[target] = text.encode()
        return True

    def _boxes(self, name: str, with_codes: bool) -> np.ndarray:
        source = f"{self.source}/{name}"
        if not name.endswith(".bin"):
            return parse_boxes(self._text(name), source, with_codes)
        with tempfile.TemporaryDirectory() as folder:  # the toolkit's binary format can only be read from a file
            path = Path(folder) / "boxes.bin"
            path.write_bytes(self.members[name])
            try:
                return read_boxes(path)
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), source)) from None

    def _numbers(self, name: str, blank: str) -> np.ndarray:
        text = "\n".join(line.strip() or blank for line in self._text(name).rstrip().splitlines())
        return parse_numbers(text, f"{self.source}/{name}")

    def _text(self, name: str) -> str:
        return decode_text(self.members[name], f"{self.source}/{name}")


# --- files ------------------------------------------------------------------------------------------------------------


def write_files(folder: Path, files: Mapping[str, bytes], force: bool = False) -> int:
    """Writes files, each atomically, and returns the number of new ones. Equal existing files are not written.

    Args:
        files: path below `folder` → content.
        force: overwrite existing files with different content.

    Raises:
        ValueError: files would be overwritten without `force`; nothing is written.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    new = {name: content for name, content in files.items() if not _is_equal(folder / name, content)}
    taken = sorted(name for name in new if (folder / name).exists())
    if taken and not force:
        shown = ", ".join(taken[:5]) + (", …" if len(taken) > 5 else "")
        raise ValueError(f"{folder}: {len(taken)} files exist already, with different content ({shown}); use --force")
    for name, content in new.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return len(new)


def _is_equal(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
