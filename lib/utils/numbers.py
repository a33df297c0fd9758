"""Tables of plain decimal numbers, read by whole-array arithmetic: reading is most of what scoring takes."""

from __future__ import annotations

import numpy as np

BREAK, GAP, DIGIT, MINUS, POINT, OTHER = range(6)
KINDS = np.full(256, OTHER, np.uint8)
for _characters, _kind in ((b"\n", BREAK), (b" \t,\r", GAP), (b"0123456789", DIGIT), (b"-", MINUS), (b".", POINT)):
    KINDS[list(_characters)] = _kind
MAX_DIGITS = 15  # so many make a whole number that float64 holds, and so do the powers of ten up to them
POWERS = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)


def parse_plain(data: bytes) -> np.ndarray | None:
    """Rows of numbers between commas, blanks or tabs as (rows, columns) float64; blank lines are passed over.

    Equal to the last bit to what `float` makes of each word: a whole number of at most 15 digits and a power of ten are
    both exact, so that their quotient is rounded once.

    Returns:
        None for what is not of this plain form: other characters (nan, 1e5, +1), longer numbers, rows of unequal
        length, no number at all. The caller then reads it in another way, and finds out what is wrong.
    """
    codes = np.frombuffer(data, np.uint8)
    kinds = KINDS[codes]
    inside = kinds >= DIGIT
    if not inside.any() or (kinds == OTHER).any():
        return None
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    lines = np.cumsum(kinds == BREAK)[starts]
    width = int(np.searchsorted(lines, lines[0], side="right"))
    if len(starts) % width or (lines.reshape(-1, width) != lines[::width, None]).any() or _repeats(lines[::width]):
        return None
    words = _parse_words(codes, kinds, starts, ends)
    return None if words is None else words.reshape(-1, width)


def _repeats(rising: np.ndarray) -> bool:
    return bool((np.diff(rising) == 0).any())


def _parse_words(codes: np.ndarray, kinds: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    digits = kinds == DIGIT
    seen = np.concatenate([[0], np.cumsum(digits)])  # digits before each place
    counts = seen[ends] - seen[starts]
    minus, points = np.flatnonzero(kinds == MINUS), np.flatnonzero(kinds == POINT)
    owners = np.searchsorted(starts, points, side="right") - 1
    negative = kinds[starts] == MINUS
    if counts.min() < 1 or counts.max() > MAX_DIGITS or len(minus) != negative.sum() or _repeats(owners):
        return None
    places = np.flatnonzero(digits)
    following = np.repeat(seen[ends], counts) - seen[places + 1]  # digits after each one in its word
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    whole = np.add.reduceat((codes[places] - np.int64(48)) * POWERS[following], firsts)
    decimals = np.zeros(len(starts), np.int64)
    decimals[owners] = seen[ends[owners]] - seen[points]
    return np.where(negative, -1.0, 1.0) * whole / POWERS[decimals]
