"""Loads weights into a model and reports every key that did not fit."""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import Tensor, nn


class LoadReport(NamedTuple):
    """What happened to each key."""

    used: list[str]
    missing: list[str]  # in the model, not in the file
    unused: list[str]  # in the file, not in the model
    mismatched: list[str]  # in both, with different shapes: "key (192,) in the file, (128,) in the model"
    converted: dict[str, str] = {}  # of those used, key → what was done to a tensor that is no plain copy

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unused or self.mismatched)

    def describe(self) -> str:
        """One line: counts, and the first names of what did not fit."""
        parts = [f"{len(self.used)} tensors fit" + (f", {len(self.converted)} converted" if self.converted else "")]
        for title, keys in (
            ("missing", self.missing),
            ("not used", self.unused),
            ("of another shape", self.mismatched),
        ):
            if keys:
                parts.append(f"{len(keys)} {title} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})")
        return "; ".join(parts)

    def lines(self) -> list[str]:
        """One line for every key that is no plain copy; the same conversion of several blocks shares a line:
        "converted: encoder.blocks.{0,1}.attn.proj.weight: LayerScale folded in".
        """
        alike: dict[tuple[str, str], list[str]] = {}
        for key, how in self.converted.items():
            number = re.search(r"\.(\d+)\.", key)
            pattern = key if number is None else f"{key[: number.start(1)]}{{}}{key[number.end(1) :]}"
            alike.setdefault((pattern, how), []).append("" if number is None else number[1])
        found = []
        for (pattern, how), numbers in alike.items():
            listed = numbers[0] if len(numbers) == 1 else "{" + ",".join(numbers) + "}"
            found.append(f"converted: {pattern.replace('{}', listed)}: {how}")
        lists = (("missing", self.missing), ("not used", self.unused), ("mismatched", self.mismatched))
        return found + [f"{title}: {key}" for title, keys in lists for key in keys]


def load_exact(model: nn.Module, net: dict[str, Tensor], source: str) -> None:
    """Loads a network of the same architecture. Raises ValueError with the differences otherwise."""
    report = compare(model, net)
    if not report.fits:
        raise ValueError(
            f"{source}: weights of another architecture: {report.describe()}; check the config's MODEL keys"
        )
    model.load_state_dict(net)


def load_fitting(
    model: nn.Module, net: dict[str, Tensor], source: str, converted: dict[str, str] | None = None
) -> LoadReport:
    """Loads the tensors whose name and shape fit and leaves the rest as initialised.

    Args:
        converted: what was done to tensors of `net` before, for the report.

    Raises:
        ValueError: nothing fits.
    """
    report = compare(model, net)
    report = report._replace(converted={key: converted[key] for key in report.used if key in (converted or {})})
    if not report.used:
        raise ValueError(f"{source}: nothing in it fits this model: {report.describe()}")
    model.load_state_dict({key: net[key] for key in report.used}, strict=False)
    return report


def compare(model: nn.Module, net: dict[str, Tensor]) -> LoadReport:
    """Sorts the keys of a model and of a file by whether they fit."""
    own = model.state_dict()
    common = [key for key in own if key in net]
    used = [key for key in common if own[key].shape == net[key].shape]
    return LoadReport(
        used,
        missing=[key for key in own if key not in net],
        unused=[key for key in net if key not in own],
        mismatched=[
            f"{key} {tuple(net[key].shape)} in the file, {tuple(own[key].shape)} in the model"
            for key in common
            if own[key].shape != net[key].shape
        ],
    )
