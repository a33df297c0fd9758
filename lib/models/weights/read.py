"""Reads weight files without running code from them, and reports every key that did not fit."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib.utils.files import atomic_path
from lib.utils.paths import PROJECT

# What reading a file that is damaged, or none at all, ends with.
DAMAGE = (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError) + (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
TIMM = "timm:"  # before the name of a model whose weights timm downloads


def find_weights(name: str | Path) -> Path:
    """A weight file, looked for as given, then in pretrained_models/."""
    local = PROJECT / "pretrained_models" / name
    return local if local.is_file() and not Path(name).is_file() else Path(name)


class InertPlaceholder:
    """Stands where a file names a class or function of another project: takes any arguments and state, does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> InertPlaceholder:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Content of a .pth, .pth.tar or .safetensors file: tensors and plain values only, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: cut off, no checkpoint, or holding objects whose loading would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("global|InertPlaceholder", str(error), re.IGNORECASE):  # a class or function that is not torch's
            raise ValueError(
                f"{path}: refused, because it holds pickled objects and not only tensors; loading them would run code"
            ) from error
        raise ValueError(f"{path}: not a checkpoint, or cut off ({path.stat().st_size} bytes)") from error
    except PermissionError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path}: not a checkpoint, or cut off ({path.stat().st_size} bytes)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors; where `write_net` wrote them, below 'net' and with the settings below 'config'."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata() or {}
    if "config" not in metadata:
        return tensors
    config = json.loads(metadata["config"])
    if not isinstance(config, dict):
        raise ValueError(f"expected settings by name, got {type(config).__name__}")
    return {"net": tensors, "config": config}


def write_net(path: str | Path, net: dict[str, Tensor], config: dict[str, Any], dtype: torch.dtype) -> None:
    """Writes a network alone, with its settings, as .safetensors: what a tracker or a distillation needs of a run.

    Args:
        dtype: of the floating-point tensors.

    Raises:
        ValueError: a value that this type cannot hold.
    """
    kept = {name: (t.to(dtype) if t.is_floating_point() else t).contiguous() for name, t in net.items()}
    if wrong := [name for name, tensor in kept.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{path}: {wrong[0]} does not fit {dtype}, or is not finite; choose a wider type")
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(kept, metadata={"config": json.dumps(config)}))


def read_foreign(source: str | Path) -> dict[str, Tensor]:
    """The tensors of a network that another project may have trained: of a file, or timm's download "timm:<model>".

    Trackers of OSTrack's family pickle their settings beside the tensors. Those load as `InertPlaceholder`s: nothing
    that the file names is imported or called.

    Raises:
        FileNotFoundError, ValueError: as `read_checkpoint`; or there is no such model or no network.
    """
    if str(source).startswith(TIMM):
        return _download(str(source))
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(source)
    except DAMAGE:
        names = []  # no zip file; if it is no older checkpoint either, reading it says so
    with torch.serialization.safe_globals([(InertPlaceholder, name) for name in names]):
        return read_net(source)


def _download(source: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(source.removeprefix(TIMM), pretrained=True, num_classes=0).state_dict()
    except (RuntimeError, OSError, ValueError) as error:  # unknown; without weights; not reachable
        raise ValueError(f"{source}: timm has no weights for it here: {' '.join(str(error).split())}") from error


def read_net(path: str | Path) -> dict[str, Tensor]:
    """The network's tensors: the 'net' entry of a training checkpoint ('model' in some), or a plain state dict."""
    return net_of(read_checkpoint(path), path)


def net_of(content: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The network's tensors in a checkpoint's content. Raises ValueError where there are none."""
    net = content.get("net", content.get("model", content))
    if not isinstance(net, dict) or not net or not all(isinstance(value, Tensor) for value in net.values()):
        raise ValueError(f"{path}: holds no network: expected tensors under 'net', found keys {list(content)[:5]}")
    return net
