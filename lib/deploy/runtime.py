"""Tracks with an exported network, on numpy, OpenCV and ONNX Runtime or OpenVINO, without torch:

from lib.deploy.runtime import Frame, load_tracker
tracker = load_tracker("nano.fp32.onnx", modality="rgbt", threads=1)
tracker.initialize(Frame(rgb, thermal), box_xywh)  # (H, W, 3) uint8 images in RGB order; x, y, w, h in pixels
for rgb, thermal in frames:
    box_xywh, score = tracker.track(Frame(rgb, thermal))
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from lib.deploy.metadata import INSTALL, KEY, MEMORY, Metadata, check_hash, runtime_of, template_path
from lib.structures import MODALITIES
from lib.structures import Frame as Frame
from lib.tracker.cropped import CropTracker


class Session(Protocol):
    """A loaded network."""

    metadata: Metadata
    template: Session | None  # the graph that computes the memory which this one reads, if it reads one

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Maps inputs by name to the output, (1, 5, h, w) float32, see `CropTracker.infer`; or to a memory (1, M)."""


class OnnxSession:
    """A network in ONNX Runtime, on the CPU.

    Args:
        path: an .onnx file of tracking/export.py.
        threads: of the processor; 0: all cores.

    Raises:
        ValueError: ONNX Runtime is not installed, or the file is damaged or no such export.
    """

    def __init__(self, path: Path, threads: int = 0):
        self.template: Session | None = None
        runtime = load_extra("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors only; they become exceptions
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads leave the core to others
        options.enable_cpu_mem_arena = False  # half the memory, and no slower for one image at a time
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _onnx_errors() as error:
            raise ValueError(f"{path}: ONNX Runtime cannot read this file: {_first_line(error)}") from error
        self.metadata = Metadata.parse(self._session.get_modelmeta().custom_metadata_map.get(KEY, ""), path)

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Session.run`."""
        return self._session.run(None, dict(inputs))[0]


def _onnx_errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions of ONNX Runtime, which have no common class."""
    module = load_extra("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Exception))


@functools.cache
def _openvino_core():
    """Returns OpenVINO's core. A process has one, as its manual advises.

    On processors with AMX a core replaces the stack for signal handlers. If two end in the order in which they began,
    the process is left with a stack that was freed, and the next Ctrl-C is a segmentation fault (OpenVINO 2026.4).
    """
    return _openvino_bindings().Core()


def _openvino_bindings() -> ModuleType:
    """Returns the compiled part of OpenVINO. Raises ValueError if it is not installed.

    The package around it imports operators, converters and readers of other formats, which this program does not need
    and which take 12 MiB. So they are left out when it is loaded. A later `import openvino` works as always.
    """
    name = "openvino._pyopenvino"
    if not {"openvino", name} & sys.modules.keys() and (found := importlib.util.find_spec("openvino")):
        package = sys.modules["openvino"] = ModuleType("openvino")
        package.__path__ = list(found.submodule_search_locations)
        try:
            return load_extra(name)
        finally:
            del sys.modules["openvino"]
    if name not in sys.modules:
        load_extra("openvino")
    return load_extra(name)


class OpenVinoSession:
    """A network in OpenVINO, on the CPU. Arguments and errors are those of `OnnxSession`, for an .xml file."""

    def __init__(self, path: Path, threads: int = 0):
        self.template: Session | None = None
        self._tensor = functools.partial(_openvino_bindings().Tensor, shared_memory=True)
        core = _openvino_core()
        try:
            network = core.read_model(path)
            text = network.get_rt_info([KEY]).value if network.has_rt_info([KEY]) else ""
        except RuntimeError as error:
            raise ValueError(f"{path}: OpenVINO cannot read this file: {_first_line(error)}") from error
        self.metadata = Metadata.parse(text, path)
        kind = _inference_precision(self.metadata.precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": kind, "NUM_STREAMS": "1"}
        settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
        self._request = core.compile_model(network, "CPU", settings).create_infer_request()

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Session.run`."""
        given = {name: self._tensor(np.ascontiguousarray(array)) for name, array in inputs.items()}
        return next(iter(self._request.infer(given, False, False).values()))  # a copy, and no texts to decode


def _inference_precision(precision: str, capabilities: Sequence[str]) -> str:
    """Returns the precision that OpenVINO shall compute in. By default, it takes bfloat16 wherever the processor can.

    In int8-static, this is the precision of what is not quantised, above all of the products inside the attention.
    Where a processor has AVX-512 and no products in bfloat16, OpenVINO emulates them, which takes many times as long.

    Args:
        precision: of the export.
        capabilities: OpenVINO's names of what the processor can.
    """
    return "bf16" if precision in ("bf16", "int8-static") and "BF16" in capabilities else "f32"


SESSIONS = {"onnx": OnnxSession, "openvino": OpenVinoSession}


class ExportedTracker(CropTracker):
    """Tracks with an exported network. The predictions are those of `TransCMDTracker`, up to rounding.

    Args:
        session: the network.
        modality: a name in the metadata of the export, the kind of the auxiliary images.

    Raises:
        ValueError: the network does not know the modality, or needs an input that this version does not provide.
    """

    def __init__(self, session: Session, modality: str):
        about = session.metadata
        if modality not in about.modalities:
            raise ValueError(f"unknown modality '{modality}'; this export knows: {', '.join(about.modalities)}")
        super().__init__(*about.specs, modality if modality in MODALITIES else "rgb", about.size_rate)
        self.front_end = about.front_end
        self.session = session
        self._row = np.array([about.modalities.index(modality)], np.int64)
        self._template: dict[str, np.ndarray] = {}
        blank = Frame(*np.zeros((2, 1, 1, 3), np.uint8))
        known = {*template_inputs(blank, np.zeros(4), self._row), *search_inputs(blank), MEMORY}
        if unknown := set(about.inputs) - known:
            raise ValueError(
                f"this export needs the inputs {sorted(unknown)}; use the version of the project that wrote it"
            )

    def set_template(self, crops: Frame, box_cxcywh: np.ndarray) -> None:
        """See `CropTracker.set_template`: two (S, S, 3) crops and the box (4,)."""
        given, first = template_inputs(crops, box_cxcywh, self._row), self.session.template
        if first is not None:
            given[MEMORY] = first.run({name: given[name] for name in first.metadata.inputs})
        self._template = given

    def infer(self, crops: Frame) -> np.ndarray:
        """See `CropTracker.infer`: two (S, S, 3) crops → (5, h, w)."""
        given = {**self._template, **search_inputs(crops)}
        return self.session.run({name: given[name] for name in self.session.metadata.inputs})[0]


def template_inputs(crops: Frame, box_cxcywh: np.ndarray, modality: np.ndarray) -> dict[str, np.ndarray]:
    """Returns all inputs that stay the same for a sequence. An export uses those that its metadata list.

    Args:
        crops: two (S, S, 3) uint8 template crops.
        box_cxcywh: (4,) the target in them, as fractions of the crop.
        modality: (1,) int64, the place of the modality in the metadata.
    """
    return {
        "template_rgb": crops.rgb[None],
        "template_aux": crops.aux[None],
        "template_box": np.asarray(box_cxcywh, np.float32)[None],
        "modality": modality,
    }


def search_inputs(crops: Frame) -> dict[str, np.ndarray]:
    """Returns the inputs of the network that change with every frame, from two (S, S, 3) uint8 search crops."""
    return {"search_rgb": crops.rgb[None], "search_aux": crops.aux[None]}


def load_session(path: str | Path, threads: int = 0, sha256: str = "") -> Session:
    """Returns the network of an exported file.

    Args:
        path: an .onnx or .xml file.
        threads: of the processor; 0: all cores.
        sha256: of the checkpoint that the export must come from; "": any.

    Raises:
        FileNotFoundError: the file, or the weights beside an .xml, are missing.
        ValueError: the runtime is not installed; the file is damaged, of another version, or of another checkpoint.
    """
    path = Path(path)
    runtime = runtime_of(path)
    check_hash(path)
    session = SESSIONS[runtime](path, threads)
    if MEMORY in session.metadata.inputs:
        if not (first := template_path(path)).is_file():
            raise FileNotFoundError(
                f"{first}: no such file; {path.name} needs it, export again with tracking/export.py"
            )
        session.template = SESSIONS[runtime](first, threads)
    if sha256 and sha256 != session.metadata.sha256:
        raise ValueError(
            f"{path}: exported from another checkpoint: sha256 {session.metadata.sha256[:16]}…, "
            f"expected {sha256[:16]}…; export this checkpoint with tracking/export.py"
        )
    return session


def load_tracker(
    path: str | Path, modality: str = "rgbt", threads: int = 0, sha256: str = "", redetect: bool = False
) -> ExportedTracker:
    """Returns a tracker with the network of an exported file.

    Args:
        path, threads, sha256: see `load_session`.
        modality: kind of the auxiliary images: "rgbt" thermal, "rgbd" depth, "rgbe" events, "rgb" the RGB images again.
        redetect: return calibrated scores, with the temperature in the metadata; after a loss, search in a growing crop
            until the target is found again, see `lib.tracker.confidence.Watch`.

    Raises:
        FileNotFoundError, ValueError: as `load_session`, or the network does not know the modality.
    """
    tracker = ExportedTracker(load_session(path, threads, sha256), modality)
    if redetect:
        tracker.watch_target(tracker.session.metadata.temperature)
    return tracker


def load_extra(name: str) -> ModuleType:
    """Imports an optional package. Raises ValueError, with the command that installs it, if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"the package {name} is not installed ({error}); install it with: {INSTALL}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
