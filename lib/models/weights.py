"""Reads weight files without running code from them, and reports every key that did not fit."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

NET_NAME = "TransCMD"


def checkpoint_folder(save_dir: str | Path, script: str, config: str) -> Path:
    """Where a training run keeps its checkpoints, as OSTrack lays it out."""
    return Path(save_dir) / "checkpoints" / "train" / script / config


def epoch_path(folder: Path, epoch: int) -> Path:
    """The checkpoint of a finished epoch."""
    return folder / f"{NET_NAME}_ep{epoch:04d}.pth.tar"


class LoadReport(NamedTuple):
    """What became of each key."""

    used: list[str]
    missing: list[str]  # in the model, not in the file
    leftover: list[str]  # in the file, not in the model
    mismatched: list[str]  # in both, with different shapes: "key (192,) in the file, (128,) in the model"

    @property
    def fits(self) -> bool:
        return not (self.missing or self.leftover or self.mismatched)

    def describe(self) -> str:
        """One line: counts, and the first names of what did not fit."""
        parts = [f"{len(self.used)} tensors fit"]
        for title, keys in (
            ("missing", self.missing),
            ("left over", self.leftover),
            ("of another shape", self.mismatched),
        ):
            if keys:
                parts.append(f"{len(keys)} {title} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})")
        return "; ".join(parts)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Content of a .pth/.pth.tar file: tensors and plain values only, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: cut off, no checkpoint, or holding objects whose loading would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error).upper():  # a class or function that is not torch's own
            raise ValueError(
                f"{path}: refused, because it holds pickled objects and not only tensors; loading them would run code"
            ) from error
        raise ValueError(f"{path}: not a checkpoint, or cut off ({path.stat().st_size} bytes)") from error
    except PermissionError:
        raise
    except (RuntimeError, OSError, EOFError, zipfile.BadZipFile, LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a checkpoint, or cut off ({path.stat().st_size} bytes)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def read_net(path: str | Path) -> dict[str, Tensor]:
    """The network's tensors: the 'net' entry of a training checkpoint, or a plain state dict."""
    return net_of(read_checkpoint(path), path)


def net_of(content: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The network's tensors in a checkpoint's content. Raises ValueError where there are none."""
    net = content.get("net", content)
    if not isinstance(net, dict) or not net or not all(isinstance(value, Tensor) for value in net.values()):
        raise ValueError(f"{path}: holds no network: expected tensors under 'net', found keys {list(content)[:5]}")
    return net


def load_exact(model: nn.Module, net: dict[str, Tensor], source: str) -> None:
    """Loads a network of the same architecture. Raises ValueError with the differences otherwise."""
    report = compare(model, net)
    if not report.fits:
        raise ValueError(
            f"{source}: weights of another architecture: {report.describe()}; check the config's MODEL keys"
        )
    model.load_state_dict(net)


def load_fitting(model: nn.Module, net: dict[str, Tensor], source: str) -> LoadReport:
    """Loads the tensors whose name and shape fit and leaves the rest as initialised.

    Raises:
        ValueError: nothing fits.
    """
    report = compare(model, net)
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
        leftover=[key for key in net if key not in own],
        mismatched=[
            f"{key} {tuple(net[key].shape)} in the file, {tuple(own[key].shape)} in the model"
            for key in common
            if own[key].shape != net[key].shape
        ],
    )
