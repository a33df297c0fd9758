"""The runtime without torch: what it imports, its memory, and a new environment that has nothing else."""

import os
import subprocess
import sys
import venv

import pytest

from lib.deploy.build import build_network, write_fp32
from lib.deploy.memory import measure_memory
from lib.deploy.runtime import load_tracker
from lib.utils.paths import PRETRAINED
from tests.deploy.streams import read_video, write_video
from tests.processes import ROOT, run

pytest.importorskip("onnx", reason="pip install -e .[deploy]")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

MOST = 200  # MiB, resident
AHEAD = 40  # MiB of a large library's pages that the system may map ahead
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime")
# Packages that the runtime must not import; openvino is for .xml files alone.
FOREIGN = ("torch", "timm", "torchvision", "safetensors", "yaml", "easydict", "matplotlib", "lmdb", "onnx", "openvino")
# The five lines of docs/deploy.md, and what they cost.
PROGRAM = """
import sys
import numpy as np
from transcmd.deploy.runtime import Frame, load_tracker

frames = np.random.default_rng(0).integers(0, 256, (4, 2, 240, 320, 3), np.uint8)
tracker = load_tracker(sys.argv[1], modality="rgbt", threads=1)
tracker.initialize(Frame(*frames[0]), np.array([100, 80, 40, 60]))
for rgb, thermal in frames[1:]:
    box_xywh, score = tracker.track(Frame(rgb, thermal))
assert box_xywh.shape == (4,) and 0 < score < 1
from transcmd.deploy.memory import resident_peak
print(f"{resident_peak():.0f}", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def export(make_once):
    def write(folder):
        write_fp32(build_network("nano", (), PRETRAINED / "nano.safetensors"), folder / "nano.fp32.onnx")

    return make_once("runtime_export", write) / "nano.fp32.onnx"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_the_runtime_imports_no_torch_and_needs_little_memory(export, tmp_path):
    done = run([sys.executable, "-c", PROGRAM, export], cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    peak, *modules = done.stdout.split()
    assert not set(FOREIGN) & set(modules) and "onnxruntime" in modules
    assert int(peak) <= MOST


LIGHT = """
import sys
import numpy as np
from lib.deploy.runtime import load_session

session = load_session(sys.argv[1], 1)
loaded = [name for name in sys.modules if name.startswith("openvino") and "._pyopenvino" not in name]
assert not loaded and "openvino._pyopenvino" in sys.modules, loaded  # the package around it takes 12 MiB
template, search = session.metadata.specs
inputs = {name: np.zeros((1, s.size, s.size, 3), np.uint8) for name, s in zip(
    ("template_rgb", "template_aux", "search_rgb", "search_aux"), (template, template, search, search))}
inputs |= {"modality": np.array([1]), "template_box": np.full((1, 4), 0.5, np.float32)}
maps = session.run(inputs)
import openvino  # as always

network = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
assert openvino.convert_model and np.allclose(next(iter(network(inputs).values())), maps, atol=1e-5)
"""


def test_openvino_is_loaded_without_its_converters(tmp_path):
    pytest.importorskip("openvino")
    write_fp32(build_network("nano", (), PRETRAINED / "nano.safetensors"), tmp_path / "nano.fp32.xml")
    done = run([sys.executable, "-c", LIGHT, tmp_path / "nano.fp32.xml"], cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_the_memory_of_a_tracker_is_measured(export, threads):
    assert 50 < measure_memory(load_tracker, export, "rgbt", threads) <= MOST


def test_the_demo_without_torch_names_what_is_missing(tmp_path):
    write_video(tmp_path / "a.mp4", 3)
    code = (
        f"import sys, runpy; sys.modules['yaml'] = None; sys.path.insert(0, '{ROOT}/tracking'); sys.argv[0] = 'demo.py'"
    )
    code += f"; runpy.run_path('{ROOT}/tracking/demo.py', run_name='__main__')"
    line = ["--rgb", "a.mp4", "--box", 20, 20, 20, 20, "--output", "out.mp4"]
    done = run([sys.executable, "-c", code, *line], cwd=tmp_path, env=environment())
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "error: --runtime torch: the package yaml is not installed; run install.sh, or use" in done.stderr


@pytest.mark.slow  # installs packages
def test_a_new_environment_without_torch_tracks_and_runs_the_demo(export, tmp_path, capsys):
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    before = size_of(folder)
    subprocess.run([python, "-m", "pip", "install", "-q", "tqdm", *PACKAGES], check=True, timeout=600)
    done = run([python, "-c", PROGRAM, export], cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[0])
    assert peak <= MOST
    assert run([python, "-c", "import torch"], cwd=tmp_path).returncode != 0
    with capsys.disabled():
        installed = (size_of(folder) - before) >> 20
        sys.stdout.write(f"\ninstalled: {installed} MiB ({', '.join(PACKAGES)}); resident: {peak} MiB\n")
    write_fp32(build_network("tiny", (), None), tmp_path / "tiny.fp32.xml")
    subprocess.run([python, "-m", "pip", "install", "-q", "openvino"], check=True, timeout=600)
    done = run([python, "-c", PROGRAM, tmp_path / "tiny.fp32.xml"], cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) <= MOST + AHEAD
    write_video(tmp_path / "a.mp4", 6)
    line = ["--rgb", "a.mp4", "--aux", "a.mp4", "--box", 20, 20, 20, 20, "--output", "out.mp4", "--runtime", "onnx"]
    done = run([python, ROOT / "tracking/demo.py", *line, "--export", export], cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    assert len(read_video(tmp_path / "out.mp4")) == 6


def size_of(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
