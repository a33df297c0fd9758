"""The network of a training run alone: what a tracker or a distillation needs of its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lib.models.build import load_trained_model
from lib.models.weights.read import network_of, read_checkpoint, write_net


def export_network(cfg, checkpoint: Path, output: Path, dtype: str, overwrite: bool = False) -> int:
    """Writes the network of a checkpoint as .safetensors, with the settings that describe it; returns its tensors.

    Args:
        dtype: "float32", "float16" or "bfloat16", of the floating-point tensors.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, or one of another network than `cfg` describes.
        ValueError, FileExistsError: `output` has another suffix, or is there and may not be replaced.
    """
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output}: expected a name that ends in .safetensors")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} is there already: name another --output, or replace it with --overwrite")
    load_trained_model(cfg, checkpoint)
    content = read_checkpoint(checkpoint)
    net = network_of(content, checkpoint).tensors
    write_net(output, net, portable(content.get("config", {})), getattr(torch, dtype))
    return len(net)


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Settings without the places of files on the machine that trained."""
    places = {"DATA": ("ROOT", "ROOTS", "CACHE"), "MODEL": ("PRETRAIN_FILE",), "TRAIN": ("TEACHER",)}
    return {
        part: {key: value for key, value in values.items() if key not in places.get(part, ())}
        for part, values in config.items()
    }
