"""Fast parsing of tables of plain decimal numbers with array operations. Parsing takes most of the evaluation time."""

from __future__ import annotations

import numpy as np

NEWLINE, SEPARATOR, DIGIT, MINUS, POINT, OTHER = range(6)
KINDS = np.full(256, OTHER, np.uint8)
for _characters, _kind in (
    (b"\n", NEWLINE),
    (b" \t,\r", SEPARATOR),
    (b"0123456789", DIGIT),
    (b"-", MINUS),
    (b".", POINT),
):
    KINDS[list(_characters)] = _kind
MAX_DIGITS = 15  # float64 represents all integers with this many digits, and their powers of ten, exactly
POWERS = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)


def parse_plain(data: bytes) -> np.ndarray | None:
    """Parses rows of numbers separated by commas, spaces or tabs.

    The values are identical to those of `float`: an integer of at most 15 digits and a power of ten are both exact, so
    that their quotient is rounded only once.

    Returns:
        (rows, columns) float64, without blank lines; None if `data` contains other characters (nan, 1e5, +1), longer
        numbers, rows with different lengths or no number. The caller then uses a slower parser, which reports errors.
    """
    codes = np.frombuffer(data, np.uint8)
    kinds = KINDS[codes]
    in_word = kinds >= DIGIT
    if not in_word.any() or (kinds == OTHER).any():
        return None
    edges = np.flatnonzero(np.diff(in_word, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    lines = np.cumsum(kinds == NEWLINE)[starts]
    width = int(np.searchsorted(lines, lines[0], side="right"))
    if (
        len(starts) % width
        or (lines.reshape(-1, width) != lines[::width, None]).any()
        or _has_duplicates(lines[::width])
    ):
        return None
    words = _parse_words(codes, kinds, starts, ends)
    return None if words is None else words.reshape(-1, width)


def _has_duplicates(ascending: np.ndarray) -> bool:
    return bool((np.diff(ascending) == 0).any())


def _parse_words(codes: np.ndarray, kinds: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    digits = kinds == DIGIT
    digits_before = np.concatenate([[0], np.cumsum(digits)])  # number of digits before each position
    counts = digits_before[ends] - digits_before[starts]
    minus, points = np.flatnonzero(kinds == MINUS), np.flatnonzero(kinds == POINT)
    owners = np.searchsorted(starts, points, side="right") - 1
    negative = kinds[starts] == MINUS
    if counts.min() < 1 or counts.max() > MAX_DIGITS or len(minus) != negative.sum() or _has_duplicates(owners):
        return None
    positions = np.flatnonzero(digits)
    following = np.repeat(digits_before[ends], counts) - digits_before[positions + 1]  # digits after it in its word
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    integers = np.add.reduceat((codes[positions] - np.int64(48)) * POWERS[following], firsts)
    decimals = np.zeros(len(starts), np.int64)
    decimals[owners] = digits_before[ends[owners]] - digits_before[points]
    return np.where(negative, -1.0, 1.0) * integers / POWERS[decimals]
