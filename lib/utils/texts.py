"""Texts for messages."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 5  # items that a message lists
# A back-tick, an apostrophe and its typographic forms are one character in names; so are a hyphen and an underscore.
SPELLINGS = str.maketrans({"-": "_", "`": "'", "\u00b4": "'", "\u2019": "'"})


def plain_spelling(name: str) -> str:
    """Returns a form of a sequence's name that is the same for all its spellings in downloads and results."""
    return name.casefold().translate(SPELLINGS)


def one_line(error: Exception) -> str:
    """Returns the text of an error in one line; of an OSError, the file and the reason."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def shorten(items: Sequence[str], separator: str = ", ", most: int = MOST) -> str:
    """Joins the first `most` items and says how many more there are: "a, b and 243 more"."""
    text = separator.join(items[:most])
    return text if len(items) <= most else f"{text} and {len(items) - most} more"


def describe_bytes(count: float) -> str:
    """Returns a number of bytes in words: "512 B", "3.4 MB", "12.0 GB"; a GB has 10^9 bytes."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def describe_seconds(seconds: float) -> str:
    """Returns a duration in words: "12.3 s", "4.5 min", "3.2 h", "2.1 days"."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
