"""Exported networks: the same predictions as PyTorch, what they say about themselves, and what is refused."""

import dataclasses
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch

from lib.config.loader import ConfigError, load_config
from lib.data.datasets import build_store, load_dataset
from lib.data.front_end import FrontEnd
from lib.deploy import parity as parity_module
from lib.deploy import runtime
from lib.deploy.build import (
    build_about,
    build_exported,
    build_network,
    build_torch_tracker,
    write_exports,
    write_fp32,
    write_proof,
)
from lib.deploy.export import (
    BOX_INPUTS,
    MIN_CALIBRATION,
    OPSET,
    Exported,
    example_inputs,
    noise_inputs,
    quantise_static,
    write_onnx,
)
from lib.deploy.metadata import KEY, Metadata, export_hash, parts_of, proof_path, template_path
from lib.deploy.parity import Parity, check_parity, measure_parity, parity_table, real_crops, success_rate
from lib.deploy.runtime import (
    ExportedTracker,
    _inference_precision,
    _openvino_core,
    load_session,
    load_tracker,
)
from lib.structures import MODALITIES, Frame
from lib.tracker.build import Request, build_tracker, file_hash
from lib.tracker.confidence import calibrate, write_calibration
from lib.tracker.cropped import state_of
from lib.utils.paths import PRETRAINED
from tests.deploy.streams import target_picture
from tests.processes import ROOT, run, run_tracking

onnx = pytest.importorskip("onnx", reason="pip install -e .[deploy]")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

NANO = PRETRAINED / "nano.safetensors"
SEARCH = ("search_rgb", "search_aux")


@pytest.fixture(scope="module")
def network():
    return build_network("nano", (), NANO)


@pytest.fixture(scope="module")
def videos(demo_data):
    cfg = load_config("transcmd", "nano", [f"DATA.ROOT={demo_data}", "DATA.SYNTHETIC=true"])
    return [load_dataset(name, build_store(cfg, name))[0] for name in ("LasHeR", "DepthTrack")]


@pytest.fixture(scope="module")
def exports(network, videos, make_once):
    """The folder of all exports of `nano`."""

    def write(folder):
        crops = real_crops(videos, network.about, 16)
        for path in write_exports(network, ("onnx", "openvino"), ("fp32", "bf16", "int8"), folder, crops):
            write_proof(path, network.about, [])

    return make_once("exports", write)


@pytest.fixture(scope="module")
def calibrated(make_once):
    """Weights with a temperature beside them, and the folder of their exports in float32."""

    def write(folder):
        weights = folder / "nano.safetensors"
        shutil.copy(NANO, weights)
        write_calibration(weights, file_hash(weights), 0.8, "test")
        write_exports(build_network("nano", (), weights), ("onnx", "openvino"), ("fp32",), folder, [])

    folder = make_once("calibrated_exports", write)
    return folder / "nano.safetensors", folder


def frames(number, seed=0):
    generator = np.random.default_rng(seed)
    return [Frame(*generator.integers(0, 256, (2, 90, 120, 3), np.uint8)) for _ in range(number)]


def test_every_format_and_precision_has_its_files(exports):
    names = sorted(path.name for path in exports.iterdir() if path.suffix != ".json")
    kinds = ["bf16.bin", "bf16.onnx", "bf16.xml", "fp32.bin", "fp32.onnx", "fp32.xml"]
    kinds += ["int8-dynamic.onnx", "int8-static.bin", "int8-static.onnx", "int8-static.xml"]
    assert names == [f"nano.{kind}" for kind in kinds]
    size = {path.name: path.stat().st_size for path in exports.iterdir()}
    assert (
        size["nano.bf16.onnx"] < 0.6 * size["nano.fp32.onnx"] and size["nano.int8-static.onnx"] < size["nano.bf16.onnx"]
    )


SIGNALLED = """
import os, signal, sys
from lib.deploy.runtime import load_session

sessions = [load_session(sys.argv[1]) for _ in range(2)]
while sessions:
    del sessions[0]
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.parametrize("name", ["nano.fp32.onnx", "nano.fp32.xml"])
def test_a_signal_after_two_networks_are_gone_is_handled(exports, name):
    done = run([sys.executable, "-c", SIGNALLED, exports / name], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and done.stdout == "handled\n", done.stderr


@pytest.mark.parametrize("name", ["nano.fp32.onnx", "nano.fp32.xml"])
def test_an_export_in_float32_tracks_as_pytorch(exports, network, name):
    session = load_session(exports / name, threads=1)
    for modality in MODALITIES:
        own, other = ExportedTracker(session, modality), build_torch_tracker(network, modality, "cpu")
        first, *rest = frames(6)
        for tracker in (own, other):
            tracker.initialize(first, np.array([40, 30, 20, 25.0]))
        for frame in rest:
            (box, score), (wanted, wanted_score) = own.track(frame), other.track(frame)
            assert np.allclose(box, wanted, atol=0.01) and abs(score - wanted_score) < 1e-4
    assert not np.allclose(*(ExportedMaps(session, m).maps() for m in ("rgbt", "rgbd")), atol=1e-6)


@pytest.mark.parametrize("name", ["nano.fp32.onnx", "nano.fp32.xml"])
def test_an_export_loses_and_finds_the_target_as_pytorch(calibrated, name):
    weights, folder = calibrated
    request = Request("transcmd", "nano", ("TRACKER.REDETECT=true",), weights)
    other = build_tracker(request).make("rgbt", "cpu")
    own, plain = (load_tracker(folder / name, "rgbt", 1, redetect=redetect) for redetect in (True, False))
    assert own.watch.temperature == other.watch.temperature == 0.8 and plain.watch is None
    states = []
    for number in range(40):
        image = target_picture(number, hidden=12 <= number < 26)
        frame = Frame(image, image)
        if number == 0:
            for tracker in (own, other, plain):
                tracker.initialize(frame, np.array([100.0, 100, 40, 40]))
            continue
        (box, score), (wanted, wanted_score) = own.track(frame), other.track(frame)
        raw = plain.track(frame).score
        assert np.allclose(box, wanted, atol=0.01) and abs(score - wanted_score) < 1e-4
        states.append((state_of(score, own.watch), state_of(wanted_score, other.watch)))
        assert number > 11 or score == pytest.approx(calibrate(raw, 0.8))
    mine, theirs = zip(*states, strict=True)
    assert mine == theirs and mine[10] == "tracking" and mine[24] == "lost" and "found again" in mine[25:]


def test_results_of_an_export_search_only_if_asked(calibrated):
    path = calibrated[1] / "nano.fp32.onnx"
    built = [build_exported(path, "onnx", "nano", settings, "", 1) for settings in ((), ("TRACKER.REDETECT=true",))]
    assert [one.make("rgbt", "").watch is None for one in built] == [True, False]
    assert len({one.fingerprint for one in built}) == 2
    with pytest.raises(ConfigError, match="TRACKER.REDETEC.*did you mean TRACKER.REDETECT"):
        build_exported(path, "onnx", "nano", ["TRACKER.REDETEC=true"], "", 1)


class ExportedMaps(ExportedTracker):
    """The maps of an export for given crops."""

    def maps(self):
        generator = np.random.default_rng(1)
        sizes = (self.template_spec.size, self.search_spec.size)
        template, search = (Frame(*generator.integers(0, 256, (2, size, size, 3), np.uint8)) for size in sizes)
        self.set_template(template, np.array([0.5, 0.5, 0.3, 0.3]))
        return self.infer(search)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("nano.bf16.onnx", 1e-6, 0.05),  # weights are rounded to 8 bits of mantissa
        ("nano.bf16.xml", 0, 0.05),  # a processor without bfloat16 computes in float32
        ("nano.int8-dynamic.onnx", 1e-4, 0.3),
        ("nano.int8-static.onnx", 1e-4, 0.3),
        ("nano.int8-static.xml", 1e-4, 0.3),
    ],
)
def test_lower_precision_changes_the_maps_a_little(exports, videos, network, name, least, most):
    rows = measure_parity(
        "test",
        videos,
        lambda modality: build_torch_tracker(network, modality, "cpu"),
        {name: load_session(exports / name)},
    )
    (row,) = rows
    assert least <= row.score_difference <= most and row.frames == 22


def test_openvino_emulates_no_bfloat16(exports):
    """The emulation on processors with AVX-512 and no products in bfloat16 takes many times as long as float32."""
    assert _inference_precision("bf16", ["FP32", "INT8", "BF16"]) == "bf16"
    assert _inference_precision("bf16", ["FP32", "INT8"]) == "f32"
    assert _inference_precision("fp32", ["FP32", "BF16"]) == "f32"
    assert _inference_precision("int8-static", ["FP32", "INT8", "BF16"]) == "bf16"  # what is not quantised
    assert _inference_precision("int8-static", ["FP32", "INT8"]) == "f32"
    able = "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    best = "bf16" if able else "f32"
    for precision, expected in (("bf16", best), ("int8-static", best), ("fp32", "f32")):
        network = load_session(exports / f"nano.{precision}.xml")._request.get_compiled_model()
        assert network.get_property("INFERENCE_PRECISION_HINT").get_type_name() == expected


def test_the_metadata_say_what_the_runtime_needs(exports):
    about = load_session(exports / "nano.int8-static.xml").metadata
    assert about.precision == "int8-static" and about.sha256 == file_hash(NANO) and about.opset == OPSET
    assert about.template == (96, 2.0) and about.search == (192, 4.0) and about.size_rate == 0.25
    assert about.modalities == tuple(MODALITIES) and about.inputs[-1] == "template_box"
    model = onnx.load(str(exports / "nano.fp32.onnx"))
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [OPSET]
    images = [i for i in model.graph.input if i.name.endswith(("_rgb", "_aux"))]
    assert all(i.type.tensor_type.elem_type == onnx.TensorProto.UINT8 for i in images)
    assert [i.name for i in model.graph.input] == list(about.inputs) and len(model.graph.output) == 1


def vary_scores(model: torch.nn.Module) -> None:
    """Gives untrained weights score maps that are not constant: a ReLU of the few channels is else often all zero."""
    for module in model.head.score:
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.bias)


def test_an_export_of_a_network_that_knows_the_box_gets_it(videos, tmp_path):
    torch.manual_seed(0)
    marked = build_network("debug", ["MODEL.TARGET_EMBED=true"], None)
    torch.nn.init.normal_(marked.model.target_embed)
    vary_scores(marked.model)
    write_fp32(marked, tmp_path / "debug.fp32.onnx")
    session = load_session(tmp_path / "debug.fp32.onnx")
    assert session.metadata.inputs[-1] == "template_box"
    (row,) = measure_parity(
        "test", videos[:1], lambda modality: build_torch_tracker(marked, modality, "cpu"), {"onnx": session}
    )
    assert row.score_difference < 1e-4
    inputs = dict(zip(session.metadata.inputs, (x.numpy() for x in example_inputs(marked.about)), strict=True))
    moved = inputs | {"template_box": np.array([[0.3, 0.5, 0.2, 0.9]], np.float32)}
    assert not np.allclose(session.run(inputs)[0], session.run(moved)[0])


@pytest.mark.parametrize("marked", ["true", "false"])
def test_a_network_that_remembers_the_template_has_two_graphs(videos, tmp_path, marked):
    torch.manual_seed(0)
    settings = ["MODEL.BACKBONE.ATTENTION=asymmetric", f"MODEL.TARGET_EMBED={marked}"]
    network = build_network("debug", settings, None)
    vary_scores(network.model)
    if marked == "true":
        torch.nn.init.normal_(network.model.target_embed)
    paths = write_exports(network, ["onnx", "openvino"], ["fp32"], tmp_path, [])
    assert [path.suffix for path in paths] == [".onnx", ".xml"]
    for path in paths:
        check_two_graphs(network, path, videos[0], marked == "true")


def check_two_graphs(network, path, video, marked: bool) -> None:
    """The template's graph runs once, both give what PyTorch gives, and one without the other is refused."""
    assert template_path(path) in parts_of(path)
    tracker, exported = build_torch_tracker(network, "rgbt", "cpu"), load_tracker(path, "rgbt", 1)
    calls, session = [], exported.session.template
    run_template, session.run = session.run, lambda given: calls.append(sorted(given)) or run_template(given)
    for index in range(4):
        frame = video.frame(index)
        if index == 0:
            tracker.initialize(frame, video.boxes_xywh[0])
            exported.initialize(frame, video.boxes_xywh[0])
            continue
        box, score = exported.track(frame)
        own, own_score = tracker.track(frame)
        np.testing.assert_allclose(box, own, atol=0.01)
        np.testing.assert_allclose(exported.last_score_map, tracker.last_score_map, atol=1e-5)
        assert np.ptp(exported.last_score_map) > 1e-3
    box_input = ["template_box"] if marked else []
    assert calls == [sorted(["template_rgb", "template_aux", "modality", *box_input])]  # once
    template_path(path).unlink()
    with pytest.raises(FileNotFoundError, match=r"debug\.fp32\.template.*: no such file; debug.fp32.* needs it"):
        load_session(path)


@pytest.mark.parametrize("attention", ["joint", "asymmetric"])
def test_an_export_leaves_out_the_same_tokens(videos, tmp_path, attention):
    """The elimination of tokens is part of the graph, with fixed shapes."""
    torch.manual_seed(0)
    removal = ["MODEL.BACKBONE.ELIMINATION.LAYERS=[1, 2]", "MODEL.BACKBONE.ELIMINATION.KEEP=0.6"]
    network = build_network("debug", [*removal, f"MODEL.BACKBONE.ATTENTION={attention}"], None)
    vary_scores(network.model)
    make = lambda modality: build_torch_tracker(network, modality, "cpu")  # noqa: E731
    paths = write_exports(network, ["onnx", "openvino"], ["fp32"], tmp_path, [])
    for path, name in zip(paths, ("onnx", "openvino"), strict=True):
        session = load_session(path, 1)
        (row,) = measure_parity("test", videos[:1], make, {path.name: session})
        assert row.score_difference < 1e-5 and row.box_difference < 0.01
        assert session.metadata.elimination == "[1, 2] at 0.6"
        with pytest.raises(ValueError, match=r"exported with elimination \[1, 2\] at 0.6, the experiment has none"):
            build_exported(path, name, "debug", [f"MODEL.BACKBONE.ATTENTION={attention}"], "", 1)


def test_two_graphs_are_written_in_int8(videos, tmp_path):
    torch.manual_seed(0)
    network = build_network("debug", ["MODEL.BACKBONE.ATTENTION=asymmetric"], None)
    vary_scores(network.model)
    crops = real_crops(videos, network.about, MIN_CALIBRATION)
    paths = write_exports(network, ["onnx", "openvino"], ["fp32", "int8"], tmp_path, crops)
    names = ["fp32.onnx", "fp32.xml", "int8-dynamic.onnx", "int8-static.onnx", "int8-static.xml"]
    assert [path.name for path in paths] == [f"debug.{name}" for name in names]
    for path, kind in ((paths[2], "MatMulInteger"), (paths[3], "QuantizeLinear")):
        for part in parts_of(path):  # both graphs
            assert kind in {node.op_type for node in onnx.load(str(part)).graph.node}
    frames = [videos[0].frame(index) for index in range(3)]
    maps = []
    for path in paths:
        tracker = load_tracker(path, "rgbt", 1)
        tracker.initialize(frames[0], videos[0].boxes_xywh[0])
        tracker.track(frames[1])
        maps.append(tracker.last_score_map)
    assert np.allclose(maps[1], maps[0], atol=1e-4)
    assert all(0 < np.abs(other - maps[0]).max() < 0.3 for other in maps[2:])


@pytest.mark.parametrize("attention", ["joint", "asymmetric"])
def test_exported_blocks_split_no_product_into_queries_keys_and_values(tmp_path, attention):
    network = build_network("debug", [f"MODEL.BACKBONE.ATTENTION={attention}"], None)
    before = list(network.model.named_modules())
    write_onnx(network.model, network.about, tmp_path / "debug.fp32.onnx")
    assert list(network.model.named_modules()) == before
    graph = onnx.load(str(tmp_path / "debug.fp32.onnx")).graph
    sizes = [tuple(tensor.dims) for tensor in graph.initializer]
    width, depth = network.model.encoder.width, network.model.encoder.depth
    assert (width, 3 * width) not in sizes and sizes.count((width, width)) >= 4 * depth


def test_products_of_the_attention_stay_in_float32(exports, network):
    graph = onnx.load(str(exports / "nano.int8-static.onnx")).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    inputs = {kind: [node.input for node in graph.node if node.op_type == kind] for kind in ("MatMul", "Gemm")}
    assert len(inputs["MatMul"]) >= 2 * network.model.encoder.depth  # two of each block, and those of the fusion
    assert "DequantizeLinear" not in {makers[name] for pair in inputs["MatMul"] for name in pair}
    quantised = {makers.get(node.input[0]) for node in graph.node if node.op_type == "QuantizeLinear"}
    assert not quantised & {"MatMul", "Gemm", "Conv"}  # a product keeps its result
    assert inputs["Gemm"] and {makers[name] for names in inputs["Gemm"] for name in names} == {"DequantizeLinear"}


def test_the_hash_covers_both_graphs_and_one_graph_leaves_no_second(tmp_path):
    network = build_network("debug", ["MODEL.BACKBONE.ATTENTION=asymmetric"], None)
    (path,) = write_exports(network, ["onnx"], ["bf16"], tmp_path, [])
    before = export_hash(path)
    template_path(path).write_bytes(template_path(path).read_bytes() + b"x")
    assert export_hash(path) != before  # the hash covers both graphs
    (path,) = write_exports(build_network("debug", (), None), ["onnx"], ["bf16"], tmp_path, [])
    assert parts_of(path) == [path] and not template_path(path).exists()


def test_the_normalisation_is_part_of_the_network(network):
    about = network.about
    inputs = [torch.randint(0, 256, x.shape, dtype=torch.uint8) if x.dim() == 4 else x for x in example_inputs(about)]
    with torch.no_grad():
        maps = Exported(network.model)(*inputs)
        inputs[0] = inputs[0] // 2  # darker; a network that normalised each crop apart would not see it
        assert maps.shape == (1, 5, 12, 12) and not torch.allclose(maps, Exported(network.model)(*inputs))


def copied(exports, tmp_path, name="nano.fp32.onnx"):
    for path in exports.glob(f"{name.rpartition('.')[0]}.*"):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / name


def with_metadata(exports, tmp_path, change):
    """A copy of an export whose metadata have changed, without the .json beside it."""
    model = onnx.load(str(exports / "nano.fp32.onnx"))
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    entry.value = change(json.loads(entry.value))
    path = tmp_path / "changed.onnx"
    onnx.save(model, str(path))
    return path


def test_another_version_or_checkpoint_is_refused(exports, tmp_path):
    newer = with_metadata(exports, tmp_path, lambda values: json.dumps({**values, "version": 7}))
    with pytest.raises(ValueError, match="changed.onnx: an export of version 7, this program reads version 2; export"):
        load_tracker(newer)
    for text in ("{}", "[1]", "no json", json.dumps({"version": 2, "config": "nano"})):
        with pytest.raises(ValueError, match="changed.onnx: not an export of this project"):
            load_tracker(with_metadata(exports, tmp_path, lambda _, text=text: text))
    with pytest.raises(
        ValueError, match="nano.fp32.onnx: exported from another checkpoint: sha256 [0-9a-f]{16}.*expected 1234"
    ):
        load_tracker(exports / "nano.fp32.onnx", sha256="1234" * 16)
    extra = with_metadata(exports, tmp_path, lambda v: json.dumps({**v, "inputs": [*v["inputs"], "motion"]}))
    with pytest.raises(ValueError, match=r"needs the inputs \['motion'\]; use the version of the project"):
        load_tracker(extra)
    with pytest.raises(ValueError, match="unknown modality 'rgbx'; this export knows: rgb, rgbt, rgbd, rgbe"):
        load_tracker(exports / "nano.fp32.onnx", modality="rgbx")


def test_damaged_and_missing_files_are_named(exports, tmp_path):
    path = copied(exports, tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="nano.fp32.onnx: damaged or another file: sha256"):
        load_tracker(path)
    proof_path(path).unlink()
    path.write_bytes(data[:1000])
    with pytest.raises(ValueError, match="nano.fp32.onnx: ONNX Runtime cannot read this file"):
        load_tracker(path)
    xml = copied(exports, tmp_path, "nano.fp32.xml")
    xml.with_suffix(".bin").unlink()
    with pytest.raises(FileNotFoundError, match="nano.fp32.bin: no such export; write it with tracking/export.py"):
        load_tracker(xml)
    xml.with_suffix(".bin").write_bytes(b"")
    proof_path(xml).unlink()
    xml.write_text("<net")
    with pytest.raises(ValueError, match="nano.fp32.xml: OpenVINO cannot read this file"):
        load_tracker(xml)
    with pytest.raises(ValueError, match="nano.pth: expected an export that ends in .onnx or .xml"):
        load_tracker(tmp_path / "nano.pth")


def test_a_missing_package_is_named_with_the_command_that_installs_it(exports, monkeypatch):
    for name, path in (("onnxruntime", "nano.fp32.onnx"), ("openvino", "nano.fp32.xml")):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
        monkeypatch.delitem(sys.modules, "openvino._pyopenvino", raising=False)
        with pytest.raises(ValueError, match=rf"the package {name} is not installed .*: pip install -e .\[deploy\]"):
            load_tracker(exports / path)


def test_wrong_frames_are_refused_as_by_the_other_tracker(exports):
    tracker = load_tracker(exports / "nano.fp32.onnx", threads=1)
    good = frames(1)[0]
    with pytest.raises(ValueError, match="before initialize"):
        tracker.track(good)
    with pytest.raises(ValueError, match="outside the 120x90 image"):
        tracker.initialize(good, np.array([500, 0, 5, 5]))
    tracker.initialize(good, np.array([40, 30, 20, 25]))
    bad = np.full((90, 120, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"RGB image: expected \(H, W, 3\) uint8, got \(90, 120, 3\) float32"):
        tracker.track(Frame(bad, good.aux))


def test_calibration_uses_what_the_tracker_sees(network, videos, exports):
    crops = real_crops(videos, network.about, 10)
    assert len(crops) == 10 and set(crops[0]) == set(BOX_INPUTS)
    assert [int(inputs["modality"][0]) for inputs in crops] == [1] * 5 + [2] * 5
    assert all(inputs["search_rgb"].shape == (1, 192, 192, 3) for inputs in crops)
    assert len({inputs["search_rgb"].tobytes() for inputs in crops}) == 10
    tracker = load_tracker(exports / "nano.fp32.onnx", videos[0].modality)
    tracker.initialize(videos[0].frame(0), videos[0].boxes_xywh[0])
    assert np.array_equal(crops[0]["template_box"], tracker._template["template_box"])
    assert not np.array_equal(*(noise_inputs(network.about, 2)[n]["search_rgb"] for n in (0, 1)))


def test_too_few_calibration_frames_are_refused(exports, network, tmp_path):
    with pytest.raises(ValueError, match=f"int8: 15 calibration frames, expected at least {MIN_CALIBRATION}"):
        quantise_static(exports / "nano.fp32.onnx", network.about, tmp_path / "x.onnx", noise_inputs(network.about, 15))
    assert not (tmp_path / "x.onnx").exists()


def test_noise_is_the_worse_calibration(exports, network, videos, tmp_path):
    quantise_static(exports / "nano.fp32.onnx", network.about, tmp_path / "noise.onnx", noise_inputs(network.about, 16))
    sessions = {"real": load_session(exports / "nano.int8-static.onnx"), "noise": load_session(tmp_path / "noise.onnx")}
    make = lambda modality: build_torch_tracker(network, modality, "cpu")  # noqa: E731
    real, noise = measure_parity("test", videos, make, sessions)
    assert real.score_difference < noise.score_difference


def test_parity_counts_what_differs(network, videos, exports, monkeypatch):
    session = load_session(exports / "nano.fp32.onnx")
    make = lambda modality: build_torch_tracker(network, modality, "cpu")  # noqa: E731
    steps = []
    (row,) = measure_parity("test", videos, make, {"nano.fp32.onnx": session}, lambda: steps.append(1))
    assert row.overlap > 0.9999 and row.sr == row.sr_torch and len(steps) == sum(map(len, videos))
    check_parity([row])

    class Wrong:
        metadata, template = session.metadata, session.template

        def run(self, inputs):
            return np.roll(session.run(inputs), 3, axis=-1)

    (wrong,) = measure_parity("test", videos, make, {"nano.fp32.onnx": Wrong()})
    assert wrong.overlap < 0.9 and wrong.box_difference > 5 and wrong.sr_torch == row.sr_torch
    with pytest.raises(ValueError, match=r"nano.fp32.onnx: the score map differs from PyTorch's by .* on test"):
        check_parity([wrong])
    assert "| test | nano.fp32.onnx | 22 |" in parity_table([row])


def test_the_success_rate_is_the_area_under_the_curve():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 10, 10.0]])
    run = parity_module._Run(boxes, 0.0)
    truth = (np.array([[0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 10.0]]), np.array([True, True, True]))
    assert success_rate([run], [truth]) == pytest.approx(100 * np.mean([20 / 21, 10 / 21, 0]))
    hidden = (truth[0], np.array([True, False, False]))
    assert success_rate([run], [hidden]) == pytest.approx(100 * 20 / 21)


def test_the_proof_states_hash_and_parity(network, exports, tmp_path):
    path = copied(exports, tmp_path)
    row = Parity("demo/LasHeR", path.name, 2, 22, 1e-7, 0.0, 1.0, 70.0, 70.0)
    write_proof(path, network.about, [row, row._replace(export="other.onnx")])
    proof = json.loads(proof_path(path).read_text())
    assert proof["sha256_export"] == export_hash(path) and proof["sha256"] == file_hash(NANO)
    assert [entry["sr"] for entry in proof["parity"]] == [70.0]


def test_another_checkpoint_is_exported_over_the_one_before(tmp_path):
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build_network("debug", (), None)
        (path,) = write_exports(network, ["onnx"], ["fp32"], tmp_path, [])
        load_session(path)
        write_proof(path, network.about, [])
    assert json.loads(proof_path(path).read_text())["sha256_export"] == export_hash(path)


def test_metadata_survive_the_way_through_json():
    about = build_about("nano", (), "ab" * 32)
    assert Metadata.parse(about.to_json(), "x") == about
    assert dataclasses.asdict(about)["config"] == "nano" and runtime.SESSIONS.keys() == {"onnx", "openvino"}


def test_an_export_says_which_front_end_it_was_trained_with():
    usual = build_about("nano", ["DATA.INPUT.DEPTH_RANGE=700"], "ab" * 32)
    assert usual == build_about("nano", (), "ab" * 32) and usual.front_end == FrontEnd()
    metric = build_about("nano", ["DATA.INPUT.DEPTH=metric", "DATA.INPUT.DEPTH_RANGE=700"], "ab" * 32)
    found = Metadata.parse(metric.to_json(), "x")
    assert found == metric and found.front_end == FrontEnd(depth="metric", depth_range=700)


def test_an_export_of_another_front_end_is_refused(exports):
    path = exports / "nano.fp32.onnx"
    with pytest.raises(ValueError, match="exported with depth colormap, the experiment has metric; export it again"):
        build_exported(path, "onnx", "nano", ["DATA.INPUT.DEPTH=metric"], "", 1)
    tracker = build_exported(path, "onnx", "nano", [], "", 1).make("rgbd", "cpu")
    assert tracker.front_end == FrontEnd()


def test_export_test_and_demo_work_one_after_the_other(demo_data, tmp_path, run_command):
    line = ["--config", "nano", "--data", demo_data, "--format", "onnx", "openvino"]
    done = run_command("export.py", *line)
    assert done.returncode == 0, done.stderr
    assert "| nano.fp32.onnx | 22 |" in done.stdout and "output/exports/nano/nano.fp32.xml: 5.2 MB" in done.stdout
    proof = json.loads((tmp_path / "output/exports/nano/nano.fp32.onnx.json").read_text())
    assert [row["benchmark"] for row in proof["parity"]] == ["demo/LasHeR", "demo/DepthTrack", "demo/VisEvent"]
    test = ["test.py", "transcmd", "nano", "--dataset_name", "LasHeR", "--sequence", 0]
    for runtime_name, threads in (("torch", 0), ("onnx", 2), ("openvino", 0)):
        done = run_command(*test, "--runtime", runtime_name, "--threads", threads)
        assert done.returncode == 0, done.stderr
    results = tmp_path / "output/test/tracking_results/transcmd"
    boxes = [np.loadtxt(next((results / name / "LasHeR").glob("*[0-9].txt"))) for name in ("nano", "nano_onnx")]
    assert len(boxes[0]) == 12 and np.allclose(*boxes, atol=0.01)
    refused = run_command(*test, "--runtime", "onnx", "--checkpoint", PRETRAINED / "teacher_nano.safetensors")
    assert refused.returncode == 1 and "exported from another checkpoint" in refused.stderr
    refused = run_command("test.py", "static", "--dataset_name", "LasHeR", "--runtime", "onnx")
    assert refused.returncode == 2 and "--runtime onnx: expected the tracker transcmd" in refused.stderr
    refused = run_command(*test, "--runtime", "onnx", "--set", "TEST.SIZE_RATE=0.5")
    assert refused.returncode == 1 and "exported with size_rate 0.25, the experiment has 0.5" in refused.stderr


def test_wrong_exports_are_one_line(tmp_path, demo_data, run_command):
    for arguments, code, parts in (
        (
            ["--config", "nano", "--data", "nowhere"],
            1,
            ["error: nowhere: none of LasHeR, DepthTrack", "make_demo_data.py"],
        ),
        (
            ["--config", "nano", "--data", demo_data, "--precision", "int8", "--calibration_data", "nowhere"],
            1,
            ["error: nowhere: none of LasHeR_train, DepthTrack_train", "make_demo_data.py"],
        ),
        (["--config", "tiny", "--data", demo_data], 1, ["no such checkpoint", "--config tiny"]),
        (["--config", "nano", "--data", demo_data, "--format", "tflite"], 2, ["--format: invalid choice: 'tflite'"]),
        (["--config", "nano", "--data", demo_data, "--checkpoint", "none.pth"], 1, ["none.pth: no such checkpoint"]),
    ):
        done = run_command("export.py", *arguments)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == code and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
        assert all(part in lines[0] for part in parts), lines
    done = run_tracking(
        "demo.py", "--rgb", "a.mp4", "--runtime", "onnx", "--box", 1, 1, 9, 9, "--output", "o.mp4", cwd=tmp_path
    )
    assert done.returncode == 1 and "a.mp4: no such video" in done.stderr
