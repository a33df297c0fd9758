"""The file that a step with a non-finite loss or gradient leaves, from which that step can be run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lib.models.weights.read import read_checkpoint
from lib.structures import Pair, Sample
from lib.utils.files import atomic_path

KEYS = ("state", "samples", "keys", "terms", "step", "progress", "problem")


def write_replay(path: Path, samples: Sequence[Sample], **content: Any) -> Path:
    """Writes the file, tensors and plain values only, and returns its path.

    Args:
        samples: all micro batches of the step, over all processes, in their order.
        content: "state" before the step, see `Trainer.state`; "keys", the (epoch, index) of each sample; "terms" of
            each micro batch by name; "step" since the start; "progress" in [0, 1]; "problem", a text.

    Raises:
        OSError: the file cannot be written.
    """
    plain = [
        {**sample._asdict(), "template": list(sample.template), "search": list(sample.search)} for sample in samples
    ]
    with atomic_path(path) as temporary:
        torch.save({"samples": plain, **content}, temporary)
    return path


def read_replay(path: Path) -> dict[str, Any]:
    """Returns the content of `write_replay`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is another file, or damaged.
    """
    content = read_checkpoint(path)
    if absent := sorted(set(KEYS) - set(content)):
        raise ValueError(f"{path}: not a file of a stopped step, {', '.join(absent)} missing; expected a replay.pt")
    content["samples"] = [
        Sample(**{**plain, "template": Pair(*plain["template"]), "search": Pair(*plain["search"])})
        for plain in content["samples"]
    ]
    return content


def describe_terms(terms: Sequence[dict[str, float]]) -> str:
    """Returns the terms of the first micro batch with one that is not finite, or of the first one, as text."""
    wrong = [number for number, each in enumerate(terms) if not all(map(_is_finite, each.values()))]
    number = wrong[0] if wrong else 0
    where = f"micro batch {number + 1} of {len(terms)}: " if len(terms) > 1 else ""
    return where + ", ".join(f"{name} {value:g}" for name, value in terms[number].items())


def _is_finite(value: float) -> bool:
    return value - value == 0
