"""Exports the network of a checkpoint, without the state that only training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lib.models.build import load_trained_content
from lib.models.weights.read import read_checkpoint, write_net


def export_network(cfg, checkpoint: Path, output: Path, dtype: str, overwrite: bool = False) -> int:
    """Writes the network of a checkpoint as .safetensors, with its settings. Returns the number of tensors.

    Args:
        output: a path that ends in .safetensors.
        dtype: type of the floating-point tensors: "float32", "float16" or "bfloat16".
        overwrite: replace an existing `output`.

    Raises:
        FileNotFoundError: the checkpoint is missing.
        ValueError: the file is not a checkpoint, its network differs from `cfg`, `output` has a different suffix, or a
            value does not fit `dtype`.
        FileExistsError: `output` exists and `overwrite` is False.
    """
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output}: expected a name that ends in .safetensors")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already: choose a different --output, or replace it with --overwrite")
    content = read_checkpoint(checkpoint)
    net = load_trained_content(cfg, content, checkpoint).state_dict()
    write_net(output, net, portable(content.get("config", {})), getattr(torch, dtype))
    return len(net)


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings without file paths of the machine on which the network was trained."""
    machine_paths = {
        "DATA": ("ROOT", "ROOTS", "CACHE", "SKIP", "CUSTOM"),
        "MODEL": ("PRETRAIN_FILE",),
        "TRAIN": ("TEACHER", "FEATURES"),
    }
    return {
        part: {key: value for key, value in values.items() if key not in machine_paths.get(part, ())}
        for part, values in config.items()
    }
