"""The list of sequences that are left out of training: written by tracking/doctor.py, read as DATA.SKIP."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from lib.utils.files import read_text, write_text
from lib.utils.texts import one_line

HEADER = """# Sequences that are left out of training (DATA.SKIP), one per line: <data set>/<sequence>  # why
# Written by tracking/doctor.py --write-skip.
"""
COMMENT = re.compile(r"(?:^|\s)#.*")  # a name may contain "#", but not after a space


def read_skip(path: str | Path, known: Collection[str]) -> dict[str, dict[str, str]]:
    """Reads a list of sequences: data set, e.g. "LasHeR_train" → name of a sequence → why it is left out.

    Args:
        known: names of all data sets.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is not "<data set>/<sequence>", or the data set is unknown; names the line.
    """
    skip: dict[str, dict[str, str]] = {}
    try:
        text = read_text(path)
    except OSError as error:
        raise type(error)(f"DATA.SKIP: {one_line(error)}; write it with tracking/doctor.py --write-skip") from error
    for number, line in enumerate(text.splitlines(), start=1):
        entry, reason = COMMENT.sub("", line).strip(), COMMENT.search(line)
        dataset, slash, name = entry.partition("/")
        if not entry:
            continue
        if not slash or not name:
            raise ValueError(f"{path}, line {number}: expected <data set>/<sequence>, got '{entry[:80]}'")
        if dataset not in known:
            raise ValueError(f"{path}, line {number}: unknown data set '{dataset}'; known: {', '.join(known)}")
        skip.setdefault(dataset, {})[name] = reason[0].strip(" \t#") if reason else ""
    return skip


def write_skip(path: str | Path, skip: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the list that `read_skip` reads. Raises OSError if the file cannot be written."""
    lines = [f"{dataset}/{name}  # {why}\n" for dataset, names in skip.items() for name, why in sorted(names.items())]
    write_text(path, HEADER + "".join(lines))
