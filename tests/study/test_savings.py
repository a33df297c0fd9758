"""benchmarks/vit_savings.py: its variants, the weights that it writes for them, and the command without clips."""

import importlib.util
import json
import sys

import pytest
import torch

from lib.config.loader import ConfigError, load_config
from lib.models.build import load_trained_model
from lib.utils.paths import PRETRAINED
from tests.processes import ROOT, run

pytest.importorskip("onnx", reason="pip install -e .[deploy]")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PATH = ROOT / "benchmarks/vit_savings.py"
NANO = PRETRAINED / "nano.safetensors"


@pytest.fixture(scope="module")
def command():
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("vit_savings", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.mark.parametrize("config", ["nano", "tiny"])
def test_all_variants_are_experiments(command, config):
    variants = command.plan_variants(load_config("transcmd", config), [])
    assert len({variant.title for variant in variants}) == 10 and variants[0].settings == ()
    for variant in variants:
        load_config("transcmd", config, list(variant.settings))
    with pytest.raises(ConfigError, match="--variants x: expected NAME=KEY=VALUE"):
        command.plan_variants(load_config("transcmd", config), ["x"])


def test_the_weights_of_a_smaller_search_are_those_of_its_centre(command, tmp_path):
    whole = load_trained_model(load_config("transcmd", "nano"), NANO)
    cut = load_config("transcmd", "nano", list(command.crop_settings("SEARCH", 160, 192 / 4.8 / 12)))
    inner = load_trained_model(cut, command.fit_weights(NANO, cut, True, tmp_path / "inner.pth"))
    grid = whole.encoder.search_position.unflatten(1, (12, 12))
    torch.testing.assert_close(inner.encoder.search_position.unflatten(1, (10, 10)), grid[:, 1:11, 1:11])
    small = load_config("transcmd", "nano", list(command.crop_settings("SEARCH", 160)))
    scaled = load_trained_model(small, command.fit_weights(NANO, small, False, tmp_path / "scaled.pth"))
    assert not torch.allclose(scaled.encoder.search_position, inner.encoder.search_position)
    torch.testing.assert_close(scaled.encoder.blocks[0].attn.qkv.weight, whole.encoder.blocks[0].attn.qkv.weight)


def test_the_command_measures_cost_and_speed(tmp_path):
    line = ["--config", "debug", "--no_clips", "--rounds", 1, "--frames", 2, "--output", tmp_path / "out"]
    done = run([sys.executable, PATH, *line, "--variants", "half=MODEL.BACKBONE.ELIMINATION.LAYERS=[1]"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row.split("|")[1].strip() for row in done.stdout.splitlines()[2:]] == ["as trained", "half"]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["macs"]["half"] < found["macs"]["as trained"] and set(found["speed"]) == {"torch", "onnx"}
