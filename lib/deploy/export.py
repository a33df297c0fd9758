"""Writes the network of a checkpoint for ONNX Runtime and OpenVINO. The normalisation is part of the network.

Inputs are uint8 RGB crops (1, S, S, 3) as OpenCV's functions give them, and the modality's number (1,) int64. The
output is (1, 5, h, w) float32: score, width, height, offset in x and y; see `TrackOutput`. A network with
MODEL.TARGET_EMBED also gets the target's box in the template crop, (1, 4) float32. To add an input, add its name to
INPUTS, its example to `example_inputs`, its use to `Exported.forward`, and its value to `ExportedTracker`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import logging
import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.crop import CropSpec
from lib.deploy.metadata import KEY, MEMORY, SUFFIXES, Metadata, template_path
from lib.deploy.runtime import load_extra
from lib.models.vit import separate_attention
from lib.structures import MODALITIES, Pair
from lib.tracker.forward import join_maps
from lib.utils.files import atomic_path

OPSET = 18
INPUTS = ("template_rgb", "template_aux", "search_rgb", "search_aux", "modality")
BOX_INPUTS = (*INPUTS, "template_box")  # of a network with MODEL.TARGET_EMBED
TEMPLATE_INPUTS = ("template_rgb", "template_aux", "modality")  # with MODEL.BACKBONE.ATTENTION asymmetric, two graphs
TEMPLATE_BOX_INPUTS = (*TEMPLATE_INPUTS, "template_box")
SEARCH_INPUTS = ("search_rgb", "search_aux", "modality", MEMORY)
PRECISIONS = ("fp32", "bf16", "int8")
# The files of a precision and runtime: int8 has two ways of quantisation in ONNX Runtime. See `export_kinds`.
FILES = {
    ("fp32", "onnx"): ("fp32",),
    ("fp32", "openvino"): ("fp32",),
    ("bf16", "onnx"): ("bf16",),
    ("bf16", "openvino"): ("bf16",),
    ("int8", "onnx"): ("int8-dynamic", "int8-static"),
    ("int8", "openvino"): ("int8-static",),
}
MIN_CALIBRATION = 16  # frames; ranges of fewer are those of single images

Inputs = dict[str, np.ndarray]


class Exported(nn.Module):
    """A tracking network with named inputs and one output.

    Args:
        model: maps (template, search, modality, template box) to a `TrackOutput`.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(
        self,
        template_rgb: Tensor,
        template_aux: Tensor,
        search_rgb: Tensor,
        search_aux: Tensor,
        modality: Tensor,
        template_box: Tensor | None = None,
    ) -> Tensor:
        """Maps crops (1, S, S, 3) uint8, modality (1,) int64 and box (1, 4) float32 to (1, 5, h, w) float32."""
        crops = (image.permute(0, 3, 1, 2) for image in (template_rgb, template_aux, search_rgb, search_aux))
        template, search = Pair(next(crops), next(crops)), Pair(next(crops), next(crops))
        return join_maps(self.model(template, search, modality, template_box))


class ExportedTemplate(nn.Module):
    """The part of a network with `can_remember` that sees the template. Its output is one vector."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(
        self, template_rgb: Tensor, template_aux: Tensor, modality: Tensor, template_box: Tensor | None = None
    ) -> Tensor:
        """Maps crops (1, S, S, 3) uint8, modality (1,) int64 and box (1, 4) float32 to the memory (1, M) float32."""
        template = Pair(*(image.permute(0, 3, 1, 2) for image in (template_rgb, template_aux)))
        return torch.cat([part.reshape(1, -1) for part in self.model.remember(template, modality, template_box)], dim=1)


class ExportedSearch(nn.Module):
    """The part of a network with `can_remember` that sees the search crop.

    Args:
        shapes: of the tensors in the memory.
    """

    def __init__(self, model: nn.Module, shapes: Sequence[tuple[int, ...]]):
        super().__init__()
        self.model, self.shapes = model, [tuple(shape) for shape in shapes]

    def forward(self, search_rgb: Tensor, search_aux: Tensor, modality: Tensor, memory: Tensor) -> Tensor:
        """Maps crops (1, S, S, 3) uint8, modality (1,) int64 and memory (1, M) float32 to (1, 5, h, w) float32."""
        search = Pair(*(image.permute(0, 3, 1, 2) for image in (search_rgb, search_aux)))
        parts = memory[0].split([math.prod(shape) for shape in self.shapes])
        known = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return join_maps(self.model.forward_search(known, search, modality))


def example_inputs(about: Metadata, memory: int = 0) -> tuple[Tensor, ...]:
    """Returns tensors with the shapes and types of an export's inputs. `memory`: number of values in the memory."""
    template, search = about.specs
    examples = {MEMORY: torch.zeros(1, memory), "template_box": torch.tensor([[0.5, 0.5, 0.5, 0.5]])}
    examples["modality"] = torch.zeros(1, dtype=torch.int64)
    for name in about.inputs:
        if name not in examples:
            size = (template if name.startswith("template") else search).size
            examples[name] = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    return tuple(examples[name] for name in about.inputs)


def export_kinds(formats: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Returns which of FILES belong to formats and precisions, (kind, runtime)."""
    pairs = itertools.product(precisions, formats)
    return [(kind, runtime) for precision, runtime in pairs for kind in FILES[precision, runtime]]


def describe_export(
    config: str,
    sha256: str,
    template: CropSpec,
    search: CropSpec,
    size_rate: float,
    box: bool = False,
    split: bool = False,
    elimination: str = "",
    temperature: float = 1.0,
) -> Metadata:
    """Returns the metadata of an export in float32.

    Args:
        config: name of the experiment.
        sha256: of the checkpoint.
        box: whether the network needs the target's box in the template crop.
        split: whether the template has a graph of its own; these are the metadata of the other one.
        elimination: see `Metadata`.
        temperature: that was fitted for the checkpoint; 1: none.
    """
    inputs = SEARCH_INPUTS if split else BOX_INPUTS if box else INPUTS
    specs = {"template": (template.size, template.factor), "search": (search.size, search.factor)}
    return Metadata(
        config,
        sha256,
        "fp32",
        inputs,
        tuple(MODALITIES),
        size_rate=size_rate,
        opset=OPSET,
        elimination=elimination,
        temperature=temperature,
        **specs,
    )


def write_onnx(model: nn.Module, about: Metadata, path: Path) -> None:
    """Writes a network as ONNX in float32: one graph, or two if it reads a memory; see `template_path`.

    Args:
        model: on the CPU; is set to evaluation mode.

    Raises:
        ValueError: a package is not installed, or the network has an operation that ONNX lacks.
        OSError: the file cannot be written.
    """
    model.eval()
    if MEMORY not in about.inputs:
        template_path(path).unlink(missing_ok=True)  # of an earlier export
        _write_graph(Exported(model), about, example_inputs(about), "maps", path)
        return
    first = dataclasses.replace(about, inputs=TEMPLATE_INPUTS if model.target_embed is None else TEMPLATE_BOX_INPUTS)
    examples = example_inputs(first)
    with torch.no_grad():
        crops, rest = (image.permute(0, 3, 1, 2) for image in examples[:2]), examples[2:]
        shapes = [part.shape for part in model.remember(Pair(*crops), *rest)]
    _write_graph(ExportedTemplate(model), first, examples, MEMORY, template_path(path))
    values = sum(map(math.prod, shapes))
    _write_graph(ExportedSearch(model, shapes), about, example_inputs(about, values), "maps", path)


def _write_graph(module: nn.Module, about: Metadata, examples: tuple[Tensor, ...], output: str, path: Path) -> None:
    """Writes one graph with the inputs that the metadata name. Raises as `write_onnx`."""
    onnx = load_extra("onnx")
    load_extra("onnxscript")
    try:
        with _quiet(), torch.no_grad(), separate_attention(module):
            program = torch.onnx.export(
                module.eval(),
                examples,
                input_names=list(about.inputs),
                output_names=[output],
                opset_version=about.opset,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(f"{about.config}: this network cannot be written as ONNX: {error}") from error
    network = program.model_proto
    onnx.checker.check_model(network)
    save_onnx(network, about, path)


def read_about(path: Path) -> Metadata:
    """Returns the metadata of an ONNX file. Raises ValueError if it has none."""
    found = {entry.key: entry.value for entry in load_extra("onnx").load(str(path)).metadata_props}
    return Metadata.parse(found.get(KEY, ""), path)


def save_onnx(network, about: Metadata, path: Path) -> None:
    """Writes an onnx.ModelProto with its metadata. Raises OSError if the file cannot be written."""
    onnx = load_extra("onnx")
    del network.metadata_props[:]
    network.metadata_props.add(key=KEY, value=about.to_json())
    with atomic_path(path) as temporary:
        onnx.save(network, str(temporary))


def write_openvino(source: Path, about: Metadata, path: Path) -> None:
    """Converts an ONNX file to OpenVINO's .xml and .bin.

    Args:
        source: float32, or int8 with QDQ nodes.
        path: of the .xml.

    Raises:
        ValueError: OpenVINO is not installed or cannot convert the file.
        OSError: the files cannot be written.
    """
    openvino = load_extra("openvino")
    try:
        network = openvino.convert_model(str(source))
    except RuntimeError as error:
        raise ValueError(f"{source}: OpenVINO cannot convert this network: {error}") from error
    network.set_rt_info(about.to_json(), [KEY])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        openvino.save_model(network, str(Path(folder) / path.name), compress_to_fp16=False)
        for suffix in (".bin", SUFFIXES["openvino"]):  # the weights first: an .xml is complete when it appears
            (Path(folder) / path.name).with_suffix(suffix).replace(path.with_suffix(suffix))


def store_in_bfloat16(source: Path, about: Metadata, path: Path) -> None:
    """Writes an ONNX file whose weights are stored in bfloat16: half the size. The computation stays in float32.

    ONNX Runtime has no kernels for bfloat16 on the CPU; a Cast after each weight, which it computes once, makes the
    file readable everywhere.

    Raises:
        OSError: the file cannot be written.
    """
    onnx = load_extra("onnx")
    network = onnx.load(str(source))
    graph, kind = network.graph, onnx.TensorProto
    large = [tensor for tensor in graph.initializer if tensor.data_type == kind.FLOAT and np.prod(tensor.dims) > 1]
    casts = []
    for tensor in large:
        values = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()).to(torch.bfloat16)
        name, stored = tensor.name, f"{tensor.name}_bf16"
        raw = values.view(torch.int16).numpy().tobytes()
        tensor.CopyFrom(onnx.helper.make_tensor(stored, kind.BFLOAT16, list(tensor.dims), raw, raw=True))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=kind.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    save_onnx(network, about, path)


def quantise_dynamic(source: Path, about: Metadata, path: Path) -> None:
    """Writes an ONNX file whose MatMul and Gemm run in int8; the ranges of activations are measured in each call."""
    quantization, onnx = load_extra("onnxruntime.quantization"), load_extra("onnx")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, target = _prepare(source, Path(folder)), Path(folder) / "quantised.onnx"
        kinds = ["MatMul", "Gemm"]
        quantization.quantize_dynamic(str(prepared), str(target), op_types_to_quantize=kinds, per_channel=True)
        save_onnx(onnx.load(str(target)), about, path)


def quantise_static(source: Path, about: Metadata, path: Path, calibration: Sequence[Inputs]) -> None:
    """Writes an ONNX file in int8 with QDQ nodes, whose ranges of activations were measured on `calibration`.

    Only the inputs of products with weights are quantised. Their results stay in float32, which halves the error. So do
    the products inside the attention, which take longer in int8 (docs/deploy.md).

    Args:
        about: its inputs are those of this graph; calibration may have more.

    Raises:
        ValueError: there are fewer than MIN_CALIBRATION inputs.
        OSError: the file cannot be written.
    """
    if len(calibration) < MIN_CALIBRATION:
        raise ValueError(
            f"int8: {len(calibration)} calibration frames, expected at least {MIN_CALIBRATION}; "
            "name a data set with more frames with --calibration_data"
        )
    quantization, onnx = load_extra("onnxruntime.quantization"), load_extra("onnx")
    kinds = ["MatMul", "Gemm", "Conv"]
    given = ({name: inputs[name] for name in about.inputs} for inputs in calibration)
    reader = _reader(quantization.CalibrationDataReader, given)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, target = _prepare(source, Path(folder)), Path(folder) / "quantised.onnx"
        quantization.quantize_static(
            str(prepared),
            str(target),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=_products_of_activations(onnx.load(str(prepared)).graph),
            extra_options={"OpTypesToExcludeOutputQuantization": kinds},
        )
        save_onnx(onnx.load(str(target)), about, path)


def noise_inputs(about: Metadata, number: int, seed: int = 0) -> list[Inputs]:
    """Returns the same inputs as `real_crops`, with noise for images, to show what such a calibration costs."""
    generator = np.random.default_rng(seed)
    about = dataclasses.replace(about, inputs=BOX_INPUTS)
    found = []
    for _ in range(number):
        inputs = {name: value.numpy() for name, value in zip(about.inputs, example_inputs(about), strict=True)}
        for name in INPUTS[:4]:
            inputs[name] = generator.integers(0, 256, inputs[name].shape, np.uint8)
        found.append(inputs)
    return found


def _prepare(source: Path, folder: Path) -> Path:
    """Infers shapes and fuses batch norms, as the quantisation of ONNX Runtime expects. Returns a new file."""
    target = folder / "prepared.onnx"
    load_extra("onnxruntime.quantization.shape_inference").quant_pre_process(
        str(source), str(target), skip_symbolic_shape=True
    )
    return target


def _products_of_activations(graph) -> list[str]:
    """Returns the names of the MatMul nodes of an onnx.GraphProto that have no weight."""
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not weights & set(node.input)]


def _reader(base: type, calibration: Iterable[Inputs]):
    """Returns an object of ONNX Runtime's class of calibration readers."""

    class Reader(base):
        def __init__(self):
            self._left = iter(calibration)

        def get_next(self):
            return next(self._left, None)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the exporters print and log; their errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
