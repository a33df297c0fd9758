"""Converts weights of timm's ViTs and of OSTrack's family of trackers to the names and shapes of this project."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor, nn
from torch.nn import functional

from lib.models.backbone import ForeignTensor

ENCODER = "encoder."  # beginning of the names of a student's backbone
KERNEL = "patch_embed.proj.weight"
MATCH = "fusion.match.weight"  # of `MatchFusion`: one column for each template token of each modality
POSITIONS = ("template_position", "search_position")
PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")  # tokens without a position in the image, in timm's order
LAYER_SCALES = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2"}  # LayerScale → the layer before it
# OSTrack's head: conv1 to conv4, each a sequence of convolution and batch norm, and conv5, one convolution.
OSTRACK_HEAD = re.compile(r"box_head\.conv([1-5])_(ctr|size|offset)\.(?:([01])\.)?(\w+)")
OSTRACK_BRANCHES = {"ctr": "score", "size": "size", "offset": "offset"}
LAYERS_PER_STAGE = 3  # of `CenterHead`: convolution, batch norm, ReLU


def convert(net: dict[str, Tensor], model: nn.Module, source: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Renames and reshapes tensors from timm, OSTrack or ViPT; fits our own networks to the streams and crop sizes.

    Args:
        net: name → tensor.
        source: name of the file, for error texts.

    Returns:
        Name → tensor, with the model's names if the model has such a parameter (an encoder's tensor appears once for
        each stream) and with the original names otherwise; and name → conversion as text, for all tensors that are not
        plain copies.

    Raises:
        ValueError: the tensors do not fit together.
    """
    items = dict(_read_key(key, tensor) for key, tensor in net.items())
    streams = {name: child for name, child in model.named_children() if any(child is s for s in model.streams)}
    backbone = next(iter(streams.values()))  # streams have the same shapes
    if not backbone.can_convert(items.keys()):
        copied, origins = copy_to_streams(net, streams)
        tensors, resampled = resample_to_crops(copied, model)
        steps = [", ".join(filter(None, (origins.get(name), resampled.get(name)))) for name in tensors]
        return tensors, {name: step for name, step in zip(tensors, steps, strict=True) if step}
    if duplicates := sorted(net.keys() - {item.key for item in items.values()}):
        raise ValueError(f"{source}: cannot be converted: contains {duplicates[0]} with and without its prefix")
    try:
        backbone.convert(items)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"{source}: cannot be converted: {error}") from error
    own, tensors, converted = model.state_dict(), {}, {}
    for name, item in items.items():
        targets = [target for target in (name, *(f"{stream}.{name}" for stream in streams)) if target in own]
        for target in targets or [item.key]:
            tensors[target] = item.tensor
            if item.steps:
                converted[target] = ", ".join(item.steps)
    return tensors, converted


def copy_to_streams(net: dict[str, Tensor], streams: Collection[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Names the backbone of one of our students as each stream of a model, so that a teacher can start from a student.

    Args:
        net: name → tensor.
        streams: the model's names of its streams. A student's is "encoder": its tensors keep their names.

    Returns:
        As `convert`. Networks without a student's backbone stay as they are.
    """
    tensors, converted = {}, {}
    for name, tensor in net.items():
        own = name.removeprefix(ENCODER)
        targets = [f"{stream}.{own}" for stream in streams] if name.startswith(ENCODER) else [name]
        tensors |= dict.fromkeys(targets, tensor)
        converted |= {target: "from the student's one stream" for target in targets if target != name}
    return tensors, converted


def resample_to_crops(net: dict[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Resamples what depends on the crop sizes in one of our networks: positions, and the columns of `MatchFusion`.

    Returns:
        As `convert`. Tensors that are no square grid of positions stay as they are.
    """
    own, tensors, converted = model.state_dict(), dict(net), {}
    for name in own.keys() & net.keys():
        if not name.endswith(POSITIONS) or net[name].ndim != 3 or net[name].shape[2] != own[name].shape[2]:
            continue
        old, new = (math.isqrt(tensors[name].shape[1]) for tensors in (net, own))
        if old != new and old**2 == net[name].shape[1]:
            tensors[name] = resample_abs_pos_embed(net[name].float(), [new, new], [old, old], num_prefix_tokens=0)
            converted[name] = f"{old}x{old} to {new}x{new} cells"
    if MATCH in own.keys() & net.keys() and net[MATCH].ndim == 2 and len(net[MATCH]) == len(own[MATCH]):
        old, new = (math.isqrt(weights[MATCH].shape[1] // 2) for weights in (net, own))
        if old != new and 2 * old**2 == net[MATCH].shape[1]:
            maps = net[MATCH].float().unflatten(1, (2, old, old))
            resampled = functional.interpolate(maps, size=(new, new), mode="bilinear", align_corners=False)
            tensors[MATCH] = resampled.flatten(1) * (old / new) ** 2  # the sum over the cells stays the same
            converted[MATCH] = f"{old}x{old} to {new}x{new} cells"
    return tensors, converted


def convert_vit(items: dict[str, ForeignTensor], vit: nn.Module) -> None:
    """Converts patch size, positions, prefix tokens and LayerScale of a timm-like ViT to those of `vit`.

    Args:
        items: name → tensor; modified in place.

    Raises:
        ValueError, RuntimeError, IndexError: the tensors do not fit together.
    """
    for fit in (_resample_kernel, _fit_positions, _fold_layer_scale):
        fit(items, vit)


def _read_key(key: str, tensor: Tensor) -> tuple[str, ForeignTensor]:
    """Returns timm's name of an encoder tensor or our name of a head tensor, and the tensor, floats in float32."""
    item = ForeignTensor(key, tensor)
    if tensor.is_floating_point() and tensor.dtype != torch.float32:
        item = item.then(tensor.float(), f"{tensor.dtype} to float32".removeprefix("torch."))
    match = OSTRACK_HEAD.fullmatch(key)
    if match is None:
        return key.removeprefix("backbone."), item
    stage, branch, layer, parameter = match.groups()
    number = LAYERS_PER_STAGE * (int(stage) - 1) + int(layer or 0)
    name = f"head.{OSTRACK_BRANCHES[branch]}.{number}.{parameter}"
    return name, item.then(item.tensor, "from OSTrack's box_head")


def _resample_kernel(items: dict[str, ForeignTensor], vit: nn.Module) -> None:
    """Resamples the patch kernel so that a resized patch has about the same embedding as before (FlexiViT)."""
    item, new = items[KERNEL], vit.stride
    if item.tensor.ndim != 4 or item.tensor.shape[2:] == (new, new):
        return
    height, width = item.tensor.shape[2:]
    items[KERNEL] = item.then(resample_patch_embed(item.tensor, [new, new]), f"{height}x{width} to {new}x{new} pixels")


def _fit_positions(items: dict[str, ForeignTensor], vit: nn.Module) -> None:
    """Resamples positions to both grids; moves class and register tokens to the prefix."""
    if {"pos_embed_z", "pos_embed_x"} <= items.keys():  # OSTrack's; its pos_embed and cls_token are not used
        template, search = items.pop("pos_embed_z"), items.pop("pos_embed_x")
    elif "pos_embed" in items:
        template = search = _without_prefix(items, vit)
    else:
        return
    for name, item, new in (
        ("template_position", template, vit.template_grid),
        ("search_position", search, vit.grid),
    ):
        old = math.isqrt(item.tensor.shape[1])
        if item.tensor.ndim != 3 or old**2 != item.tensor.shape[1]:
            raise ValueError(f"{item.key} {tuple(item.tensor.shape)} is not a square grid of positions")
        resampled = resample_abs_pos_embed(item.tensor, [new, new], [old, old], num_prefix_tokens=0)
        items[name] = item.then(resampled, f"from {item.key}" + f", {old}x{old} to {new}x{new} cells" * (old != new))


def _without_prefix(items: dict[str, ForeignTensor], vit: nn.Module) -> ForeignTensor:
    """Removes the position embedding from `items` and returns the part of the image tokens.

    If the model has the same number of prefix tokens, class and register tokens become its prefix, with their positions
    added if `pos_embed` contains them (DINOv2 with registers has already added the position of the class token).
    """
    positions = items.pop("pos_embed")
    names = [name for name in PREFIX_TOKENS if name in items]
    count = sum(items[name].tensor.shape[1] for name in names)
    length = positions.tensor.shape[1]
    first = length - math.isqrt(length) ** 2
    if first not in (0, count):
        raise ValueError(
            f"pos_embed {tuple(positions.tensor.shape)} is not a square grid, with or without {count} tokens"
        )
    if vit.prefix is not None and vit.prefix.shape[1] == count:
        parts = [items.pop(name) for name in names]
        prefix = torch.cat([part.tensor for part in parts], dim=1)
        if first:
            prefix = prefix + positions.tensor[:, :first]
        items["prefix"] = parts[0].then(prefix, f"from {', '.join(names)}" + " with pos_embed" * bool(first))
    return positions._replace(tensor=positions.tensor[:, first:])


def _fold_layer_scale(items: dict[str, ForeignTensor], vit: nn.Module) -> None:
    """Multiplies LayerScale into the preceding layer, in blocks of `vit` that have no LayerScale."""
    own = vit.state_dict()
    for number in range(vit.depth):
        for scale, layer in LAYER_SCALES.items():
            name = f"blocks.{number}.{scale}"
            if name in own or name not in items:
                continue
            gamma = items.pop(name).tensor
            for parameter in (f"blocks.{number}.{layer}.weight", f"blocks.{number}.{layer}.bias"):
                if item := items.get(parameter):
                    scaled = item.tensor * (gamma[:, None] if item.tensor.ndim == 2 else gamma)
                    items[parameter] = item.then(scaled, "LayerScale folded in")
