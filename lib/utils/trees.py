"""Nested dictionaries of settings, as in configurations and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def flatten(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields a pair such as ("TRAIN.LR", value) for every leaf; an empty dictionary counts as a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_plain(tree: Any) -> Any:
    """Returns a copy of the tree made of plain dictionaries and lists, which a checkpoint can store."""
    if isinstance(tree, dict):
        return {key: to_plain(value) for key, value in tree.items()}
    return [to_plain(value) for value in tree] if isinstance(tree, list | tuple) else tree
