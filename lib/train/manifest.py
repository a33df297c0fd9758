"""The manifest of a training run: what it was made with, so that it can be made again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from lib.data.cache import CachedSampler
from lib.data.fingerprint import find_textures, fingerprint
from lib.utils import distributed
from lib.utils.manifest import describe_config, describe_run
from lib.utils.texts import shorten
from lib.utils.trees import to_plain

logger = logging.getLogger(__name__)


def build_manifest(cfg, run: dict[str, str], loaders: dict[str, DataLoader | None]) -> dict[str, Any]:
    """Returns the manifest, as plain values. The resolved configuration stands beside it in a checkpoint.

    Args:
        run: "script", "config", "save_dir" and "finetune" of the run.
        loaders: by the part of DATA that they are for: "TRAIN", "VAL", or "PROXY" and a data set.
    """
    data = {
        f"{part}.{name}": value
        for part, loader in loaders.items()
        if loader is not None
        for name, value in _index_of(cfg, part, loader).items()
    }
    drawn = {
        f"{part}.{name}": find_textures(sequences)
        for part, loader in loaders.items()
        if loader is not None
        for name, sequences in _sets_of(cfg, part, loader).items()
    }
    textures = {name: index for name, index in drawn.items() if index}
    seeds = {"TRAIN.SEED": cfg.TRAIN.SEED}
    return {
        **describe_run(),
        "run": run,
        "config_hash": describe_config(to_plain(cfg))["config_hash"],
        "seeds": seeds,
        "data": data,
        "textures": textures,
        "processes": distributed.world_size(),
    }


def _index_of(cfg, part: str, loader: DataLoader) -> dict[str, str]:
    if isinstance(loader.dataset, CachedSampler):
        return {"cache": "samples drawn in advance"}
    return {name: fingerprint(found) for name, found in _sets_of(cfg, part, loader).items()}


def _sets_of(cfg, part: str, loader: DataLoader) -> dict[str, Sequence]:
    """Returns data set → sequences of a loader; {} if its samples were drawn in advance."""
    if isinstance(loader.dataset, CachedSampler):
        return {}
    names = cfg.DATA[part].DATASETS_NAME if part in cfg.DATA else [part]
    return dict(zip(names, loader.dataset.datasets, strict=True))


def check_textures(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises ValueError if a run would go on with other textures than those of its checkpoint.

    Textures of validation may change, and checkpoints of older versions do not name any.

    Args:
        before: the manifest in the checkpoint.
        now: the manifest of this run.
        path: the checkpoint, for the error text.
    """
    known, found = before.get("textures", {}), now.get("textures", {})
    changed = [name for name in sorted(known.keys() & found.keys()) if known[name] != found[name]]
    if changed := [name for name in changed if name.startswith("TRAIN.")]:
        digests = ", ".join(
            f"{name.removeprefix('TRAIN.')} {known[name][:8]} (now {found[name][:8]})" for name in changed
        )
        raise ValueError(
            f"{path}: written with other textures, or by another version of what draws them: {digests}; expected the "
            "same pictures: set DATA.ROOTS to their folder, take the code of that time, or use --finetune"
        )


def check_data(before: dict[str, Any], now: dict[str, Any], path: Path, moved: Sequence[str]) -> None:
    """Raises ValueError if a run would go on with other training data, at another place, than those of its checkpoint.

    Other data at the same place, e.g. corrected annotations, are logged. Drawn data are left to `check_textures`, and
    samples that were drawn in advance to their cache. Checkpoints of older versions do not name their data.

    Args:
        before, now, path: see `check_textures`.
        moved: the settings that say where the data are and that have changed.
    """
    known, found = before.get("data", {}), now.get("data", {})
    names = known.keys() & found.keys() - now.get("textures", {}).keys()
    changed = [name for name in sorted(names) if name.startswith("TRAIN.") and known[name] != found[name]]
    if not changed:
        return
    text = f"{path}: written with other sequences or annotations of {shorten(changed)}"
    if moved:
        raise ValueError(f"{text}: set {shorten(moved)} to the same data, or use --finetune")
    logger.warning("%s; the run goes on with those of now", text)


def describe_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """Says how far two networks are from each other: bit-identical, or the largest difference of a value."""
    if found.keys() != expected.keys():
        return f"other tensors: {shorten(sorted(found.keys() ^ expected.keys()))}"
    far = {name: _distance(found[name], expected[name]) for name in found}
    largest = max(far, key=far.get)
    if not far[largest]:
        return "bit-identical"
    different = sum(1 for value in far.values() if value)
    return f"{different} of {len(far)} tensors differ, by at most {far[largest]:.3g} ({largest})"


def _distance(a: Tensor, b: Tensor) -> float:
    return (a.cpu().double() - b.cpu().double()).abs().max().item() if a.numel() else 0.0
