"""The commands of `make bench`, as in a new checkout without any data."""

import re
import sys

import pytest

from tests.processes import ROOT, run


def measure(*words) -> str:
    done = run([sys.executable, *map(str, words)], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_bench_runs_the_loader_the_training_step_and_the_speed():
    text = (ROOT / "Makefile").read_text()
    target = text[text.index("\nbench:") :].partition("\n\n")[0]
    found = re.findall(r"benchmarks/(\w+)\.py", target)
    assert found == ["data_loading", "training_step", "speed"]


def test_the_loader_is_measured_without_data(tmp_path):
    text = measure("benchmarks/data_loading.py", "--samples", 3, "--set", f"DATA.ROOT={tmp_path}/none")
    assert f"{tmp_path}/none: no data" in text and not (tmp_path / "none").exists()
    rows = re.findall(
        r"^  (\w+) +reading 4 images +([\d.]+) .*sample +([\d.]+) \((\d+) samples/s\)", text, re.MULTILINE
    )
    assert [name for name, *_ in rows] == ["LasHeR_train", "DepthTrack_train", "VisEvent_train"]
    for _, _, sample, rate in rows:
        assert abs(1000 / float(sample) - int(rate)) < 0.02 * int(rate) + 1


def test_partly_decoded_images_are_measured_beside_whole_ones(demo_data):
    words = ["--width", 630, "--target", 20, "--samples", 2, "--set", f"DATA.ROOT={demo_data}"]
    words += ["--set", "DATA.TRAIN.DATASETS_NAME=[LasHeR_train]", "--set", "DATA.TRAIN.DATASETS_RATIO=[1]"]
    text = measure("benchmarks/data_loading.py", *words)
    whole, upper = map(float, re.search(r"sample +([\d.]+) .*PARTIAL_DECODE +([\d.]+) ", text).groups())
    assert whole > 0 and upper > 0


def test_a_training_step_is_measured_without_data():
    text = measure("benchmarks/training_step.py", "--config", "debug_teacher", "--steps", 1, "--device", "cpu")
    assert re.search(r"ms per step:\n  forward +[\d.]+\n  backward +[\d.]+\n", text) and "samples/s" in text


@pytest.mark.slow
def test_students_are_measured_against_ostrack(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- end of speed -->\nafter\n")
    text = measure("benchmarks/speed.py", "--configs", "debug", "--rounds", 1, "--frames", 2, "--insert", page)
    kinds = ["PyTorch fp32", "onnx fp32", "onnx int8-dynamic", "openvino fp32", "openvino bf16", "openvino int8-static"]
    names = ["ostrack-256", *(f"debug, {kind}" for kind in kinds)]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == names and rows[0][3].startswith(" 1.000 ")
    assert all(float(row[2]) > 0 and int(row[5]) > 0 and int(row[6]) > 0 for row in rows)
    assert all(float(row[1]) > float(row[2]) for row in rows if "fp32" in row[0])  # the floor is one of float32
    assert re.search(
        r"^\d{4}-\d\d-\d\d, 1 thread, .+ \(.+\), float32 products at [\d.]+ GMAC/s, torch [\d.]+\.$", text, re.MULTILINE
    )
    assert page.read_text() == f"before\n<!-- speed -->\n\n{text}\n<!-- end of speed -->\nafter\n"
