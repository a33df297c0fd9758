"""Texts for messages."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 5  # items that a message lists


def shorten(items: Sequence[str], separator: str = ", ", most: int = MOST) -> str:
    """Joins the first `most` items and says how many more there are: "a, b and 243 more"."""
    text = separator.join(items[:most])
    return text if len(items) <= most else f"{text} and {len(items) - most} more"
