"""Loads weights into a model and reports every key that did not fit."""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import Tensor, nn


class LoadReport(NamedTuple):
    """Lists the keys of a model and of a file by how they were used."""

    used: list[str]
    missing: list[str]  # in the model, not in the file
    unused: list[str]  # in the file, not in the model
    mismatched: list[str]  # in both, with different shapes: "key (192,) in the file, (128,) in the model"
    converted: dict[str, str] = {}  # used key → conversion as text, for tensors that are not plain copies

    @property
    def fits(self) -> bool:
        """Whether every key of the model and of the file was used."""
        return not (self.missing or self.unused or self.mismatched)

    def describe(self) -> str:
        """Returns one line with the counts and the first names of the keys that do not fit."""
        parts = [f"{len(self.used)} tensors fit" + (f", {len(self.converted)} converted" if self.converted else "")]
        for title, keys in (
            ("missing", self.missing),
            ("not used", self.unused),
            ("with a different shape", self.mismatched),
        ):
            if keys:
                parts.append(f"{len(keys)} {title} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})")
        return "; ".join(parts)

    def lines(self) -> list[str]:
        """Returns one line for every key that is not a plain copy.

        The same conversion in several blocks shares a line, e.g.
        "converted: encoder.blocks.{0,1}.attn.proj.weight: LayerScale folded in".
        """
        blocks_of: dict[tuple[str, str], list[str]] = {}
        for key, how in self.converted.items():
            number = re.search(r"\.(\d+)\.", key)
            pattern = key if number is None else f"{key[: number.start(1)]}{{}}{key[number.end(1) :]}"
            blocks_of.setdefault((pattern, how), []).append("" if number is None else number[1])
        found = []
        for (pattern, how), numbers in blocks_of.items():
            listed = numbers[0] if len(numbers) == 1 else "{" + ",".join(numbers) + "}"
            found.append(f"converted: {pattern.replace('{}', listed)}: {how}")
        lists = (("missing", self.missing), ("not used", self.unused), ("mismatched", self.mismatched))
        return found + [f"{title}: {key}" for title, keys in lists for key in keys]


def load_exact(model: nn.Module, net: dict[str, Tensor], source: str) -> None:
    """Loads a network of the same architecture into `model`.

    Args:
        net: name → tensor.
        source: name of the file, for error texts.

    Raises:
        ValueError: a key is missing, not used, or has a different shape; the message lists the differences.
    """
    report = compare(model, net)
    if not report.fits:
        raise ValueError(
            f"{source}: weights of a different architecture: {report.describe()}; check the config's MODEL keys"
        )
    model.load_state_dict(net)


def load_fitting(
    model: nn.Module, net: dict[str, Tensor], source: str, converted: dict[str, str] | None = None
) -> LoadReport:
    """Loads the tensors whose name and shape fit; all other parameters keep their values.

    Args:
        net: name → tensor.
        source: name of the file, for error texts.
        converted: name → earlier conversion as text, for the report.

    Raises:
        ValueError: no tensor fits.
    """
    report = compare(model, net)
    report = report._replace(converted={key: converted[key] for key in report.used if key in (converted or {})})
    if not report.used:
        raise ValueError(f"{source}: no tensor fits this model: {report.describe()}")
    model.load_state_dict({key: net[key] for key in report.used}, strict=False)
    return report


def compare(model: nn.Module, net: dict[str, Tensor]) -> LoadReport:
    """Compares names and shapes of the tensors of a model and of a file. Loads nothing."""
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
