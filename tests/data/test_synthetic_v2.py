"""Version 2 of the synthetic data: sequences drawn from textures on request."""

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.loader import load_config
from lib.data.augment import Augmentation
from lib.data.crop import CropSpec, crop_pair
from lib.data.datasets import load_dataset
from lib.data.datasets.synthetic import TEST_STILLS, is_excluded, list_textures
from lib.data.fingerprint import find_textures, fingerprint
from lib.data.loader import cache_settings
from lib.data.processing import Processing
from lib.data.sampler import PairSampler, SampleKey
from lib.data.storage import DiskStore
from lib.data.synthetic.v2 import DrawnSequence, Textures
from lib.data.synthetic.v2 import textures as textures_module
from lib.data.synthetic.v2.render import WHOLE, View, draw
from lib.data.synthetic.v2.scene import FRAMES, HEIGHT, WIDTH
from lib.data.synthetic.v2.sensors import depth_picture
from lib.data.synthetic.v2.sequence import draw_raw
from lib.results.raw import read_boxes
from lib.running.group import Job
from lib.running.run import track_datasets
from lib.running.runner import run_sequences
from lib.tracker.baselines import StaticTracker
from lib.tracker.build import Request, build_tracker
from tests.processes import ROOT, run

PICTURES = 20


def write_textures(root: Path) -> Path:
    """Writes tiny textures: cut-outs and photographs of smooth noise, and stills, some of which are excluded."""
    rng = np.random.default_rng(0)

    def noise(height: int, width: int, channels: int) -> np.ndarray:
        small = rng.integers(0, 256, (6, 8, channels), dtype=np.uint8)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)

    for folder in ("cutouts", "backgrounds", "stills/RoadScene/vi", "stills/RoadScene/ir"):
        (root / folder).mkdir(parents=True)
    for number in range(PICTURES):
        alpha = np.zeros((40, 60), np.uint8)
        cv2.ellipse(alpha, (30, 20), (28, 18), 0, 0, 360, 255, -1)
        cv2.imwrite(str(root / f"cutouts/thing{number:02d}.png"), np.dstack([noise(40, 60, 3), alpha]))
        cv2.imwrite(str(root / f"backgrounds/thing{number:02d}.jpg"), noise(120, 160, 3))
    for number in (*range(1000, 2000, 100), 211, 241, 6562):
        for side in ("vi", "ir"):
            cv2.imwrite(str(root / f"stills/RoadScene/{side}/FLIR_{number:05d}.jpg"), noise(100, 150, 3))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_textures(tmp_path_factory.mktemp("textures") / "all")


@pytest.fixture(scope="module")
def textures(folder) -> Textures:
    store = DiskStore(folder)
    return Textures(store, list_textures(store, "train"))


def test_a_frame_depends_on_the_numbers_of_its_sequence_alone(textures):
    for index in range(6):
        first = DrawnSequence(textures, 0, index)
        frames = [first.frame(t) for t in (3, 50)]
        copy = pickle.loads(pickle.dumps(DrawnSequence(textures, 0, index)))
        DrawnSequence(textures, 0, index + 1).frame(9)
        for frame, t in zip(reversed(frames), (50, 3), strict=True):
            again = copy.frame(t)
            np.testing.assert_array_equal(frame.rgb, again.rgb)
            np.testing.assert_array_equal(frame.aux, again.aux)
        np.testing.assert_array_equal(first.boxes_xywh, copy.boxes_xywh)
        assert not np.array_equal(frames[0].rgb, DrawnSequence(textures, 1, index).frame(3).rgb)


def test_frames_and_boxes_are_what_a_data_set_promises(textures):
    for index in range(30):
        sequence = DrawnSequence(textures, 0, index)
        boxes = sequence.boxes_xywh
        assert len(sequence) == FRAMES and sequence.modality == ("rgbt", "rgbd", "rgbe")[index % 3]
        assert boxes.shape == (FRAMES, 4) and sequence.visible.all()
        assert (boxes[:, 2:] > 3).all() and (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= (WIDTH + 1e-9, HEIGHT + 1e-9)).all()
    frame = sequence.frame(0)
    assert frame.rgb.shape == frame.aux.shape == (HEIGHT, WIDTH, 3) and frame.rgb.dtype == frame.aux.dtype == np.uint8
    every_tenth = sequence.every_nth(10)
    np.testing.assert_array_equal(every_tenth.boxes_xywh, boxes[::10])
    np.testing.assert_array_equal(every_tenth.frame(2).rgb, sequence.frame(20).rgb)


@pytest.mark.parametrize("index", range(1, 60, 4))
def test_the_box_encloses_the_target(textures, index):
    scene = DrawnSequence(textures, 0, index).scene
    row = slice(scene.target, scene.target + 1)
    shown = np.zeros(len(scene.layers.things), bool)
    hidden = scene.layers._replace(paint_rgb=shown, paint_aux=shown)
    shown = shown.copy()
    shown[row] = True
    white = np.zeros_like(scene.layers.colours)
    white[:, :, 3] = 1  # every colour becomes white; with 0, black
    sensor = {**scene.sensor, "exposure": 0.0}
    fault = scene.rgb_fault._replace(name="none")
    scene = replace(scene, sensor=sensor, rgb_fault=fault)
    alone = replace(scene, layers=hidden._replace(paint_rgb=shown, colours=white, blur=0 * scene.layers.blur))
    black = replace(scene, layers=alone.layers._replace(colours=0 * white))
    for t in (0, 33, 79):
        change = np.abs(draw(alone, t, WHOLE, False).rgb - draw(black, t, WHOLE, False).rgb).max(axis=-1)
        ys, xs = np.nonzero(change > 127)
        measured = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        x, y, w, h = scene.boxes_xywh(np.array([t]))[0]
        tolerance = 1.5 + 0.02 * max(w, h)  # thin tips fade in the feathered seam
        np.testing.assert_allclose(measured, [x, y, x + w, y + h], atol=tolerance)


@pytest.mark.parametrize("index", range(6))
def test_a_drawn_crop_shows_what_a_crop_of_the_frame_shows(textures, index):
    sequence = DrawnSequence(textures, 0, index)
    box = sequence.boxes_xywh[40]
    for size in (64, 400):  # coarser and finer than the frame
        drawn, crop = sequence.crop(40, box, CropSpec(size, 4.0))
        cut, expected = crop_pair(sequence.frame(40), box, CropSpec(size, 4.0))
        assert crop.scale == expected.scale and (crop.origin == expected.origin).all()
        smooth = [cv2.blur(image.astype(np.float32), (9, 9)) for image in (drawn.rgb, cut.rgb)]
        assert np.abs(smooth[0] - smooth[1]).mean() < 6
        black = [(image == 0).all(axis=-1).mean() for image in (drawn.aux, cut.aux)]
        assert abs(black[0] - black[1]) < 0.1


def test_a_third_of_the_targets_belongs_to_the_background(textures):
    scenes = [DrawnSequence(textures, 0, index).scene for index in range(150)]
    share = np.mean([scene.path is None for scene in scenes])
    assert 0.22 < share < 0.45
    assert all(scene.layers.paint_rgb[scene.target] == (scene.path is not None) for scene in scenes)
    crowd = [len(scene.layers.things) - 1 for scene in scenes]
    assert min(crowd) >= 8  # spread over 49 target areas, of which a search crop shows 16
    of_its_kind = [sum(t is s.layers.things[s.target] for t in s.layers.things) - 1 for s in scenes]
    assert np.mean(of_its_kind) > 2


def depth_scenes(textures, count: int) -> list:
    return [DrawnSequence(textures, 0, index).scene for index in range(1, 3 * count, 3)]


def test_an_empty_room_is_its_nearest_plane(textures):
    for scene in depth_scenes(textures, 12):
        nothing = np.zeros(len(scene.layers.things), bool)
        plain = scene.aux_map._replace(levels=np.ones(256, np.float32))
        empty = scene.layers._replace(paint_rgb=nothing, paint_aux=nothing)
        view = View(31, 47, 0.5, 90, 60)
        room = draw(replace(scene, layers=empty, aux_map=plain), 30, view).aux
        x, y = np.meshgrid(view.x + (np.arange(90) + 0.5) / 0.5, view.y + (np.arange(60) + 0.5) / 0.5)
        camera = scene.camera.at(30)
        u, v = (row[0] * x + row[1] * y + row[2] for row in camera)
        nearness = np.max([a * u + b * v + c for a, b, c in scene.aux_map.planes], axis=0)
        least, largest = 0.4 / scene.aux_map.level, 4 / scene.aux_map.level
        np.testing.assert_allclose(room, 1 / np.clip(nearness, least, largest), rtol=1e-4)


def test_depth_does_not_depend_on_the_part_that_is_drawn(textures):
    for scene in depth_scenes(textures, 8):
        whole = draw(scene, 30, WHOLE).aux
        part = draw(scene, 30, View(100, 80, 1, 200, 150)).aux
        error = np.abs(part / whole[80:230, 100:300] - 1)
        assert np.median(error) < 1e-3 and np.percentile(error, 95) < 0.02
        small = draw(scene, 30, View(100, 80, 0.5, 100, 75)).aux
        error = np.abs(small / cv2.resize(whole[80:230, 100:300], (100, 75), interpolation=cv2.INTER_AREA) - 1)
        assert np.median(error) < 0.02
        missing = draw_raw(scene, 30, WHOLE)[1][80:230, 100:300] == 0
        of_small = cv2.resize(np.float32(draw_raw(scene, 30, View(100, 80, 0.5, 100, 75))[1] == 0), (200, 150)) > 0.5
        large = cv2.morphologyEx(missing.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7))) > 0
        assert not large.any() or of_small[large].mean() > 0.8


def test_things_stand_on_what_is_at_their_foot_and_often_are_hardly_nearer(textures):
    spans, ratios = [], []
    for scene in depth_scenes(textures, 60):
        scene = replace(scene, aux_fault=scene.aux_fault._replace(name="none"))
        assert draw(scene, 30, WHOLE).aux.min() > 0
        nothing = np.zeros(len(scene.layers.things), bool)
        plain = scene.aux_map._replace(levels=np.ones(256, np.float32))
        room = draw(replace(scene, layers=scene.layers._replace(paint_aux=nothing), aux_map=plain), 30, WHOLE).aux
        spans.append(np.percentile(room, 95) / np.percentile(room, 5))
        x, y, w, h = scene.boxes_xywh(np.array([30]))[0]
        if scene.path is None or y + h > HEIGHT - 2 or scene.layers.bend[scene.target].any():
            continue
        target = nothing.copy()
        target[scene.target] = True
        aux = scene.layers.aux * [1, 0, 0]  # neither texture nor relief
        layers = scene.layers._replace(paint_aux=target, aux=aux)
        shown = draw(replace(scene, layers=layers, aux_map=plain), 30, WHOLE).aux
        level = scene.aux_levels(30, scene.places(np.array([30]))[0])[scene.target, 0]
        inside = shown[round(y) : round(y + h), round(x) : round(x + w)]
        assert np.abs(inside / level - 1).min() < 1e-3
        ratios.append(level / room[round(y + h) - 1, round(x + w / 2)])
        assert ratios[-1] == pytest.approx(scene.layers.aux[scene.target, 0], rel=0.03)
    assert len(ratios) > 15 and np.percentile(ratios, 10) < 0.75 and np.median(ratios) > 0.85
    assert min(spans) < 1.3 and np.median(spans) > 1.4


def test_what_hides_the_target_is_not_farther(textures):
    occluders = 0
    for scene in depth_scenes(textures, 60):
        for t in (5, 60):
            levels = scene.aux_levels(t, scene.places(np.array([t]))[0])[:, 0]
            assert (levels[scene.target :] <= levels[scene.target] * (1 + 1e-9)).all()
        occluders += len(levels) - 1 - scene.target if scene.path is not None else 0
    assert occluders


def test_the_limit_of_the_colours_changes_in_a_sequence(textures):
    depth = np.full((4, 4), 1500, np.uint16)
    changes = [
        len({depth_picture(scene, t, depth).tobytes() for t in range(0, FRAMES, 10)}) > 1
        for scene in depth_scenes(textures, 20)
    ]
    assert 0.3 < np.mean(changes) < 1


def test_the_index_changes_with_what_is_drawn_from_the_pictures(folder, textures, monkeypatch):
    monkeypatch.setattr(textures_module, "REVISION", 0)
    store = DiskStore(folder)
    assert Textures(store, list_textures(store, "train")).index != textures.index


def test_samples_in_a_cache_are_of_one_version_of_the_generator(monkeypatch):
    drawn, files = load_config("transcmd", "nano"), load_config("transcmd", "debug")
    before = [cache_settings(cfg) for cfg in (drawn, files)]
    monkeypatch.setattr("lib.data.loader.REVISION", 0)
    assert cache_settings(drawn) != before[0] and cache_settings(files) == before[1]


def test_the_two_sensors_never_fail_at_once(textures):
    for index in range(40):
        scene = DrawnSequence(textures, 0, index).scene
        for t in range(0, FRAMES, 5):
            strengths = [f.strength(t, f.name) for f in (scene.rgb_fault, scene.aux_fault)]
            assert min(strengths) == 0


def test_samples_are_drawn_by_the_sampler(textures):
    sequences = [DrawnSequence(textures, 0, index) for index in range(9)]
    processing = Processing(CropSpec(32, 2.0), CropSpec(64, 4.0, 3.0, 0.25), Augmentation(flip=0.5))
    sampler = PairSampler([sequences], [1.0], processing, 10, 40)
    sample = sampler[SampleKey(1, 3)]
    assert sample.search.rgb.shape == (3, 64, 64) and sample.template.aux.shape == (3, 32, 32)
    assert (sampler[SampleKey(1, 3)].search.aux == sample.search.aux).all()


def test_pictures_of_the_test_clips_are_excluded():
    assert set(TEST_STILLS) == {211, 4424, 4688, 4943, 5857, 5893, 6282, 6570}
    for number in TEST_STILLS:
        for near in (-30, 0, 30):
            assert is_excluded(f"stills/RoadScene/vi/FLIR_{number + near:05d}.jpg")
    assert not is_excluded("stills/RoadScene/vi/FLIR_00242.jpg") and not is_excluded("backgrounds/bsds_100007.jpg")
    for clips in ("LasHeR", "DepthTrack", "VisEvent"):
        assert is_excluded(f"real/{clips}/test/mug01/color/00000001.jpg")


def test_splits_share_no_picture_and_leave_the_test_clips_out(folder):
    train, val = (list_textures(DiskStore(folder), split) for split in ("train", "val"))
    for name in ("cutouts", "photographs", "stills"):
        assert not set(getattr(train, name)) & set(getattr(val, name))
    assert len(train.photographs) == 18 and len(val.photographs) == 2 and len(train.stills + val.stills) == 10
    names = [{Path(key).stem for key in keys.cutouts} for keys in (train, val)]
    assert names == [{Path(key).stem for key in keys.photographs} for keys in (train, val)]


def test_the_index_changes_with_names_and_contents_of_pictures(folder, textures, tmp_path):
    root = write_textures(tmp_path / "same")
    whole = load_dataset("Synthetic_train", DiskStore(root))
    assert find_textures(whole) == textures.index and find_textures([]) == ""
    before = fingerprint(whole)
    assert before == fingerprint(load_dataset("Synthetic_train", DiskStore(folder)))
    path = root / list_textures(DiskStore(root), "train").photographs[0]
    cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    other = load_dataset("Synthetic_train", DiskStore(root))
    assert find_textures(other) != textures.index and fingerprint(other) != before
    path.rename(path.with_name("another.jpg"))
    assert find_textures(load_dataset("Synthetic_train", DiskStore(root))) != find_textures(other)


def damage(root: Path, name: str, image=None, data: bytes = b"") -> None:
    """Replaces cut-outs or photographs by ones that cannot be used."""
    for path in (root / name).iterdir():
        if image is None:
            path.write_bytes(data)
        else:
            cv2.imwrite(str(path), image)


@pytest.mark.parametrize(
    "name, image, message",
    [
        ("cutouts", np.zeros((40, 60, 3), np.uint8), "cutouts/thing.*expected a cut-out with an alpha channel"),
        ("cutouts", np.zeros((40, 60, 4), np.uint8), "cutouts/thing.*0.0% of the cut-out is opaque"),
        ("cutouts", np.full((10, 60, 4), 255, np.uint8), "cutouts/thing.*60x10 pixels, expected a shorter side of"),
        ("backgrounds", np.zeros((20, 60, 3), np.uint8), "backgrounds/thing.*60x20 pixels, expected a shorter side of"),
        ("cutouts", None, "cutouts/thing.*cannot be decoded"),
        ("backgrounds", None, "backgrounds/thing.*image is empty or cut off"),
    ],
)
def test_bad_pictures_are_named_before_training(tmp_path, name, image, message):
    root = write_textures(tmp_path / "damaged")
    damage(root, name, image)
    with pytest.raises(ValueError, match=message):
        load_dataset("Synthetic_train", DiskStore(root))


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folders cutouts, textures/cutouts exists; found an empty folder"):
        load_dataset("Synthetic_train", DiskStore(tmp_path))
    for name in ("cutouts", "backgrounds"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="cutouts: no picture"):
        load_dataset("Synthetic_train", DiskStore(tmp_path))


def test_the_command_writes_short_sequences_of_version_2(folder, tmp_path):
    command = [sys.executable, "tracking/make_demo_data.py", "--version", "2", "--textures", str(folder)]
    sizes = "--train_sequences 1 --test_sequences 1 --train_frames 12 --test_frames 12 --workers 1".split()
    done = run([*command, "--output", str(tmp_path / "demo"), *sizes], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for name, modality in (("LasHeR", "rgbt"), ("DepthTrack", "rgbd"), ("VisEvent", "rgbe")):
        (sequence,) = load_dataset(name, DiskStore(tmp_path / "demo" / name))
        assert sequence.modality == modality and len(sequence) == 12 and sequence.visible.all()
        assert sequence.frame(5).aux.shape == (HEIGHT, WIDTH, 3)


def test_drones_lack_one_modality(tmp_path):
    for kind in ("ir", "visible"):
        for video in range(3):
            path = tmp_path / kind / f"bird_{video}"
            path.mkdir(parents=True)
            for number in (0, 24):
                cv2.imwrite(str(path / f"{number:06d}.jpg"), np.full((30, 40, 3), 90, np.uint8))
            (path / "boxes.csv").write_text("000000,3,4,10,9\n000024,nan,nan,nan,nan\n")
    train, val = (load_dataset(f"Drones_{split}", DiskStore(tmp_path)) for split in ("train", "val"))
    assert [s.name for s in val] == ["ir_bird_2", "visible_bird_2"] and len(train) == 4
    thermal, visible = val[0].frame(0), val[1].frame(0)
    assert thermal.rgb.max() == 0 and thermal.aux.min() > 80 and visible.aux.max() == 0 and visible.rgb.min() > 80
    assert val[0].visible.tolist() == [True, False]


def test_real_textures_make_sequences():
    """Needs the pictures that are not part of the repository; the held-out tenth is enough."""
    root = Path(os.environ.get("TRANSCMD_SHARED", ROOT.parent / "shared"))
    if not (root / "textures/cutouts").is_dir():
        pytest.skip(f"no textures in {root}; set TRANSCMD_SHARED")
    sequences = load_dataset("Synthetic_val", DiskStore(root))
    for sequence in sequences[:6]:
        frame = sequence.frame(10)
        assert frame.rgb.std() > 1 and frame.aux.std() > 1


def test_trackers_run_on_drawn_sequences(folder, textures, tmp_path):
    """tracking/test.py needs more of a sequence than training does: results are valid for one source."""
    still = load_dataset("Stills_val", DiskStore(folder))[0].every_nth(20)
    sequences = [*(DrawnSequence(textures, 0, index, range(0, FRAMES, 20)) for index in range(3)), still]
    made = []
    job = Job(lambda device: made.append(device) or StaticTracker(), tmp_path, "static")
    for trackers in (1, 0):  # the second run finds all results
        made.clear()
        assert run_sequences(sequences, job) == {} and len(made) == trackers
    for sequence in sequences:
        assert len(read_boxes(tmp_path / f"{sequence.name}.txt")) == 4
    store = DiskStore(folder)
    others = Textures(store, list_textures(store, "val"))
    sources = {sequence.source for sequence in (sequences[0], still, DrawnSequence(textures, 0, 0))}
    assert len(sources) == 3 and DrawnSequence(others, 0, 0, sequences[0].frames).source not in sources
    with pytest.raises(ValueError, match="Synthetic_val: its sequences are rgbd, rgbe, rgbt; a run tracks in one"):
        track_datasets(build_tracker(Request("static")), {"Synthetic_val": sequences}, lambda name, drop: tmp_path)
