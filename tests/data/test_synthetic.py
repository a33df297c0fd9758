"""Synthetic data are deterministic, have the published layouts, and need both modalities."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from lib.data.storage import SYNTHETIC
from lib.data.synthetic import (
    ATTRIBUTES,
    DATASETS,
    GENERATOR_VERSION,
    digest,
    make_scene,
    read_manifest,
    render_scene,
    sequence_name,
    write_datasets,
)
from lib.data.synthetic.preview import write_preview
from lib.data.synthetic.write import DrawingRenderer, Job, write_sequence
from lib.utils.boxes import iou_xywh
from lib.utils.files import parse_rows

SMALL = {"train_sequences": 2, "test_sequences": 2, "train_frames": 12, "test_frames": 16}
# If these values change, the data have changed: increase GENERATOR_VERSION and repeat the reported measurements.
SMALL_SHA256 = "5ffe92439db241cb8a080c101877f8b80d95f9c4be5c09aa50fc9a7168092107"
DEFAULT_STATIC_SR = {"LasHeR": 15.6, "DepthTrack": 11.6, "VisEvent": 10.2}
LI, HI, BC, TC, OV, TO, PO, NO = (ATTRIBUTES.index(name) for name in "LI HI BC TC OV TO PO NO".split())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_datasets(folder, seed=0, workers=2, **SMALL)
    return folder


@pytest.fixture(scope="module", params=DATASETS)
def sequences(request):
    """Eight rendered training sequences of 24 frames of one data set, each with and without the target."""
    scenes = [make_scene(request.param, 0, "train", index, 24) for index in range(8)]
    return [(s, render_scene(s), render_scene(dataclasses.replace(s, target_shown=False))) for s in scenes]


def numbers(path, columns=(4,)):
    return parse_rows(path.read_text(), str(path), columns)


def test_same_seed_same_pixels_other_seed_others():
    first, again, other = (render_scene(make_scene("LasHeR", seed, "train", 3, 12)) for seed in (5, 5, 6))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert digest("a", first) == digest("a", again) != digest("a", other)
    assert not np.array_equal(first.rgb, other.rgb)
    assert make_scene("LasHeR", 5, "train", 3, 12).name == sequence_name("LasHeR", 5, "train", 3)


def test_recorded_hash_holds_for_any_number_of_workers(root, tmp_path):
    assert read_manifest(root)["sha256"] == SMALL_SHA256
    assert write_datasets(tmp_path / "one", seed=0, workers=1, **SMALL)["sha256"] == SMALL_SHA256
    assert GENERATOR_VERSION == 1


@pytest.mark.parametrize("dataset", DATASETS)
def test_static_box_scores_8_to_20_on_the_default_test_set(dataset):
    scores = []
    for index in range(8):
        rendered = render_scene(make_scene(dataset, 0, "test", index, 60))
        overlap = iou_xywh(np.repeat(rendered.boxes_xywh[:1], 60, axis=0), rendered.boxes_xywh)
        scores.append(100 * np.mean([(overlap > t).mean() for t in np.linspace(0, 1, 21)]))
    assert 8 <= np.mean(scores) <= 20
    assert np.mean(scores) == pytest.approx(DEFAULT_STATIC_SR[dataset], abs=0.06)


def folders(root, dataset, train, test):
    """Returns the folder and the number of frames of each sequence."""
    parts = [
        (path, frames) for split, frames in ((train, 12), (test, 16)) for path in (root / dataset / split).iterdir()
    ]
    found = [(path, frames) for path, frames in parts if path.is_dir()]
    assert len(found) == 4
    return found


def check_attributes(root, dataset, folder, frames):
    per_frame = numbers(folder / "attributes.txt", (19,))
    overall = (root / dataset / "AttriSeqsTxt" / f"{folder.name}.txt").read_text()
    assert per_frame.shape == (frames, 19) and "\n" not in overall
    assert [int(flag) for flag in overall.split(",")] == per_frame.max(axis=0).astype(int).tolist()
    assert not (per_frame[:, [LI, HI, BC]].any(axis=1) & per_frame[:, TC].astype(bool)).any()


def test_lasher_layout(root):
    for folder, frames in folders(root, "LasHeR", "trainingset", "testingset"):
        visible, infrared = (sorted((folder / name).glob("*.jpg")) for name in ("visible", "infrared"))
        assert len(visible) == len(infrared) == frames
        assert cv2.imread(str(visible[0])).shape == cv2.imread(str(infrared[0])).shape == (180, 240, 3)
        boxes = numbers(folder / "visible.txt")
        assert boxes.shape == (frames, 4)
        assert (
            (folder / "init.txt").read_text()
            == (folder / "infrared.txt").read_text()
            == (folder / "visible.txt").read_text()
        )
        check_attributes(root, "LasHeR", folder, frames)


def test_depthtrack_layout(root):
    for folder, frames in folders(root, "DepthTrack", "train", "test"):
        names = [f"{number:08d}" for number in range(1, frames + 1)]
        assert sorted(path.name for path in (folder / "color").iterdir()) == [f"{name}.jpg" for name in names]
        assert sorted(path.name for path in (folder / "depth").iterdir()) == [f"{name}.png" for name in names]
        depth = cv2.imread(str(folder / "depth" / "00000001.png"), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16 and depth.shape == (180, 240) and 1000 < np.median(depth) < 6000
        assert numbers(folder / "groundtruth.txt").shape == (frames, 4)
        check_attributes(root, "DepthTrack", folder, frames)


def test_visevent_layout(root):
    for split in ("train", "test"):
        listed = (root / "VisEvent" / split / f"{split}list.txt").read_text().split()
        assert sorted(listed) == [path.name for path in sorted((root / "VisEvent" / split).iterdir()) if path.is_dir()]
    for folder, frames in folders(root, "VisEvent", "train", "test"):
        names = sorted(path.name for path in (folder / "vis_imgs").iterdir())
        assert names == sorted(path.name for path in (folder / "event_imgs").iterdir()) and len(names) == frames
        assert all(name[:5] == "frame" and name[9:] in (".bmp", ".png") for name in names)
        events = cv2.imread(str(folder / "event_imgs" / names[0]))[..., ::-1]
        assert {tuple(c) for c in events.reshape(-1, 3).tolist()} <= {(255, 255, 255), (255, 0, 0), (0, 0, 255)}
        present = numbers(folder / "absent_label.txt", (1,))[:, 0]
        np.testing.assert_array_equal(present == 1, numbers(folder / "groundtruth.txt")[:, 2] > 0)
        check_attributes(root, "VisEvent", folder, frames)


def test_layout_quirks_vary_and_absent_frames_are_marked(tmp_path):
    scene_with_absent = next(
        index for index in range(60) if not render_scene(make_scene("LasHeR", 0, "test", index, 40)).present.all()
    )
    sizes = {"train_sequences": 1, "test_sequences": scene_with_absent + 1, "train_frames": 12, "test_frames": 40}
    write_datasets(tmp_path, datasets=("LasHeR",), workers=2, **sizes)
    folder = tmp_path / "LasHeR" / "testingset" / sequence_name("LasHeR", 0, "test", scene_with_absent)
    boxes, flags = numbers(folder / "visible.txt"), numbers(folder / "attributes.txt", (19,))
    absent = (boxes == 0).all(axis=1)
    np.testing.assert_array_equal(absent, flags[:, [OV, TO]].any(axis=1))
    assert absent.any() and not absent[0]


def test_depthtrack_marks_absent_frames_by_nan_and_visevent_by_zeros(tmp_path):
    for dataset, mark in (("DepthTrack", "nan,nan,nan,nan"), ("VisEvent", "0,0,0,0")):
        index = next(i for i in range(60) if not render_scene(make_scene(dataset, 0, "test", i, 30)).present.all())
        job = Job(str(tmp_path), dataset, 0, "test", index, 30)
        write_sequence(job)
        present = render_scene(make_scene(dataset, 0, "test", index, 30)).present
        lines = (tmp_path / job.folder / "groundtruth.txt").read_text().splitlines()
        assert [line != mark for line in lines] == present.tolist()


def test_a_long_absence_is_as_long_as_asked_for_and_touches_test_sequences_alone(tmp_path):
    """The target leaves the image, is away for most of the interval in one piece, and comes back before the end."""
    sizes = {"train_sequences": 1, "test_sequences": 2, "train_frames": 12, "test_frames": 120}
    plain, long = (
        write_datasets(tmp_path / f"{n}", datasets=("DepthTrack",), workers=1, renderer=DrawingRenderer(n), **sizes)
        for n in (0, 40)
    )
    assert "absence" not in plain["arguments"] and long["arguments"]["absence"] == 40
    for index in range(2):
        name = sequence_name("DepthTrack", 0, "test", index)
        rows = (tmp_path / "40" / "DepthTrack" / "test" / name / "groundtruth.txt").read_text().splitlines()
        absent = np.array([row.startswith("nan") for row in rows])
        changes = np.flatnonzero(np.diff(absent))  # an occlusion may hide the target for a few frames more
        assert 30 <= np.diff(changes)[::2].max() <= 40 and not absent[0] and not absent[-1]
    same = [name for name in plain["sequences"] if plain["sequences"][name] == long["sequences"][name]]
    assert [name.split("/")[1] for name in same] == ["train"]
    with pytest.raises(ValueError, match="other"):
        write_datasets(tmp_path / "40", datasets=("DepthTrack",), workers=1, **sizes)


def visibility(shown, hidden, mask):
    """Returns the contrast of the target: the mean difference of its pixels with and without it."""
    difference = np.abs(shown.astype(np.float64) - hidden.astype(np.float64))
    return difference.reshape(*mask.shape, -1).mean(axis=-1)[mask].mean()


def test_each_modality_alone_shows_the_target_in_some_frames(sequences):
    contrast = {"good": [], "rgb lost": [], "aux lost": []}
    for _, shown, hidden in sequences:
        lost_rgb, lost_aux = shown.flags[:, [LI, HI, BC]].any(axis=1), shown.flags[:, TC].astype(bool)
        assert not (lost_rgb & lost_aux).any() and not lost_rgb[0] and not lost_aux[0] and shown.present[0]
        for t in np.flatnonzero(shown.masks.sum(axis=(1, 2)) > 100):
            kind = "rgb lost" if lost_rgb[t] else "aux lost" if lost_aux[t] else "good"
            pair = [
                visibility(a[t], b[t], shown.masks[t]) for a, b in ((shown.rgb, hidden.rgb), (shown.aux, hidden.aux))
            ]
            contrast[kind].append(pair)
    good, no_rgb, no_aux = (np.median(contrast[kind], axis=0) for kind in ("good", "rgb lost", "aux lost"))
    assert no_rgb[0] < 0.1 * good[0] and no_rgb[1] > 0.7 * good[1]
    assert no_aux[1] < 0.1 * good[1] and no_aux[0] > 0.7 * good[0]
    worst_rgb, worst_aux = np.max(contrast["rgb lost"], axis=0)[0], np.max(contrast["aux lost"], axis=0)[1]
    assert worst_rgb < 0.25 * good[0] and worst_aux < 0.25 * good[1]
    total = sum(map(len, contrast.values()))
    assert 0.12 < len(contrast["rgb lost"]) / total < 0.35 and 0.12 < len(contrast["aux lost"]) / total < 0.35


def test_boxes_are_tight_and_inside_and_flags_consistent(sequences):
    for _, rendered, _ in sequences:
        boxes = rendered.boxes_xywh[rendered.present]
        assert (
            (boxes[:, :2] >= 0).all()
            and (boxes[:, 0] + boxes[:, 2] <= 240).all()
            and (boxes[:, 1] + boxes[:, 3] <= 180).all()
        )
        assert (rendered.boxes_xywh[~rendered.present] == 0).all()
        occluded = rendered.flags[:, [PO, TO]].any(axis=1)
        assert (rendered.flags[:, NO] == (not occluded.any())).all()
        for t in np.flatnonzero(rendered.present & (rendered.flags[:, PO] == 0)):
            rows, columns = np.nonzero(rendered.masks[t])
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert iou_xywh(np.array(box), rendered.boxes_xywh[t]) > 0.7  # an occluder may hide a corner


def test_the_same_arguments_write_nothing_and_others_are_refused(root, tmp_path):
    before = (root / "manifest.json").stat().st_mtime_ns
    write_datasets(root, seed=0, **SMALL)
    assert (root / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="--force"):
        write_datasets(root, seed=1, **SMALL)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not empty"):
        write_datasets(tmp_path, force=True, **SMALL)


def test_synthetic_data_sets_are_marked_also_those_of_an_earlier_version(tmp_path):
    small = {"train_sequences": 1, "test_sequences": 1, "train_frames": 12, "test_frames": 12, "workers": 1}
    write_datasets(tmp_path, datasets=("LasHeR", "VisEvent"), **small)
    markers = [tmp_path / name / SYNTHETIC for name in ("LasHeR", "VisEvent")]
    assert all("make_demo_data.py" in marker.read_text() for marker in markers)
    markers[0].unlink()
    write_datasets(tmp_path, datasets=("LasHeR", "VisEvent"), **small)
    assert markers[0].is_file()
    write_datasets(tmp_path, datasets=("VisEvent",), force=True, **small)
    assert [marker.is_file() for marker in markers] == [False, True]


def test_force_and_interruption_remove_what_was_written_and_nothing_else(tmp_path, monkeypatch):
    small = {"train_sequences": 1, "test_sequences": 1, "train_frames": 12, "test_frames": 12, "workers": 1}
    root = tmp_path / "demo"
    write_datasets(root, datasets=("LasHeR",), **small)
    mine = root / "LasHeR" / "testingset" / "mine" / "visible.txt"
    mine.parent.mkdir()
    mine.write_text("keep")

    def stop(job):
        (root / job.folder).mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lib.data.synthetic.dataset.write_sequence", stop)
        write_datasets(root, seed=1, datasets=("LasHeR",), force=True, **small)
    assert not (root / "manifest.json").exists() and read_manifest(root) is None
    manifest = write_datasets(root, seed=2, datasets=("LasHeR",), **small)
    assert mine.read_text() == "keep"
    names = {path.name for path in (root / "LasHeR" / "trainingset").iterdir()}
    assert names == {sequence_name("LasHeR", 2, "train", 0)}
    assert manifest == json.loads((root / "manifest.json").read_text())
    assert not (root / "manifest.unfinished.json").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"datasets": ("GTOT",)}, "GTOT"),
        ({"seed": -1}, "negative"),
        ({"train_frames": 3}, "train_frames must be 12 to"),
        ({"test_sequences": 0}, "test_sequences must be 1 to"),
    ],
)
def test_bad_arguments_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write_datasets(tmp_path / "demo", **wrong)
    assert not (tmp_path / "demo").exists()


def test_preview_shows_both_modalities(tmp_path):
    write_preview(tmp_path / "sheet.png", datasets=("DepthTrack",), indices=range(1))
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (360, 2400, 3)
    with pytest.raises(OSError, match="sheet.unknown"):
        write_preview(tmp_path / "sheet.unknown", datasets=("LasHeR",), indices=range(1))
