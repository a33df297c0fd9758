"""Reads and writes weight files. Reading runs no code from them."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib.structures import MODALITIES
from lib.utils.files import atomic_path, read_text

logger = logging.getLogger(__name__)

# Exceptions of torch and safetensors for a file that is damaged or has a different format.
DAMAGE = (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError) + (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
CHECKSUMS = "SHA256SUMS"  # in the folder of a weight file: lines of sha256sum, for the files that are listed
# "ema": averaged weights, which are used rather than the trained ones; the last two are those of DINO
NETWORK_KEYS = ("ema", "net", "model", "state_dict", "teacher", "student")
PARALLEL = "module."  # prefix of the names that torch's DataParallel wrappers save
TIMM = "timm:"  # prefix of a model name whose weights timm downloads
# Old → current beginnings of parameter names, for checkpoints that do not list their modalities.
RENAMED = {"vit.": "encoder.", "fusion.weigh.": "fusion.gate.", "mae.scorer.vit.": "mae.scorer.encoder."}
MODALITY_TABLES = ("modality_embed",)  # tensors with one row for each modality
FIRST_MODALITIES = ("rgb", "rgbt", "rgbd", "rgbe")  # modalities of the rows in checkpoints that do not list them


class _DamagedError(ValueError):
    """A file whose content does not fit its checksum; the message is complete."""


class NetworkFile(NamedTuple):
    """The network of a weight file, with the current parameter names. Tensors have the dtype of the file."""

    tensors: dict[str, Tensor]
    converted: dict[str, str]  # name → conversion as text, for tensors that are not plain copies


class InertPlaceholder:
    """Replaces the classes and functions of other projects that a file names: accepts any arguments, does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> InertPlaceholder:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Returns the content of a .pth, .pth.tar or .safetensors file: tensors and plain values only, on the CPU.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is truncated or damaged, is not a checkpoint, or contains objects whose loading would run
            code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    _check_sum(path)
    try:
        _check_zip(path)
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("global|InertPlaceholder", str(error), re.IGNORECASE):  # a class or function of another package
            raise ValueError(
                f"{path}: refused: it contains pickled objects besides tensors, and loading them would run code"
            ) from error
        raise ValueError(f"{path}: not a checkpoint, or cut off ({path.stat().st_size} bytes)") from error
    except (PermissionError, _DamagedError):
        raise
    except DAMAGE as error:
        raise ValueError(f"{path}: not a checkpoint, or cut off ({path.stat().st_size} bytes)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def _check_sum(path: Path) -> None:
    """Raises ValueError if SHA256SUMS in the file's folder lists another sha256 for it."""
    sums = path.with_name(CHECKSUMS)
    if not sums.is_file():
        return
    known = {words[1].lstrip("*"): words[0] for line in read_text(sums).splitlines() if len(words := line.split()) == 2}
    wanted = known.get(path.name)
    if wanted is None:
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wanted.lower():
        raise ValueError(
            f"{path}: damaged or another file: sha256 {found[:16]}…, {CHECKSUMS} lists {wanted[:16]}…; "
            f"fetch the file again, or remove its line from {sums}"
        )


def _check_zip(path: Path) -> None:
    """Raises ValueError if a part of a zip file does not fit its CRC, which torch.load does not compare."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise _DamagedError(f"{path}: damaged: {damaged} does not fit its CRC; fetch or write the file again")


def check_finite(net: dict[str, Tensor], path: str | Path) -> None:
    """Raises ValueError, naming the first tensors, if a network contains NaN or infinity."""
    wrong = [name for name, t in net.items() if t.is_floating_point() and not t.float().isfinite().all()]
    if wrong:
        raise ValueError(
            f"{path}: {len(wrong)} tensors contain NaN or infinity ({', '.join(wrong[:3])}); "
            "use an earlier checkpoint, or fetch the file again"
        )


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Returns the tensors; for a file of `write_net`, under 'net', with the settings under 'config'."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata() or {}
    if "config" not in metadata:
        return tensors
    config = json.loads(metadata["config"])
    if not isinstance(config, dict):
        raise ValueError(f"expected settings by name, got {type(config).__name__}")
    return {"net": tensors, "config": config, **_modalities(metadata)}


def _modalities(metadata: dict[str, str]) -> dict[str, list[str]]:
    return {"modalities": metadata["modalities"].split()} if "modalities" in metadata else {}


def write_net(path: str | Path, net: dict[str, Tensor], config: dict[str, Any], dtype: torch.dtype) -> None:
    """Writes a network with its settings as a .safetensors file, atomically.

    Args:
        net: name → tensor. Modality tables have one row for each of MODALITIES, in this order.
        dtype: type of the floating-point tensors.

    Raises:
        ValueError: a tensor is not finite or does not fit `dtype`.
        OSError: the file cannot be written.
    """
    kept = {name: (t.to(dtype) if t.is_floating_point() else t).contiguous() for name, t in net.items()}
    if wrong := [name for name, tensor in kept.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{path}: {wrong[0]} does not fit {dtype}, or is not finite; choose a wider type")
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(kept, metadata={"config": json.dumps(config), "modalities": " ".join(MODALITIES)}))


def read_foreign(source: str | Path) -> NetworkFile:
    """Reads a network from a file of this or another project, or downloads the weights "timm:<model>".

    Trackers derived from OSTrack store pickled settings with the tensors. These are loaded as `InertPlaceholder`s:
    nothing that the file names is imported or called.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: as `read_checkpoint`; or timm has no such weights, or the file contains no network.
    """
    if str(source).startswith(TIMM):
        return NetworkFile(_download(str(source)), {})
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source}: no such checkpoint; expected a path, or a name in pretrained_models/")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(source)
    except DAMAGE:
        names = []  # not a zip file; read_checkpoint raises an error if it is no older checkpoint either
    with torch.serialization.safe_globals([(InertPlaceholder, name) for name in names]):
        return network_of(read_checkpoint(source), source)


def _download(source: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(source.removeprefix(TIMM), pretrained=True, num_classes=0).state_dict()
    except (RuntimeError, OSError, ValueError) as error:  # unknown model, no weights, or no network connection
        raise ValueError(f"{source}: timm cannot provide these weights: {' '.join(str(error).split())}") from error


def network_of(content: dict[str, Any], path: str | Path, finite: bool = True) -> NetworkFile:
    """Returns the network in a checkpoint's content, with current parameter names and the rows of MODALITIES.

    Args:
        finite: refuse NaN and infinity. False: to compare files, not to use them.

    Raises:
        ValueError: the content has no network, a tensor is not finite, or the number of modality rows and names
            differs.
    """
    net = next((content[key] for key in NETWORK_KEYS if isinstance(content.get(key), dict)), content)
    if not isinstance(net, dict) or not net or not all(isinstance(value, Tensor) for value in net.values()):
        raise ValueError(f"{path}: contains no network: expected tensors under 'net', found keys {list(content)[:5]}")
    if all(name.startswith(PARALLEL) for name in net):
        net = {name.removeprefix(PARALLEL): tensor for name, tensor in net.items()}
    if finite:
        check_finite(net, path)
    if "modalities" not in content:
        net = {current_name(name): tensor for name, tensor in net.items()}
    names, converted = modality_names(content, path), {}
    for table in MODALITY_TABLES:
        if table in net and ("modalities" in content or len(net[table]) == len(FIRST_MODALITIES)):
            net[table], done = order_rows(net[table], names, f"{path}: {table}")
            if done:
                converted[table] = done
                logger.info("%s: %s: %s", path, table, done)
    return NetworkFile(net, converted)


def current_name(name: str) -> str:
    """Returns the current name of a parameter of a checkpoint that does not list its modalities."""
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def modality_names(content: dict[str, Any], path: str | Path) -> list[str]:
    """Returns the modalities of the rows in a checkpoint. Raises ValueError if the entry is not a list of names."""
    names = content.get("modalities", FIRST_MODALITIES)
    if (
        not isinstance(names, list | tuple)
        or not all(isinstance(n, str) for n in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"{path}: 'modalities': expected a list of different names, got {names!r}")
    return list(names)


def order_rows(table: Tensor, names: Sequence[str], where: str) -> tuple[Tensor, str]:
    """Reorders the rows of a modality table as in MODALITIES. The row of a new modality is a copy of the row "rgb".

    Args:
        table: (M, ...), one row per modality.
        names: the M modalities of the rows.
        where: file and tensor, for error texts.

    Returns:
        The table, and a text that lists the rows that were copied, removed or reordered; "" if nothing changed.

    Raises:
        ValueError: the numbers of names and rows differ, or there is no row "rgb".
    """
    if len(names) != len(table) or "rgb" not in names:
        raise ValueError(
            f"{where}: {len(table)} rows for the modalities {', '.join(names)}; expected one row each, with rgb"
        )
    if list(names) == list(MODALITIES):
        return table, ""
    rows = dict(zip(names, table, strict=True))
    new, unknown = [n for n in MODALITIES if n not in rows], [n for n in rows if n not in MODALITIES]
    steps = [f"row of {', '.join(new)} copied from rgb"] * bool(new)
    steps += [f"row of {', '.join(unknown)} left out, no such modality"] * bool(unknown)
    return torch.stack([rows.get(name, rows["rgb"]) for name in MODALITIES]), "; ".join(steps) or "rows reordered"
