"""Caches the outputs of a frozen teacher or encoder on disk, for runs with the same batches, e.g. a comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lib.structures import Pair, TrackOutput
from lib.utils.files import atomic_path


class CachedTeacher(nn.Module):
    """Replaces a frozen teacher in eval mode.

    An output is stored completely and without rounding, under a digest of the teacher's weights and of the input. The
    cache is exact on one machine with one version of torch.

    Args:
        folder: several runs and teachers may use it at the same time. The output of the nano teacher for a batch of 8
            needs 5 MB.
    """

    def __init__(self, teacher: nn.Module, folder: str | Path):
        super().__init__()
        self.net = teacher
        self.folder = Path(folder)
        self.weights_digest = _weights_digest(teacher)

    def forward(
        self, template: Pair, search: Pair, modality: Tensor, template_box: Tensor | None = None
    ) -> TrackOutput:
        """See `PairNetwork.forward`: uint8 crops (B, 3, S, S), modality (B,) int64 and box (B, 4).

        Raises:
            ValueError: a file in the cache is not a stored output.
            OSError: an output cannot be written.
        """
        box = () if template_box is None or self.net.target_embed is None else (template_box,)
        path = self.folder / _file_name(self.weights_digest, *template, *search, modality, *box)
        if not path.is_file():
            output = self.net(template, search, modality, template_box)
            _store(path, {name: t.clone(memory_format=torch.contiguous_format) for name, t in _flat(output)})
            return output
        try:
            return _nested(load_file(path, device=str(modality.device)))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path}: not a stored output of a teacher ({error}); remove it") from error


class CachedEncoder(nn.Module):
    """Replaces a frozen `FeatureEncoder`. Tokens are rounded to half precision, also when they are not yet stored.

    Args:
        folder: several runs may use it at the same time. 32 pairs of crops of 64 and 128 pixels need 2 MB.
    """

    def __init__(self, encoder: nn.Module, folder: str | Path):
        super().__init__()
        self.net = encoder
        self.folder = Path(folder)
        self.weights_digest = _weights_digest(encoder, str(encoder.layer))

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        """See `FeatureEncoder.forward`: uint8 crops (B, 3, S, S) → (B, N, width) float32.

        Raises:
            ValueError: a file in the cache does not hold tokens.
            OSError: tokens cannot be written.
        """
        path = self.folder / _file_name(self.weights_digest, template, search)
        if not path.is_file():
            tokens = self.net(template, search).half()
            _store(path, {"tokens": tokens.contiguous()})
            return tokens.float()
        try:
            return load_file(path, device=str(template.device))["tokens"].float()
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path}: no stored tokens ({error}); remove it") from error


def _weights_digest(net: nn.Module, setting: str = "") -> str:
    return _digest(setting.encode(), *(tensor for _, tensor in sorted(net.state_dict().items())))


def _file_name(weights_digest: str, *inputs: Tensor) -> str:
    """Returns the name of the file of an output, which depends on weights, device, precision and input."""
    kind = inputs[-1].device.type
    precision = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else ""
    return f"{_digest(f'{weights_digest} {kind} {precision}'.encode(), *inputs)}.safetensors"


def _store(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors))


def _digest(start: bytes, *tensors: Tensor) -> str:
    digest = hashlib.blake2b(start, digest_size=20)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _flat(output: TrackOutput, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields every tensor of an output by name: 'score_map', 'features/block01/rgb', 'paths/joint/boxes'."""
    for name, value in output._asdict().items():
        if isinstance(value, Tensor):
            yield prefix + name, value
    yield from ((f"{prefix}features/{name}", tensor) for name, tensor in output.features.items())
    for name, path in output.paths.items():
        yield from _flat(path, f"{prefix}paths/{name}/")


def _nested(tensors: dict[str, Tensor]) -> TrackOutput:
    """Inverts `_flat`."""
    maps = {name: tensor for name, tensor in tensors.items() if "/" not in name}
    below: dict[str, dict[str, Tensor]] = {"features": {}, "paths": {}}
    for name, tensor in tensors.items():
        if "/" in name:
            kind, _, rest = name.partition("/")
            below[kind][rest] = tensor
    paths: dict[str, dict[str, Tensor]] = {}
    for name, tensor in below["paths"].items():
        path, _, rest = name.partition("/")
        paths.setdefault(path, {})[rest] = tensor
    missing = [name for name in TrackOutput._fields[:4] if name not in maps]
    if missing:
        raise KeyError(missing[0])
    return TrackOutput(**maps, features=below["features"], paths={name: _nested(t) for name, t in paths.items()})
