"""Calibrated scores, loss and return of the target, and the file beside the weights."""

import json

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.data.crop import CropSpec
from lib.models.build import build_model
from lib.running.calibrate import calibrate_checkpoint, check_calibration
from lib.structures import Frame, TrackOutput
from lib.tracker.build import Request, build_tracker, file_hash
from lib.tracker.confidence import (
    FOUND,
    LOST,
    PATIENCE,
    STEPS,
    Watch,
    calibrate,
    calibration_path,
    fit_temperature,
    read_temperature,
    write_calibration,
)
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.paths import PRETRAINED


def test_a_temperature_is_found_again():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.01, 0.99, 20000)
    for temperature in (0.4, 1.0, 2.5):
        hits = rng.random(len(scores)) < calibrate(scores, temperature)
        assert fit_temperature(scores, hits) == pytest.approx(temperature, rel=0.05)
    assert calibrate(0.3, 1.0) == pytest.approx(0.3) and np.isfinite(calibrate(np.array([0.0, 1.0]), 0.1)).all()


@pytest.mark.parametrize(("count", "right"), [(49, 20), (100, 0), (100, 100)])
def test_too_little_to_fit_a_temperature_is_refused(count, right):
    with pytest.raises(ValueError, match=f"{right} of {count} boxes are right; expected at least 50 boxes, some right"):
        fit_temperature(np.full(count, 0.5), np.arange(count) < right)


def test_loss_and_return_have_a_hysteresis():
    watch = Watch()
    between = (LOST + FOUND) / 2
    low = LOST / 2
    for score in (*[low] * (PATIENCE - 1), between, *[low] * (PATIENCE - 1)):
        watch.update(score)
        assert not watch.lost and watch.widening == 1
    watch.update(low)
    assert watch.lost and watch.widening > 1
    sizes = []
    for _ in range(20):
        watch.update(between)  # not enough to be found again
        assert watch.lost and not watch.believed
        sizes.append(watch.widening)
    around = sizes[: STEPS - 1]  # it grows to three times the side, and starts again
    assert around[:4] == sorted(around[:4]) and around[3] == pytest.approx(3, rel=0.02) and around[4] == 1
    assert sizes[STEPS : 2 * STEPS] == sizes[:STEPS]
    before = watch.widening
    watch.update(0)  # nothing to see, nothing searched
    assert watch.lost and watch.widening == before
    watch.update(FOUND)
    assert not watch.lost and watch.widening == 1 and watch.believed
    assert watch.update(0) == 0  # nothing to see


class Spot(torch.nn.Module):
    """Stands for a network: sees the red spot of the search crop with a score of 0.9; without one, 0.07 in a corner."""

    def forward(self, template, search, modality, template_box=None):
        red = (search.rgb[0, 0].float() - search.rgb[0, 1].float()) > 100
        size, score = search.rgb.shape[-1], torch.full((1, 1, 8, 8), 0.05)
        center, extent = torch.tensor([0.95, 0.95]), torch.tensor([0.2, 0.2])
        if red.any():
            ys, xs = torch.nonzero(red, as_tuple=True)
            low, high = torch.stack([xs.min(), ys.min()]) / size, (torch.stack([xs.max(), ys.max()]) + 1) / size
            center, extent = (low + high) / 2, high - low
        cell = (center * 8).long().clamp(max=7)
        score[0, 0, cell[1], cell[0]] = 0.9 if red.any() else 0.07
        offset = (center * 8 - cell).view(1, 2, 1, 1).expand(1, 2, 8, 8)
        return TrackOutput(score, extent.view(1, 2, 1, 1).expand(1, 2, 8, 8), offset, None, {}, {})


def spot(x: int | None, y: int = 0) -> Frame:
    """A picture with a red spot of 30 pixels at x, y, or with none."""
    image = np.random.default_rng(0).integers(0, 60, (600, 800, 3), np.uint8)
    if x is not None:
        image[y : y + 30, x : x + 30] = (255, 0, 0)
    return Frame(image, image.copy())


def make(watched: bool) -> TransCMDTracker:
    tracker = TransCMDTracker(Spot(), CropSpec(64, 2.0), CropSpec(128, 4.0), "rgbt", torch.device("cpu"))
    if watched:
        tracker.watch_target(1.0)
    tracker.initialize(spot(300, 300), np.array([300.0, 300, 30, 30]))
    return tracker


def test_a_lost_target_that_comes_back_elsewhere_is_found():
    """It hides for 12 frames and returns beyond the crop of a tracker that does not search."""
    watched, plain = make(True), make(False)
    for tracker in (watched, plain):
        tracker.track(spot(304, 300))
        for _ in range(12):
            tracker.track(spot(None))
    assert watched.watch.lost and np.abs(watched.box_xywh - [304, 300, 30, 30]).max() < 4  # where it was last seen
    for _ in range(3):
        found, other = watched.track(spot(420, 330)), plain.track(spot(420, 330))
    assert np.abs(found.box_xywh - [420, 330, 30, 30]).max() < 4 and found.score > FOUND and not watched.watch.lost
    assert np.abs(other.box_xywh - [420, 330, 30, 30]).max() > 50
    watched.initialize(spot(300, 300), np.array([300.0, 300, 30, 30]))
    fork = watched.fork()
    assert fork.watch is not watched.watch and plain.watch is None


class TwoPeaks(torch.nn.Module):
    """The highest score is in a corner; the window prefers the lower one in the middle."""

    def forward(self, template, search, modality, template_box=None):
        score = torch.full((1, 1, 8, 8), 0.1)
        score[0, 0, 0, 0], score[0, 0, 4, 4] = 0.8, 0.6
        maps = torch.full((1, 2, 8, 8), 0.25), torch.zeros(1, 2, 8, 8)
        return TrackOutput(score, *maps, None, {}, {})


def test_the_score_is_the_largest_of_the_map_and_the_box_that_of_the_windowed_peak():
    tracker = TransCMDTracker(TwoPeaks(), CropSpec(64, 2.0), CropSpec(128, 4.0), "rgbt", torch.device("cpu"))
    tracker.initialize(spot(300, 300), np.array([300.0, 300, 30, 30]))
    box, score = tracker.track(spot(300, 300))
    assert score == pytest.approx(0.8)
    np.testing.assert_allclose(box[:2] + box[2:] / 2, [315, 315], atol=2)


# beside the weights


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "debug.pth.tar"
    torch.save({"net": build_model(load_config("transcmd", "debug")).state_dict()}, path)
    return path


def build(checkpoint, *settings):
    return build_tracker(Request("transcmd", "debug", settings, checkpoint))


def test_only_a_tracker_that_is_asked_to_search_uses_the_calibration(checkpoint):
    plain = build(checkpoint).fingerprint
    before = build(checkpoint, "TRACKER.REDETECT=true")
    write_calibration(checkpoint, file_hash(checkpoint), 2.0, "LasHeR_val")
    after = build(checkpoint, "TRACKER.REDETECT=true")
    assert build(checkpoint).fingerprint == plain and build(checkpoint).make("rgbt", "cpu").watch is None
    assert len({plain, before.fingerprint, after.fingerprint}) == 3
    assert [one.make("rgbt", "cpu").watch.temperature for one in (before, after)] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a calibration"),
        ('{"temperature": 2}', "not a calibration"),
        ('{"temperature": -1, "sha256": "x"}', "expected a finite number above 0"),
        ('{"temperature": NaN, "sha256": "x"}', "expected a finite number above 0"),
        ('{"temperature": 2, "sha256": "other"}', "belongs to other weights, sha256 other"),
    ],
)
def test_a_wrong_calibration_is_named(checkpoint, text, message):
    calibration_path(checkpoint).write_text(text)
    with pytest.raises(ValueError, match=rf"debug.pth.tar.calibration.json: .*{message}"):
        read_temperature(checkpoint, file_hash(checkpoint))


def test_calibration_is_for_validation_data_and_raw_scores():
    check_calibration(["LasHeR_val", "DepthTrack_val"], raw=True)
    with pytest.raises(ValueError, match="--calibrate: LasHeR: expected validation data"):
        check_calibration(["LasHeR", "DepthTrack_val"], raw=True)
    with pytest.raises(ValueError, match="--calibrate needs the raw scores"):
        check_calibration(["LasHeR_val"], raw=False)


class Video:
    """A sequence of 60 frames, the target is visible in all but the last ten."""

    name, first_visible = "a", 0
    boxes_xywh = np.tile([10.0, 10, 20, 20], (60, 1))
    visible = np.arange(60) < 50


def test_the_temperature_comes_from_results_and_annotation(checkpoint, tmp_path):
    rng, boxes = np.random.default_rng(0), Video.boxes_xywh.copy()
    boxes[30:50] += 100
    scores = rng.uniform(0.6, 0.9, 60)
    np.savetxt(tmp_path / "a.txt", boxes, delimiter="\t")
    np.savetxt(tmp_path / "a_score.txt", scores)
    path, temperature = calibrate_checkpoint(checkpoint, {"LasHeR_val": [Video()]}, lambda name: tmp_path)
    right = (np.arange(60) < 30)[1:]  # frames with another box, or without target, are wrong
    assert temperature == fit_temperature(scores[1:], right) > 1  # the scores are too high
    assert json.loads(path.read_text())["data"] == "LasHeR_val (1)"
    assert read_temperature(checkpoint, file_hash(checkpoint)) == temperature


def test_the_command_calibrates_on_validation_data_only(run_command, checkpoint):
    done = run_command(
        "test.py", "transcmd", "debug", "--dataset_name", "LasHeR", "--checkpoint", checkpoint, "--calibrate"
    )
    assert done.returncode == 1 and "--calibrate: LasHeR: expected validation data" in done.stderr
    assert not calibration_path(checkpoint).exists()


def test_the_command_tracks_in_batches_and_says_what_calibration_lacks(run_command, tmp_path):
    """The validation part of the small set has too few frames for a temperature."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((PRETRAINED / "nano.safetensors").read_bytes())
    names = ("LasHeR_val", "DepthTrack_val", "VisEvent_val")
    options = ("--checkpoint", weights, "--batch_sequences", 2, "--calibrate", "--name", "x")
    done = run_command("test.py", "transcmd", "nano", "--dataset_name", *names, *options)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: calibration: "), done.stderr
    assert "expected at least 50 boxes" in done.stderr and not calibration_path(weights).exists()
    assert len(list((tmp_path / "output/test/tracking_results/transcmd/x").rglob("*_score.txt"))) >= 3
