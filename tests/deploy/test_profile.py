"""Costs and latencies, and the reference they are compared with."""

import json

import numpy as np
import pytest
import torch

from lib.data.crop import CropSpec
from lib.deploy.build import build_reference, make_initial
from lib.deploy.memory import example_frames, measure_memory
from lib.deploy.profile import (
    PARTS,
    compare,
    cost_table,
    count_cost,
    count_frame,
    latency_of,
    latency_table,
    time_parts,
)
from lib.deploy.reference import OSTrackReference
from lib.structures import Frame, Pair, Prediction
from lib.tracker.baselines import StaticTracker
from lib.utils.misc import count_parameters
from tests.processes import run_tracking

ASYMMETRIC = ("MODEL.BACKBONE.ATTENTION=asymmetric",)


@pytest.fixture(scope="module")
def reference():
    return build_reference("cpu")


def test_the_reference_costs_what_its_authors_state(reference):
    cost = count_cost(reference.model, reference.template_spec, reference.search_spec)
    assert round(cost.parameters / 1e6, 1) == 92.5
    assert round(cost.macs / 1e9, 2) == 22.64


def test_the_reference_eliminates_seven_tenths_three_times(reference):
    lengths = []
    hooks = [
        block.fc1.register_forward_hook(lambda _, inputs, output: lengths.append(inputs[0].shape[1]))
        for block in reference.model.blocks
    ]
    pairs = (Pair(*torch.randint(0, 256, (2, 1, 3, size, size), dtype=torch.uint8)) for size in (128, 256))
    with torch.no_grad():
        output = reference.model(*pairs, torch.zeros(1, dtype=torch.int64))
    for hook in hooks:
        hook.remove()
    assert [length - 64 for length in lengths] == [256] * 3 + [180] * 3 + [126] * 3 + [89] * 3
    assert output.score_map.shape == (1, 1, 16, 16)


def test_search_tokens_keep_their_places_when_others_are_eliminated():
    model = OSTrackReference().eval()
    model.blocks = torch.nn.ModuleList([model.blocks[3], model.blocks[6]])
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pairs = (Pair(*torch.randint(0, 256, (2, 1, 3, size, size), dtype=torch.uint8)) for size in (128, 256))
    with torch.no_grad():
        model(*pairs, torch.zeros(1, dtype=torch.int64))
    filled = seen[0][0].abs().sum(dim=0) > 0
    assert int(filled.sum()) == 126


def test_a_frame_costs_the_whole_network_unless_it_remembers_the_template():
    joint, split = (make_initial("debug", settings, "cpu") for settings in ((), ASYMMETRIC))
    whole, rest = (count_cost(t.model, t.template_spec, t.search_spec).macs for t in (joint, split))
    assert count_frame(joint) == whole and count_frame(split) < rest


def test_the_macs_of_a_small_network_are_those_of_its_formula():
    tracker = make_initial("debug", (), "cpu")
    cost = count_cost(tracker.model, tracker.template_spec, tracker.search_spec)
    rows = {row.name: row for row in cost.modules}
    tokens, width = 2 * (4 + 16), 64  # both modalities; template 32, search 64, patches of 16 pixels
    assert rows["encoder.patch_embed"].macs == tokens * 3 * 16 * 16 * width
    # 12 D^2 per token, and attention: block 1 within each modality, block 2 among the tokens of both
    attention = 2 * width * (2 * 20**2 + 40**2)
    assert rows["encoder.blocks"].macs == 2 * tokens * 12 * width**2 + attention
    assert cost.parameters == count_parameters(tracker.model, False)
    top = [row for row in cost.modules if "." not in row.name]
    assert sum(row.macs for row in top) == cost.macs and f"{cost.parameters:,}" in cost_table(cost)


class Clocked(StaticTracker):
    """A tracker whose parts take as long as `scale` says."""

    calls: list[str] = []
    template_spec, search_spec = CropSpec(32, 2.0), CropSpec(64, 4.0)

    def __init__(self, name, work):
        self.name, self.work = name, work

    def crop(self, frame):
        return frame, None

    def infer(self, crops):
        self.calls.append(self.name)
        for _ in range(self.work):
            np.linalg.norm(np.ones(20000))
        return np.zeros((5, 4, 4))

    def locate(self, maps, crop, size):
        return Prediction(self.box_xywh, 1.0)

    def track(self, frame):
        return self.locate(self.infer(frame), None, None)


def test_trackers_take_turns_and_ratios_refer_to_the_first():
    Clocked.calls.clear()
    found = compare({"fast": Clocked("fast", 20), "slow": Clocked("slow", 200)}, rounds=3, frames=4)
    turns = [Clocked.calls[start] for start in range(0, len(Clocked.calls), 8)]
    assert turns == ["fast", "slow"] * 4  # one of them warms up
    assert found["fast"]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    ratio = found["slow"]["ratio"]
    assert found["slow"]["speedup"] == 1 and found["fast"]["speedup"] == pytest.approx(ratio["median"])
    assert "| ratio to fast | slow is slower by |" in latency_table(found)
    assert 3 < ratio["low"] <= ratio["median"] <= ratio["high"]
    assert found["slow"]["crop"]["median"] < found["slow"]["network"]["median"] / 10


def test_every_frame_is_cropped_at_the_same_place():
    tracker = make_initial("debug", (), "cpu")
    found = time_parts(tracker, example_frames(3))
    assert set(found) == set(PARTS) and all(len(values) == 3 for values in found.values())
    assert all(value > 0 for values in found.values() for value in values)
    assert latency_of([1, 2, 3, 4, 100]).median == 3 and latency_of([1, 2, 3, 4, 100]).p95 > 50


def test_memory_is_that_of_a_process_of_its_own():
    ballast = np.ones(50_000_000)  # 400 MB in this process
    peak = measure_memory(StaticTracker)
    assert 20 < peak < 200 and ballast[0] == 1
    with pytest.raises(ValueError, match="make_initial: memory was not measured: .*no such experiment|nowhere"):
        measure_memory(make_initial, "nowhere", (), "cpu")


def test_the_command_prints_tables_and_writes_json(tmp_path):
    line = ["--config", "debug", "--threads", 1, "--rounds", 1, "--frames", 2, "--output", "out/profile.json"]
    done = run_tracking("profile_model.py", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| ostrack-256 | 92.52 | 22.64 |" in done.stdout and "encoder.blocks" in done.stdout
    report = json.loads((tmp_path / "out/profile.json").read_text())
    assert set(report) == {"machine", "networks", "memory", "latency"}
    assert report["latency"]["1"]["ostrack-256"]["ratio"]["median"] > 5
    assert report["networks"]["debug"]["modules"][0]["name"] == "encoder"
    wrong = run_tracking("profile_model.py", "--config", "debug", "--vs", "tinny", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean" in wrong.stderr and wrong.stderr.count("\n") == 1
    assert isinstance(example_frames(1)[0], Frame)
