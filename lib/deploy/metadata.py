"""What an exported network says about itself, and the names of exported files. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lib.data.crop import CropSpec
from lib.data.front_end import FrontEnd
from lib.utils.files import read_text

VERSION = 2  # of inputs, outputs and metadata; increase with every change that an older runtime cannot read
KEY = "transcmd"  # name under which the metadata stand in a file
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}  # runtime → suffix of its files
MEMORY = "memory"  # what one graph computes of the template, and the other one reads
TEMPLATE_MARK = ".template"  # in the name of the first
INSTALL = "pip install -e .[deploy]"


@dataclass(frozen=True)
class Metadata:
    """Stored in every export as JSON. Sizes are in pixels.

    Args:
        config: name of the experiment.
        sha256: of the checkpoint.
        precision: e.g. "fp32", see `lib.deploy.export.PRECISIONS`.
        inputs: names of the network's inputs.
        modalities: names of the modalities, in the order of the input "modality".
        template, search: size and factor of the crops.
        size_rate: see `CropTracker`.
        opset: version of the ONNX operators.
        elimination: blocks that leave out search tokens and the share that stays, as text; "": none.
        temperature: of the calibrated score, see `lib.tracker.confidence`; 1: not calibrated.
        depth, depth_range, events: DATA.INPUT of the training, see `FrontEnd`; depth_range is 0 if it has no effect.
    """

    config: str
    sha256: str
    precision: str
    inputs: tuple[str, ...]
    modalities: tuple[str, ...]
    template: tuple[int, float]
    search: tuple[int, float]
    size_rate: float
    opset: int
    elimination: str = ""
    temperature: float = 1.0
    depth: str = "colormap"
    depth_range: float = 0.0
    events: str = "frames"
    version: int = VERSION

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def front_end(self) -> FrontEnd:
        """How auxiliary images become 8-bit images, for `make_frame`."""
        return FrontEnd(self.depth, self.depth_range or FrontEnd().depth_range, events=self.events)

    @property
    def specs(self) -> tuple[CropSpec, CropSpec]:
        """Geometry of template and search crop."""
        return CropSpec(int(self.template[0]), self.template[1]), CropSpec(int(self.search[0]), self.search[1])

    @classmethod
    def parse(cls, text: str, path: str | Path) -> Metadata:
        """Parses the JSON of an exported file.

        Raises:
            ValueError: it is no export of this project, or one of another version; names the file.
        """
        again = "export the checkpoint again with tracking/export.py"
        try:
            values = json.loads(text)
            version = values["version"]
            if version == VERSION:
                lists = {name: tuple(values[name]) for name in ("inputs", "modalities", "template", "search")}
                return cls(**{**values, **lists})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: not an export of this project; {again}") from error
        raise ValueError(f"{path}: an export of version {version}, this program reads version {VERSION}; {again}")


def export_path(save_dir: str | Path, config: str, precision: str, runtime: str) -> Path:
    """Returns the path of an export, e.g. output/exports/nano/nano.fp32.onnx."""
    return Path(save_dir) / "exports" / config / f"{config}.{precision}{SUFFIXES[runtime]}"


def template_path(path: Path) -> Path:
    """Returns the path of the graph that computes the memory of a template, beside one that reads it."""
    return path.with_name(f"{path.stem}{TEMPLATE_MARK}{path.suffix}")


def runtime_of(path: str | Path) -> str:
    """Returns the runtime that reads a file, by its suffix. Raises ValueError for another suffix."""
    for runtime, suffix in SUFFIXES.items():
        if Path(path).suffix == suffix:
            return runtime
    raise ValueError(f"{path}: expected an export that ends in {' or '.join(SUFFIXES.values())}")


def parts_of(path: Path) -> list[Path]:
    """Returns the files of an export: OpenVINO has its weights apart; the template may have a graph."""
    graphs = [path, *filter(Path.is_file, [template_path(path)])]
    if path.suffix != SUFFIXES["openvino"]:
        return graphs
    return [part for graph in graphs for part in (graph, graph.with_suffix(".bin"))]


def export_hash(path: Path) -> str:
    """Returns the SHA-256 of the content of all files of an export. Raises FileNotFoundError if one is missing."""
    digest = hashlib.sha256()
    for part in parts_of(path):
        if not part.is_file():
            raise FileNotFoundError(
                f"{part}: no such export; write it with tracking/export.py, or name one with --export"
            )
        digest.update(part.read_bytes())
    return digest.hexdigest()


def proof_path(path: Path) -> Path:
    """Returns the path of the JSON beside an export that states its hash and its parity, nano.fp32.onnx.json."""
    return path.with_name(path.name + ".json")


def check_hash(path: Path) -> None:
    """Raises ValueError if the file beside an export states another hash for it; FileNotFoundError as `export_hash`."""
    found, proof = export_hash(path), proof_path(path)
    if not proof.is_file():
        return
    try:
        wanted = json.loads(read_text(proof))["sha256_export"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{proof}: not the proof of an export; remove it, or export again") from error
    if wanted != found:
        raise ValueError(
            f"{path}: damaged or another file: sha256 {found[:16]}…, {proof.name} states {str(wanted)[:16]}…; "
            "export the checkpoint again with tracking/export.py"
        )
