"""Trackers, and the runner that turns sequences into result files."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lib.config.loader import ConfigError, load_config
from lib.data.crop import CropSpec
from lib.data.datasets import build_store, load_dataset
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import LASHER
from lib.evaluation.evaluate import evaluate
from lib.models.build import build_model
from lib.results.raw import read_boxes, read_numbers
from lib.running.debug import draw_frame
from lib.running.group import Job, check_batch
from lib.running.run import parse_drops, track_datasets
from lib.running.runner import WORKER_FRAMES, Shard, default_workers, make_groups, run_sequences
from lib.structures import Frame, Prediction, TrackOutput
from lib.tracker import load_tracker
from lib.tracker.baselines import StaticTracker
from lib.tracker.build import (
    TRACKERS,
    Request,
    TrackerEntry,
    build_tracker,
    command_words,
    find_checkpoint,
    load_experiment,
    make_transcmd,
)
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.boxes import iou_xywh
from lib.utils.misc import check_gpus
from lib.utils.paths import PRETRAINED, checkpoint_folder, epoch_path
from lib.utils.trees import to_plain
from tests.processes import ROOT, run, started

UNTRAINED = ("static", "mil")  # trackers that need no files


@pytest.fixture(scope="module")
def sequences(demo_data):
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"])
    return {name: load_dataset(name, build_store(cfg, name)) for name in ("LasHeR", "DepthTrack", "VisEvent")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "debug.pth.tar"
    torch.save({"net": build_model(load_config("transcmd", "debug")).state_dict()}, path)
    return path


class Oracle(torch.nn.Module):
    """Stands for a network: answers that the box is wherever the red spot of the search crop is."""

    def forward(self, template, search, modality, template_box=None):
        red = (search.rgb[0, 0].float() - search.rgb[0, 1].float()) > 100
        ys, xs = torch.nonzero(red, as_tuple=True)
        size = search.rgb.shape[-1]
        low = torch.stack([xs.min(), ys.min()]) / size
        high = (torch.stack([xs.max(), ys.max()]) + 1) / size
        center, extent = (low + high) / 2, high - low
        cell = (center * 8).long()
        score = torch.full((1, 1, 8, 8), 0.1)
        score[0, 0, cell[1], cell[0]] = 0.9
        offset = (center * 8 - cell).view(1, 2, 1, 1).expand(1, 2, 8, 8)
        return TrackOutput(score, extent.view(1, 2, 1, 1).expand(1, 2, 8, 8), offset, None, {}, {})


def spot(x: int, y: int, w: int, h: int) -> Frame:
    image = np.zeros((200, 300, 3), np.uint8)
    image[y : y + h, x : x + w, 0] = 255
    return Frame(image, np.zeros_like(image))


def test_the_tracker_maps_the_output_of_the_network_back_to_the_image():
    tracker = TransCMDTracker(Oracle(), CropSpec(64, 2.0), CropSpec(128, 4.0), "rgbt", torch.device("cpu"))
    path = [(100, 80, 40, 30), (108, 84, 40, 30), (121, 90, 44, 33), (140, 99, 50, 38), (260, 150, 40, 50)]
    tracker.initialize(spot(*path[0]), np.array(path[0]))
    for box in path[1:4]:
        prediction = tracker.track(spot(*box))
        assert iou_xywh(prediction.box_xywh, np.array(box)) > 0.9
        assert prediction.score == pytest.approx(0.9)


def test_a_prediction_stays_inside_the_image():
    tracker = TransCMDTracker(Oracle(), CropSpec(64, 2.0), CropSpec(128, 4.0), "rgbt", torch.device("cpu"))
    tracker.initialize(spot(270, 160, 30, 40), np.array([270, 160, 30, 40]))
    x, y, w, h = tracker.track(spot(285, 180, 15, 20)).box_xywh
    assert x >= 0 and y >= 0 and x + w <= 300 and y + h <= 200 and min(w, h) >= 10


class Unsure(torch.nn.Module):
    """Stands for a network that does not see the target: a low score everywhere and a box of the whole crop."""

    def forward(self, template, search, modality, template_box=None):
        maps = [torch.full((1, count, 8, 8), value) for count, value in ((1, 0.13), (2, 0.99), (2, 1.0))]
        return TrackOutput(*maps, None, {}, {})


class Recorder(torch.nn.Module):
    """Remembers the box of the template that it was given."""

    def forward(self, template, search, modality, template_box=None):
        self.box = template_box
        return Unsure()(template, search, modality)


def test_the_network_is_told_the_start_box_in_the_template_crop():
    network = Recorder()
    tracker = TransCMDTracker(network, CropSpec(64, 2.0), CropSpec(128, 4.0), "rgbt", torch.device("cpu"))
    frame = Frame(*np.random.default_rng(0).integers(0, 255, (2, 200, 300, 3), np.uint8))
    tracker.initialize(frame, np.array([100.0, 40, 20, 80]))
    tracker.track(frame)
    np.testing.assert_allclose(network.box.numpy(), [[0.5, 0.5, 20 / 80, 80 / 80]], atol=0.01)


BLANK = Frame(*np.full((2, 200, 300, 3), 7, np.uint8))


def make_tracker(network, **options) -> TransCMDTracker:
    return TransCMDTracker(network, CropSpec(64, 2.0), CropSpec(128, 4.0), "rgbt", torch.device("cpu"), **options)


def test_a_tracker_that_sees_nothing_keeps_its_box_and_takes_up_again():
    """300 black pairs, then the picture again."""
    tracker, box = make_tracker(Oracle()), (100, 80, 40, 30)
    tracker.initialize(spot(*box), np.array(box))
    seen = tracker.track(spot(102, 81, 40, 30)).box_xywh
    for _ in range(300):
        prediction = tracker.track(BLANK)
        assert prediction.score == 0 and np.array_equal(prediction.box_xywh, seen)
    again = tracker.track(spot(104, 82, 40, 30))
    assert iou_xywh(again.box_xywh, np.array([104, 82, 40, 30])) > 0.9 and again.score > 0.5


def test_one_picture_is_enough_to_go_on():
    tracker, box = make_tracker(Oracle()), (100, 80, 40, 30)
    tracker.initialize(spot(*box), np.array(box))
    assert tracker.track(Frame(spot(104, 82, 40, 30).rgb, BLANK.aux)).score > 0.5


def test_the_size_changes_little_while_the_score_is_low():
    tracker = make_tracker(Unsure())
    tracker.initialize(spot(100, 80, 40, 30), np.array([100, 80, 40, 30]))
    sizes = np.array([tracker.track(spot(100, 80, 40, 30)).box_xywh[2:] for _ in range(10)])
    assert (sizes[-1] <= np.array([40, 30]) * 1.02**10 + 1e-9).all() and (sizes[-1] > [40, 30]).all()


@pytest.mark.parametrize("network", [Oracle, Unsure])
def test_a_size_rate_takes_over_a_share_of_the_change(network):
    start, last = np.array([100.0, 80, 40, 30]), np.array([40.0, 30])
    whole, part = make_tracker(network()), make_tracker(network(), size_rate=0.5)
    for tracker in (whole, part):
        tracker.initialize(spot(100, 80, 40, 30), start)
    (a, score), (b, _) = (tracker.track(spot(100, 80, 60, 45)) for tracker in (whole, part))
    if network is Oracle:
        np.testing.assert_allclose(b[2:], last ** (1 - 0.5 * score) * a[2:] ** (0.5 * score), rtol=1e-6)
    np.testing.assert_allclose(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2, atol=1e-6)
    assert (np.abs(b[2:] - last) < np.abs(a[2:] - last)).all() or network is Unsure


@pytest.mark.parametrize("box", [(10, 50, 280, 6), (100, 80, 1, 1), (100, 80, 0.6, 0.6)])
def test_extreme_start_boxes_are_tracked(box, checkpoint):
    tracker = load_tracker("debug", checkpoint, device="cpu")
    tracker.initialize(spot(100, 80, 40, 30), np.array(box))
    for _ in range(3):
        assert np.isfinite(tracker.track(spot(104, 82, 40, 30)).box_xywh).all()


@pytest.mark.parametrize("name", ["transcmd", *UNTRAINED])
@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10, 10, 0.001, 0.001), "expected w and h of at least 0.5 pixels"),
        ((10, 10, 0, 5), r"\(10, 10, 0, 5\).*w and h > 0"),
        ((10, 10, -3, 5), "w and h > 0"),
        ((10, float("nan"), 5, 5), "nan.*finite"),
        ((300, 10, 20, 20), r"\(300, 10, 20, 20\) is outside the 300x200 image"),
        ((-30, 10, 20, 20), "outside the 300x200 image"),
        ((10, 10, 5), "expected finite x y w h"),
    ],
)
def test_bad_init_box_is_refused(name, box, message, checkpoint):
    tracker = build_tracker(Request(name, "debug", checkpoint=checkpoint)).make("rgbt", "cpu")
    with pytest.raises(ValueError, match=message):
        tracker.initialize(spot(10, 10, 20, 20), np.array(box))


def test_images_of_different_size_are_refused(checkpoint):
    frame = Frame(np.zeros((20, 30, 3), np.uint8), np.zeros((10, 15, 3), np.uint8))
    with pytest.raises(ValueError, match="differ in size"):
        load_tracker("debug", checkpoint, device="cpu").initialize(frame, np.array([5, 5, 5, 5]))


def test_five_lines_of_code_track_frames_in_memory(checkpoint):
    tracker = load_tracker("debug", checkpoint, modality="rgbt", device="cpu")
    tracker.initialize(spot(100, 80, 40, 30), [100, 80, 40, 30])
    box_xywh, score = tracker.track(spot(104, 82, 40, 30))
    assert box_xywh.shape == (4,) and box_xywh.dtype == np.float64 and 0 <= score <= 1
    with pytest.raises(ValueError, match="unknown modality 'thermal'; expected one of: rgb"):
        load_tracker("debug", checkpoint, modality="thermal")
    with pytest.raises(ValueError, match="device 'cuda:99' cannot be used"):
        load_tracker("debug", checkpoint, device="cuda:99")


def test_an_experiment_without_a_run_uses_the_shipped_weights_that_it_names(tmp_path):
    cfg = load_experiment("nano_fast", ())
    assert find_checkpoint(cfg, "nano_fast", tmp_path) == PRETRAINED / "nano.safetensors"
    cfg.TEST.WEIGHTS = "nowhere"
    with pytest.raises(FileNotFoundError, match=r"nano_fast.*no such checkpoint, and no .*nowhere.*TEST\.WEIGHTS"):
        find_checkpoint(cfg, "nano_fast", tmp_path)
    own = epoch_path(checkpoint_folder(tmp_path, "transcmd", "nano_fast"), cfg.TRAIN.EPOCH)
    own.parent.mkdir(parents=True)
    own.write_bytes(b"")
    assert find_checkpoint(cfg, "nano_fast", tmp_path) == own
    with pytest.raises(FileNotFoundError, match="missing.pth: no such checkpoint; train"):
        find_checkpoint(cfg, "nano_fast", tmp_path, "missing.pth")


def test_the_fast_student_is_nano_with_fewer_tokens():
    fast, whole = (to_plain(load_experiment(name, ())) for name in ("nano_fast", "nano"))
    assert fast["MODEL"].pop("BACKBONE") != whole["MODEL"].pop("BACKBONE")
    assert fast["TEST"] == {**whole["TEST"], "WEIGHTS": "nano"} and fast["DATA"] == whole["DATA"]
    tracker = load_tracker("nano_fast", device="cpu")
    tracker.initialize(spot(100, 80, 40, 30), [100, 80, 40, 30])
    box_xywh, _ = tracker.track(spot(104, 82, 40, 30))
    assert np.abs(box_xywh[:2] + box_xywh[2:] / 2 - [124, 97]).max() < 10


def test_tracking_twice_gives_the_same(checkpoint, sequences):
    def boxes():
        tracker, sequence = load_tracker("debug", checkpoint, device="cpu"), sequences["LasHeR"][0]
        tracker.initialize(sequence.frame(0), sequence.boxes_xywh[0])
        return np.array([tracker.track(sequence.frame(i)).box_xywh for i in range(1, 6)])

    np.testing.assert_array_equal(boxes(), boxes())


@pytest.mark.parametrize("name", UNTRAINED)
def test_baselines_follow_the_protocol(name, sequences):
    sequence = sequences["LasHeR"][0]
    tracker = build_tracker(Request(name)).make("rgbt", "cpu")
    tracker.initialize(sequence.frame(0), sequence.boxes_xywh[0])
    prediction = tracker.track(sequence.frame(1))
    assert isinstance(prediction, Prediction) and 0 <= prediction.score <= 1
    assert iou_xywh(prediction.box_xywh, sequence.boxes_xywh[1]) > 0.3


def test_network_settings_without_parameters_are_checked_as_well(tmp_path):
    cfg = load_config("transcmd", "debug")
    model = build_model(cfg)
    torch.save({"net": model.state_dict(), "config": to_plain(cfg)}, tmp_path / "x.pth")
    load_tracker("debug", tmp_path / "x.pth", device="cpu")
    with pytest.raises(ValueError, match=r"trained with MODEL.BACKBONE.INTERACTION_LAYERS \[2\], the config has \[\]"):
        load_tracker("debug", tmp_path / "x.pth", device="cpu", overrides=["MODEL.BACKBONE.INTERACTION_LAYERS=[]"])


def test_a_network_is_used_with_the_front_end_that_it_was_trained_with(tmp_path):
    metric = ["DATA.INPUT.DEPTH=metric", "DATA.INPUT.DEPTH_RANGE=700"]
    new, old = tmp_path / "new.pth", tmp_path / "old.pth"
    model = build_model(load_config("transcmd", "debug"))
    for path, settings in ((new, metric), (old, [])):
        config = to_plain(load_config("transcmd", "debug", settings))
        if path == old:
            del config["DATA"]["INPUT"]  # as before it was a setting
        torch.save({"net": model.state_dict(), "config": config}, path)
    tracker = load_tracker("debug", new, modality="rgbd", device="cpu", overrides=metric)
    assert (tracker.front_end.depth, tracker.front_end.depth_range) == ("metric", 700)
    assert load_tracker("debug", old, device="cpu").front_end.depth == "colormap"
    with pytest.raises(ValueError, match=r"new.pth: trained with DATA.INPUT.DEPTH metric, the config has colormap"):
        load_tracker("debug", new, device="cpu")
    with pytest.raises(ValueError, match=r"old.pth: trained with DATA.INPUT.DEPTH colormap, the config has metric"):
        load_tracker("debug", old, device="cpu", overrides=metric)
    with pytest.raises(ValueError, match=r"old.pth: trained with DATA.INPUT.EVENTS frames, the config has voxel"):
        load_tracker("debug", old, device="cpu", overrides=["DATA.INPUT.EVENTS=voxel"])


def test_results_depend_on_the_front_end_and_those_of_the_usual_one_stay_valid(checkpoint):
    def fingerprint(*settings):
        return build_tracker(Request("transcmd", "debug", settings, checkpoint)).fingerprint

    assert "INPUT" not in fingerprint() and fingerprint("DATA.INPUT.DEPTH_RANGE=700") == fingerprint()
    metric = fingerprint("DATA.INPUT.DEPTH=metric")
    assert metric not in (fingerprint(), fingerprint("DATA.INPUT.DEPTH=metric", "DATA.INPUT.DEPTH_RANGE=700"))
    assert fingerprint("DATA.INPUT.EVENTS=voxel") != fingerprint()


def test_frames_with_a_wrong_shape_or_type_are_refused(checkpoint):
    tracker, frame = load_tracker("debug", checkpoint, device="cpu"), spot(100, 80, 40, 30)
    with pytest.raises(ValueError, match=r"track\(\) was called before initialize"):
        tracker.track(frame)
    tracker.initialize(frame, np.array([100, 80, 40, 30]))
    with pytest.raises(ValueError, match="auxiliary image: expected .H, W, 3. uint8, got .* float64"):
        tracker.track(Frame(frame.rgb, frame.aux / 255))


# precision and compilation of the network


def load_nano(**options) -> TransCMDTracker:
    return load_tracker("nano", device="cpu", **options)


def boxes_on(tracker: TransCMDTracker, sequence, beside: np.ndarray | None = None) -> np.ndarray:
    """The boxes (N, 4) of a tracker; each step starts from the box `beside` (N, 4), if given."""
    tracker.initialize(sequence.frame(0), sequence.boxes_xywh[0])
    boxes = [sequence.boxes_xywh[0]]
    for index in range(1, len(sequence)):
        if beside is not None:
            tracker.box_xywh = beside[index - 1].copy()
        boxes.append(tracker.track(sequence.frame(index)).box_xywh)
    return np.array(boxes)


def test_the_compiled_network_finds_the_same_boxes(sequences, checkpoint, monkeypatch):
    sequence, calls, real = sequences["LasHeR"][0], [], torch.compile

    def spy(function, **options):
        compiled = real(function, **options)

        def call(*arguments):
            calls.append(options)
            return compiled(*arguments)

        return call

    monkeypatch.setattr(torch, "compile", spy)
    plain = boxes_on(load_tracker("debug", checkpoint, device="cpu"), sequence)
    found = boxes_on(load_tracker("debug", checkpoint, device="cpu", compile=True), sequence, beside=plain)
    np.testing.assert_allclose(found, plain, atol=0.01)
    assert calls == [{"mode": "default", "dynamic": False}] * len(sequence)  # one to compile, one for every next frame


def test_half_precision_finds_the_target_at_the_same_place(sequences):
    for name, modality in (("LasHeR", "rgbt"), ("DepthTrack", "rgbd"), ("VisEvent", "rgbe")):
        for sequence in sequences[name][:1]:
            whole = boxes_on(load_nano(modality=modality), sequence)
            half = boxes_on(load_nano(modality=modality, precision="bf16"), sequence, beside=whole)
            assert 0.99 <= iou_xywh(half, whole).mean() and not np.array_equal(half, whole)


def test_a_wrong_precision_or_a_network_that_cannot_be_compiled_is_named(checkpoint, monkeypatch):
    with pytest.raises(ValueError, match="precision 'fp8': expected one of: fp32, bf16"):
        load_tracker("debug", checkpoint, device="cpu", precision="fp8")

    def fail(function, **options):
        def call(*arguments):
            raise RuntimeError("no compiler\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(ValueError, match="compile=True: this network cannot be compiled for cpu: no compiler$"):
        load_tracker("debug", checkpoint, device="cpu", compile=True)


# the table of trackers


def fingerprint(checkpoint, *settings: str) -> str:
    return build_tracker(Request("transcmd", "debug", settings, checkpoint)).fingerprint


def test_a_fingerprint_covers_weights_and_settings_but_not_paths(tmp_path, checkpoint):
    same, other = tmp_path / "same.pth.tar", tmp_path / "other.pth.tar"
    same.write_bytes(checkpoint.read_bytes())
    torch.manual_seed(1)
    torch.save({"net": build_model(load_config("transcmd", "debug")).state_dict()}, other)
    assert fingerprint(checkpoint) == fingerprint(same) != fingerprint(other)
    assert fingerprint(checkpoint, "DATA.ROOT=elsewhere") == fingerprint(checkpoint)
    assert fingerprint(checkpoint, "MODEL.BACKBONE.INTERACTION_LAYERS=[]") != fingerprint(checkpoint)
    assert build_tracker(Request("static")).fingerprint != build_tracker(Request("mil")).fingerprint


@pytest.mark.parametrize("name", ["transcmd", *UNTRAINED])
def test_a_built_tracker_can_be_sent_to_other_processes(name, checkpoint):
    built = pickle.loads(pickle.dumps(build_tracker(Request(name, "debug", checkpoint=checkpoint))))
    tracker = built.make("rgbt", "cpu")
    tracker.initialize(spot(100, 80, 40, 30), np.array([100, 80, 40, 30]))
    assert tracker.track(spot(104, 82, 40, 30)).box_xywh.shape == (4,)


def test_wrong_requests_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown tracker 'nanotrak'; did you mean nanotrack"):
        build_tracker(Request("nanotrak"))
    with pytest.raises(ConfigError, match="transcmd: name the experiment that describes it"):
        build_tracker(Request("transcmd"))
    with pytest.raises(FileNotFoundError, match="TransCMD_ep0002.pth.tar: no such checkpoint; train it with"):
        build_tracker(Request("transcmd", "debug", save_dir=tmp_path))
    for name, known in (("transcmd", "known: TRACKER.REDETECT"), ("static", "it has no arguments")):
        with pytest.raises(ConfigError, match=f"--set TRACKER.SPEED=1: {name} has no such argument; {known}"):
            build_tracker(Request(name, "debug", ("TRACKER.SPEED=1",)))


def test_a_tracker_without_a_network_starts_without_torch():
    code = "import sys; from lib.tracker.build import *; build_tracker(Request('mil')).make('rgbt', 'cpu')"
    done = run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], cwd=ROOT)
    assert done.returncode == 0


def test_a_command_line_for_another_folder_has_absolute_paths(tmp_path, monkeypatch, checkpoint):
    monkeypatch.chdir(tmp_path)
    for part in ("backbone", "head"):
        (tmp_path / f"nanotrack_{part}_sim.onnx").write_bytes(b"")
    words = command_words(Request("nanotrack", "debug", ("TRACKER.WEIGHTS=.", "DATA.ROOT=x"), device="cpu"))
    assert words == ["nanotrack", "--set", f"TRACKER.WEIGHTS={tmp_path}", "--device", "cpu"]
    (tmp_path / "w.pth").write_bytes(checkpoint.read_bytes())
    words = command_words(Request("transcmd", "debug", ("TEST.EPOCH=2",), "w.pth"))
    assert words == ["transcmd", "debug", "--checkpoint", f"{tmp_path}/w.pth", "--set", "TEST.EPOCH=2"]


# NanoTrack


@pytest.fixture
def nanotrack(shared) -> Request:
    weights = shared / "peers/nanotrackv2"
    if not weights.is_dir():
        pytest.skip(f"no weights of NanoTrack in {weights}")
    return Request("nanotrack", settings=(f"TRACKER.WEIGHTS={weights}",))


def test_nanotrack_follows_its_target_and_is_the_same_in_every_process(nanotrack, tmp_path, sequences):
    items = sequences["DepthTrack"]
    for workers in (1, 2):
        built, place = build_tracker(nanotrack), tmp_path / str(workers)
        assert track_datasets(built, {"DepthTrack": items}, lambda name, drop, p=place: p, workers=workers) == {}
    for sequence in items:
        for suffix in ("", "_score"):
            texts = {(tmp_path / place / f"{sequence.name}{suffix}.txt").read_text() for place in ("1", "2")}
            assert len(texts) == 1
        scores = read_numbers(tmp_path / f"1/{sequence.name}_score.txt")
        assert ((scores >= 0) & (scores <= 1)).all() and len(set(scores[1:])) > 5
    run_sequences(items, static_job(tmp_path / "static"))
    folders = {"nanotrack": tmp_path / "1", "static": tmp_path / "static"}
    report = evaluate(LASHER, annotations_from_sequences(items), folders)
    assert report.trackers["nanotrack"].scores["SR"] > report.trackers["static"].scores["SR"] + 10


def test_missing_requirements_of_nanotrack_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"pretrained_models/nanotrack_backbone_sim\.onnx: no such file"):
        build_tracker(Request("nanotrack"))
    for part in ("backbone", "head"):
        (tmp_path / f"nanotrack_{part}_sim.onnx").write_bytes(b"no network")
    built = build_tracker(Request("nanotrack", settings=(f"TRACKER.WEIGHTS={tmp_path}",)))
    with pytest.raises(ValueError, match="OpenCV cannot read the networks of NanoTrack"):
        built.make("rgbt", "cpu")
    monkeypatch.delattr(cv2, "TrackerNano_create")
    with pytest.raises(ValueError, match="has no TrackerNano; install opencv-python 4.7 or newer"):
        built.make("rgbt", "cpu")


# runner


def static_job(folder, **changes) -> Job:
    return Job(**{"make_tracker": make_static, "folder": folder, "fingerprint": "static", **changes})


def make_static(device: str) -> StaticTracker:
    return StaticTracker()


def make_thread_counting(device: str) -> StaticTracker:
    return ThreadCounting()


class ThreadCounting(StaticTracker):
    """Its scores are sixteenths of the number of threads."""

    def track(self, frame):
        return Prediction(super().track(frame).box_xywh, torch.get_num_threads() / 16)


class Counting(StaticTracker):
    started = 0

    def initialize(self, frame, box_xywh):
        Counting.started += 1
        super().initialize(frame, box_xywh)


def make_counting(device: str) -> Counting:
    return Counting()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_complete_and_have_decimals(tmp_path, sequences, workers):
    for name, items in sequences.items():
        assert run_sequences(items, static_job(tmp_path / name), workers) == {}
        for sequence in items:
            boxes = read_boxes(tmp_path / name / f"{sequence.name}.txt")
            assert boxes.shape == (len(sequence), 4)
            np.testing.assert_allclose(boxes, np.repeat(sequence.boxes_xywh[:1], len(sequence), 0), atol=1e-4)
            assert len(read_numbers(tmp_path / name / f"{sequence.name}_time.txt")) == len(sequence)
            assert (read_numbers(tmp_path / name / f"{sequence.name}_score.txt") == 1).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_tracks_has_one_thread(tmp_path, sequences, workers):
    """Two threads of a small network wait for each other where another process uses the second core."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        job = static_job(tmp_path, make_tracker=make_thread_counting)
        assert run_sequences(sequences["LasHeR"], job, workers) == {}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for sequence in sequences["LasHeR"]:
        assert set(read_numbers(tmp_path / f"{sequence.name}_score.txt")[1:]) == {1 / 16}


def test_finished_sequences_are_skipped_only_if_complete_and_with_the_same_weights(tmp_path, sequences):
    items, job = sequences["LasHeR"], static_job(tmp_path, make_tracker=make_counting)

    def run(job) -> int:
        Counting.started = 0
        assert run_sequences(items, job) == {}
        return Counting.started

    assert run(job) == 2
    assert run(job) == 0
    path = tmp_path / f"{items[0].name}.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")  # a row is lost
    assert run(job) == 1
    path.write_text(path.read_text().replace("\t", "\tx", 1))  # a file is damaged
    assert run(job) == 1
    path.unlink()
    assert run(job) == 1
    assert run(static_job(tmp_path, make_tracker=make_counting, fingerprint="other weights")) == 2
    (tmp_path / "run.json").write_text("{")  # the record of the files is missing
    assert run(job) == 2


class NotFinite(StaticTracker):
    """Returns a box, or a score, that is not finite."""

    def __init__(self, box=(5.0, 5.0, 9.0, 9.0), score=1.0):
        self.prediction = Prediction(np.array(box), score)

    def initialize(self, frame, box_xywh):
        pass

    def track(self, frame):
        return self.prediction


@pytest.mark.parametrize("wrong", [{"box": (np.nan, np.nan, 10, 10)}, {"box": (0, 0, np.inf, 1)}, {"score": np.nan}])
def test_a_sequence_with_a_prediction_that_is_not_finite_fails(tmp_path, sequences, wrong):
    item, job = sequences["LasHeR"][0], static_job(tmp_path, make_tracker=lambda device: NotFinite(**wrong))
    failed = run_sequences([item], job)
    assert "frame 1: the tracker returned the box" in failed[item.name]
    assert not (tmp_path / f"{item.name}.txt").exists()


def test_a_result_with_nan_is_not_finished(tmp_path, sequences):
    items, job = sequences["LasHeR"][:1], static_job(tmp_path, make_tracker=make_counting)
    run_sequences(items, job)
    path = tmp_path / f"{items[0].name}.txt"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], "nan\tnan\t10\t10", *rows[2:]]) + "\n")
    Counting.started = 0
    assert run_sequences(items, job) == {}
    assert Counting.started == 1 and np.isfinite(read_boxes(path)).all()


class NotANumber(Unsure):
    def forward(self, template, search, modality, template_box=None):
        output = super().forward(template, search, modality)
        return output._replace(size_map=output.size_map * float("nan"))


def test_a_network_whose_output_is_not_finite_returns_no_box():
    tracker, box = make_tracker(NotANumber()), (100, 80, 40, 30)
    tracker.initialize(spot(*box), np.array(box))
    with pytest.raises(ValueError, match="output is not finite; check the weights"):
        tracker.track(spot(*box))


def test_results_of_different_data_or_without_scores_are_not_finished(tmp_path, sequences):
    first, second = sequences["LasHeR"]
    assert run_sequences([first], static_job(tmp_path)) == {}
    moved = dataclasses.replace(first, boxes_xywh=first.boxes_xywh + 1)
    job = static_job(tmp_path, make_tracker=make_counting)
    for sequence, damage in ((moved, None), (moved, "_score"), (moved, "_time")):
        if damage:
            (tmp_path / f"{first.name}{damage}.txt").unlink()
        Counting.started = 0
        assert run_sequences([sequence], job) == {} and Counting.started == 1


def test_results_of_two_runs_are_not_scored_as_one(tmp_path, sequences):
    first, second = sequences["LasHeR"]
    run_sequences([first], static_job(tmp_path))
    run_sequences([second], static_job(tmp_path, fingerprint="other weights"))
    with pytest.raises(ValueError, match="mixes results of 2 runs"):
        evaluate(LASHER, annotations_from_sequences([first, second]), {"static": tmp_path})


def test_a_failed_sequence_has_no_older_result(tmp_path, sequences):
    first, _ = sequences["LasHeR"]
    run_sequences([first], static_job(tmp_path))
    broken = dataclasses.replace(first, aux_keys=("gone.jpg",) * len(first))
    assert list(run_sequences([broken], static_job(tmp_path))) == [first.name]
    assert not (tmp_path / f"{first.name}.txt").exists()


def test_a_sequence_that_starts_without_its_target(tmp_path, sequences):
    sequence = sequences["LasHeR"][0]
    visible = sequence.visible.copy()
    visible[:3] = False
    late = dataclasses.replace(sequence, visible=visible)
    assert run_sequences([late], static_job(tmp_path)) == {}
    boxes = read_boxes(tmp_path / f"{late.name}.txt")
    np.testing.assert_allclose(boxes, np.repeat(sequence.boxes_xywh[3:4], len(late), 0), atol=1e-4)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_sequence_is_named_and_the_others_finish(tmp_path, sequences, workers):
    first, second = sequences["VisEvent"]
    broken = dataclasses.replace(first, rgb_keys=(*first.rgb_keys[:-1], "gone.png"))
    failed = run_sequences([broken, second], static_job(tmp_path), workers)
    assert list(failed) == [first.name] and "gone.png" in failed[first.name]
    assert not (tmp_path / f"{first.name}.txt").exists() and (tmp_path / f"{second.name}.txt").exists()
    assert list(json.loads((tmp_path / "run.json").read_text())) == [second.name]


def make_debug(checkpoint, modality: str, device: str):
    return make_transcmd(load_config("transcmd", "debug"), checkpoint, "cpu", modality, device)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_of_sequences_has_the_results_of_one_by_one(tmp_path, sequences, checkpoint, workers):
    """Sequences of different length, one of which sees nothing for some frames and one of which is broken."""
    first, second = sequences["LasHeR"]
    short = dataclasses.replace(
        first,
        name="short",
        rgb_keys=first.rgb_keys[:9],
        aux_keys=first.aux_keys[:9],
        boxes_xywh=first.boxes_xywh[:9],
        visible=first.visible[:9],
    )
    dark = dataclasses.replace(second, name="dark", rgb_keys=(*second.rgb_keys[:4], "gone.jpg", *second.rgb_keys[5:]))
    make = partial(make_debug, checkpoint, "rgbt")
    items, failed = [short, first, dark, second], {}
    for batch in (1, 4):
        job = Job(make, tmp_path / f"{batch}", "x", parse_drops(["both:0.3"], 0)[0], batch=batch)
        failed[batch] = run_sequences(items, job, workers if batch > 1 else 1)
    assert failed[1] == failed[4] and list(failed[1]) == ["dark"] and "gone.jpg" in failed[1]["dark"]
    for sequence in (first, short, second):
        one, many = (read_boxes(tmp_path / batch / f"{sequence.name}.txt") for batch in "14")
        assert len(many) == len(sequence) and len(np.unique(one, axis=0)) > 3
        np.testing.assert_allclose(many, one, atol=0.01)
        one, many = (read_numbers(tmp_path / batch / f"{sequence.name}_score.txt") for batch in "14")
        np.testing.assert_allclose(many, one, atol=1e-4)
        assert (one == 0).any()  # frames that show nothing
        assert np.isfinite(read_numbers(tmp_path / "4" / f"{sequence.name}_time.txt")).all()


def test_a_batch_runs_the_network_once_for_all_sequences(tmp_path, sequences, checkpoint):
    tracker, sizes = make_debug(checkpoint, "rgbt", ""), []
    tracker.model.register_forward_pre_hook(lambda model, inputs: sizes.append(len(inputs[1].rgb)))
    assert run_sequences(sequences["LasHeR"], Job(lambda device: tracker, tmp_path, "x", batch=2)) == {}
    first, second = sorted(map(len, sequences["LasHeR"]))
    assert sizes == [2] * (first - 1) + [1] * (second - first)


def test_a_tracker_that_cannot_batch_is_refused_before_tracking(tmp_path, sequences, checkpoint):
    built = build_tracker(Request("static"))
    with pytest.raises(ValueError, match="--batch_sequences 2: StaticTracker tracks one sequence at a time"):
        track_datasets(built, {"LasHeR": sequences["LasHeR"]}, lambda name, drop: tmp_path / name, batch=2)
    assert not list(tmp_path.iterdir())
    check_batch(make_debug(checkpoint, "rgbt", ""), 2)


class Waiting(StaticTracker):
    """Ends a step only when the next frame was asked for."""

    def __init__(self):
        self.asked = threading.Semaphore(0)

    def track(self, frame):
        assert self.asked.acquire(timeout=10), "the next frame is not read while this one is tracked"
        return super().track(frame)


def test_the_next_frame_is_read_while_this_one_is_tracked(tmp_path, sequences):
    sequence, tracker = sequences["LasHeR"][0], Waiting()

    class Watched:
        """The store of the sequence; tells the tracker of every image after the second frame."""

        name = "watched"

        def read(self, key):
            if key in sequence.rgb_keys[2:]:
                tracker.asked.release()
            return sequence.store.read(key)

    tracker.asked.release()  # no frame follows the last one
    watched = dataclasses.replace(sequence, store=Watched())
    assert run_sequences([watched], static_job(tmp_path, make_tracker=lambda device: tracker)) == {}


def test_groups_are_alike_in_length_and_contain_every_sequence_once(sequences):
    items = [item for found in sequences.values() for item in found]
    assert make_groups(items, 1) == [[item] for item in items]
    groups = make_groups(items, 4)
    lengths = [len(item) for group in groups for item in group]
    assert lengths == sorted(lengths, reverse=True) and [len(group) for group in groups] == [4, 2]
    assert {id(item) for group in groups for item in group} == {id(item) for item in items}


def test_the_default_number_of_workers_follows_the_machine_and_the_work(monkeypatch):
    for cores, frames, gpus, batch, expected in (
        (64, [1000] * 100, 0, 1, 16),  # no more memory than most machines have
        (8, [1000] * 100, 0, 1, 8),
        (8, [1000] * 100, 1, 1, 4),
        (8, [1000] * 20, 1, 8, 2),
        (8, [WORKER_FRAMES - 1], 0, 1, 1),  # not worth a process
        (8, [3 * WORKER_FRAMES, 5], 0, 1, 2),
        (8, [], 0, 1, 1),
    ):
        monkeypatch.setattr("lib.running.runner.available_cores", lambda cores=cores: cores)
        assert default_workers([range(count) for count in frames], gpus, batch) == expected


class CountsThreads(StaticTracker):
    def track(self, frame):
        return Prediction(super().track(frame).box_xywh, 1 / torch.get_num_threads())


def make_counts_threads(device: str) -> CountsThreads:
    return CountsThreads()


def test_a_worker_uses_one_thread_of_the_processor(tmp_path, sequences, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_sequences(sequences["LasHeR"], static_job(tmp_path, make_tracker=make_counts_threads), workers=2)
    assert set(read_numbers(tmp_path / f"{sequences['LasHeR'][0].name}_score.txt")) == {1}


def make_killed(device: str):
    return Killed()


class Killed(StaticTracker):
    """A worker that the system kills, as it does when memory runs out."""

    def track(self, frame):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)


def test_parts_of_a_data_set_add_up_in_one_folder(tmp_path, sequences):
    items = [*sequences["LasHeR"], *sequences["DepthTrack"], *sequences["VisEvent"][:1]]
    assert [[items.index(item) for item in Shard(i, 3).pick(items)] for i in (1, 2, 3)] == [[0, 3], [1, 4], [2]]
    for number in (3, 1):
        assert run_sequences(items, static_job(tmp_path), shard=Shard(number, 3)) == {}
    assert set(json.loads((tmp_path / "run.json").read_text())) == {items[i].name for i in (0, 2, 3)}
    Counting.started = 0
    assert run_sequences(items, static_job(tmp_path, make_tracker=make_counting)) == {} and Counting.started == 2
    assert set(json.loads((tmp_path / "run.json").read_text())) == {item.name for item in items}
    assert run_sequences(items, static_job(tmp_path / "few"), shard=Shard(7, 9)) == {}  # this part is empty


@pytest.mark.parametrize("text", ["0/2", "3/2", "-1/2", "1/0", "1", "a/b", "1/2/3", "", "1.5/2"])
def test_a_wrong_part_is_refused(text):
    with pytest.raises(ValueError, match=f"--shard {text}: expected I/N with 1 <= I <= N"):
        Shard.parse(text)
    assert Shard.parse("2/3") == (2, 3)


def test_two_runs_of_the_same_sequences_are_refused_and_two_parts_are_not(tmp_path, sequences):
    code = (
        "import sys, time; from pathlib import Path; from lib.running.runner import Shard, locked_results\n"
        "with locked_results(Path(sys.argv[1]), Shard.parse(sys.argv[2])): print('held', flush=True); time.sleep(600)"
    )
    items, environment = sequences["LasHeR"], {**os.environ, "PYTHONPATH": str(ROOT)}
    for held, refused, allowed in (("1/2", ("1/2", "1/1"), ("2/2",)), ("1/1", ("1/1", "1/2"), ())):
        command = [sys.executable, "-c", code, tmp_path / "results", held]
        with started(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == "held\n"
            for shard in map(Shard.parse, refused):
                with pytest.raises(ValueError, match=f"results: process {process.pid} on .* is at work here"):
                    run_sequences(items, static_job(tmp_path / "results"), shard=shard)
            for shard in map(Shard.parse, allowed):
                assert run_sequences(items, static_job(tmp_path / "results"), shard=shard) == {}
    assert run_sequences(items, static_job(tmp_path / "results")) == {}


def test_a_folder_that_cannot_be_written_is_named_before_tracking(tmp_path, sequences):
    (tmp_path / "file").write_text("")
    Counting.started = 0
    with pytest.raises(OSError, match="file"):
        run_sequences(sequences["LasHeR"], static_job(tmp_path / "file" / "x", make_tracker=make_counting))
    assert Counting.started == 0


def test_gpus_that_do_not_exist_are_refused():
    check_gpus(torch.cuda.device_count())
    with pytest.raises(ValueError, match="--num_gpus 99: torch finds . GPUs on this machine"):
        check_gpus(99)


def test_a_killed_worker_is_reported_and_does_not_hang(tmp_path, sequences):
    items = sequences["LasHeR"]
    failed = run_sequences(items, static_job(tmp_path, make_tracker=make_killed), workers=2)
    assert set(failed) == {s.name for s in items}
    assert all("a worker process died" in reason for reason in failed.values())


@pytest.mark.parametrize("mode", ["pictures", "video"])
def test_debug_draws_every_tracked_frame(tmp_path, sequences, checkpoint, mode):
    sequence = sequences["DepthTrack"][0]
    cfg = load_config("transcmd", "debug")
    job = Job(lambda device: make_transcmd(cfg, checkpoint, "cpu", "rgbd", device), tmp_path, "x", debug=mode)
    assert run_sequences([sequence], job) == {}
    if mode == "pictures":
        files = sorted((tmp_path / "debug" / sequence.name).iterdir())
        assert [f.name for f in files] == [f"{i:05d}.jpg" for i in range(1, len(sequence))]
        assert cv2.imread(str(files[0])).shape == (240, 240 + 2 * 320, 3)
    else:
        video = cv2.VideoCapture(str(tmp_path / "debug" / f"{sequence.name}.mp4"))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(sequence) - 1


def test_boxes_are_drawn_at_the_correct_position():
    frame = Frame(np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320, 3), np.uint8))
    picture = draw_frame(frame, np.array([100, 60, 50, 40]), np.array([200, 150, 30, 30]), "")
    assert picture.shape == (240, 640, 3)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 120)
    green = (picture[..., 1] > 150) & (picture[..., 0] < 120)
    for offset in (0, 320):  # in both modalities
        ys, xs = np.nonzero(red[:, offset : offset + 320])
        assert abs(xs.min() - 100) <= 2 and abs(xs.max() - 150) <= 2 and abs(ys.min() - 60) <= 2
        ys, xs = np.nonzero(green[:, offset : offset + 320])
        assert abs(xs.min() - 200) <= 2 and abs(ys.max() - 180) <= 2


def test_every_path_among_the_arguments_is_part_of_the_fingerprint(monkeypatch, tmp_path):
    """Also one that the row's `files` leave out."""
    (tmp_path / "net.bin").write_bytes(b"weights")
    arguments = {"NET": tmp_path / "net.bin", "CACHE": Path("cache")}
    entry = TrackerEntry(StaticTracker, arguments, files=lambda own: [own["NET"]])
    monkeypatch.setitem(TRACKERS, "other", entry)
    first, second = (
        build_tracker(Request("other", settings=(f"TRACKER.CACHE={tmp_path / name}",))).fingerprint for name in "ab"
    )
    assert first != second


@pytest.mark.parametrize("setting", ["TRACKER", "TRACKER=1", " TRACKER.X =1"])
def test_a_setting_of_the_tracker_without_a_known_name_is_refused(setting):
    with pytest.raises(ConfigError, match="--set"):
        build_tracker(Request("static", settings=(setting,)))


def test_nanotrack_needs_its_target_first(shared):
    request = Request("nanotrack", settings=(f"TRACKER.WEIGHTS={shared / 'peers/nanotrackv2'}",))
    tracker = build_tracker(request).make("rgbt", "cpu")
    with pytest.raises(ValueError, match="before initialize"):
        tracker.track(Frame(*np.zeros((2, 40, 40, 3), np.uint8)))
