"""Own data, described by DATA.CUSTOM alone: read, trained on, tracked and scored; every mistake is named."""

import json

import numpy as np
import pytest
import yaml

from lib.config.loader import ConfigError, load_config
from lib.data.datasets import build_dataset
from lib.data.doctor.examine import build_patients
from lib.data.loader import cache_settings
from tests.helpers import encode, numbered_depth, numbered_picture, pack, read_number, write_file
from tests.processes import run_tracking

BOX = (4, 3, 11, 12)
DRONES = {"MODALITY": "rgbt", "RGB": "rgb/*.jpg", "AUX": "ir/*.png", "BOXES": "boxes.csv", "FORMAT": "xywh"}


def video(folder, frames=4, boxes=None, aux="ir/{:03d}.png", start=7):
    for number in range(frames):
        write_file(folder / f"rgb/{start + number:03d}.jpg", encode(numbered_picture(number), ".jpg"))
        picture = numbered_depth(number) if aux.startswith("depth") else numbered_picture(number)
        write_file(folder / aux.format(start + number), encode(picture, aux[-4:]))
    rows = boxes or "".join(f"{4 + t},3,11,12\n" for t in range(frames))
    write_file(folder / "boxes.csv", rows)
    return folder


def config(root, entry=DRONES, *settings):
    path = root / "own.yaml"
    text = {"DATA": {"ROOT": str(root), "CUSTOM": {"Drone": {**DRONES, **entry}}}}
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    return load_config("transcmd", str(path), list(settings))


def read(root, name="Drone", entry=DRONES, *settings):
    return build_dataset(config(root, entry, *settings), name)


def test_own_data_are_read_from_a_folder_and_from_an_lmdb_file(tmp_path):
    video(tmp_path / "Drone/test/a")
    for root in (tmp_path / "Drone", pack(tmp_path / "Drone", tmp_path / "x.lmdb")):
        (sequence,) = read(tmp_path, "Drone", {"ROOT": str(root)})
        assert (sequence.name, sequence.modality, len(sequence)) == ("a", "rgbt", 4)
        assert [tuple(map(read_number, sequence.frame(t))) for t in range(4)] == [(t, t) for t in range(4)]
        assert sequence.boxes_xywh[2].tolist() == [6, 3, 11, 12] and sequence.visible.all()
        assert sequence.store.name == "Drone"


def test_depth_and_rgb_alone_are_read_too(tmp_path):
    video(tmp_path / "Drone/test/a", aux="depth/{:03d}.png")
    (sequence,) = read(tmp_path, "Drone", {"MODALITY": "rgbd", "AUX": "depth/*.png"})
    assert read_number(sequence.frame(3).aux) == 3
    (sequence,) = read(tmp_path, "Drone", {"MODALITY": "rgb", "AUX": ""})
    assert sequence.modality == "rgb" and read_number(sequence.frame(3).aux) == 3


def test_images_beside_the_annotation_are_told_apart_by_their_names(tmp_path):
    video(tmp_path / "Drone/a", aux="ir/{:03d}.png")
    for stream, suffix in (("rgb", "jpg"), ("ir", "png")):
        for path in (tmp_path / "Drone/a" / stream).iterdir():
            path.rename(tmp_path / "Drone/a" / f"{stream}_{path.stem}.{suffix}")
    (sequence,) = read(tmp_path, "Drone", {"RGB": "rgb_*.jpg", "AUX": "ir_*.png"})
    assert sequence.rgb_keys[0] == "a/rgb_007.jpg" and sequence.aux_keys[3] == "a/ir_010.png"


@pytest.mark.parametrize(
    ("form", "row"),
    [("xywh", "4,3,11,12"), ("xyxy", "4,3,15,15"), ("cxcywh", "9.5,9,11,12"), ("xyxy", "4\t3  15 15")],
)
@pytest.mark.parametrize("header", ["", "x,y,w,h\n", "left;top;right;bottom\n"])
def test_boxes_have_the_stated_format(tmp_path, form, row, header):
    video(tmp_path / "Drone/a", boxes=header + f"{row}\n" * 3 + "nan,nan,nan,nan\n")
    (sequence,) = read(tmp_path, "Drone", {"FORMAT": form})
    assert sequence.boxes_xywh[:3].tolist() == [list(BOX)] * 3
    assert sequence.visible.tolist() == [True, True, True, False]


def test_rows_may_name_their_image_and_may_be_missing(tmp_path):
    video(tmp_path / "Drone/a", boxes="frame,x1,y1,x2,y2\n10,4,3,15,15\n8,5,3,15,15\n")
    (sequence,) = read(tmp_path, "Drone", {"FORMAT": "xyxy"})
    assert sequence.visible.tolist() == [False, True, False, True]
    assert sequence.boxes_xywh[[1, 3], 0].tolist() == [5, 4] and np.isnan(sequence.boxes_xywh[0]).all()


def names(root, name):
    return [sequence.name for sequence in read(root, name)]


def test_splits_are_folders_or_parts_of_all_sequences(tmp_path, caplog):
    for index in range(10):
        video(tmp_path / f"Drone/v{index}", frames=2)
    train, val = names(tmp_path, "Drone_train"), names(tmp_path, "Drone_val")
    assert len(train) == 9 and len(val) == 1 and "has no folder test" not in caplog.text
    assert sorted(train + val) == names(tmp_path, "Drone") and "Drone: has no folder test; all 10" in caplog.text
    for index in range(3):
        video(tmp_path / f"Drone/train/t{index}", frames=2)
    video(tmp_path / "Drone/test/last", frames=2)
    assert names(tmp_path, "Drone") == ["last"]
    assert sorted(names(tmp_path, "Drone_train") + names(tmp_path, "Drone_val")) == ["t0", "t1", "t2"]
    video(tmp_path / "Drone/val/held", frames=2)
    assert names(tmp_path, "Drone_train") == ["t0", "t1", "t2"] and names(tmp_path, "Drone_val") == ["held"]


# mistakes


@pytest.mark.parametrize(
    ("entry", "boxes", "problem"),
    [
        (
            {"RGB": "rgb/*.png"},
            None,
            r"Drone/a/rgb: no image matches RGB 'rgb/\*.png', found 007.jpg, .*CUSTOM.Drone.RGB",
        ),
        ({"AUX": "thermal/*.png"}, None, r"Drone/a/thermal: no such folder, from AUX .*set DATA.CUSTOM.Drone.AUX"),
        ({"AUX": "ir/00*.png"}, None, "Drone/a: 4 RGB images but 3 auxiliary images"),
        ({}, "1,2,3,4\n" * 3, "Drone/a/boxes.csv: 3 boxes for 4 images; write one row per image, or five columns"),
        ({}, "x,y,w,h\n1,2,3,4\n1,2,x,4\n", "Drone/a/boxes.csv, line 3: 'x' is not a number"),
        ({}, "1,2,3\n", "Drone/a/boxes.csv, line 1: expected 4 or 5 numbers, got 3"),
        ({}, "7,1,2,3,4\n99,1,2,3,4\n", "1 rows name images that do not exist: 99; .*e.g. 7 for a/rgb/007.jpg"),
        ({}, "7,1,2,3,4\n7,1,2,3,4\n", "two rows have the same number"),
        ({"BOXES": "gt.txt"}, None, "Drone: no sequence for split 'test', a folder that contains gt.txt; found 0 "),
    ],
)
def test_mistakes_in_the_data_are_named(tmp_path, entry, boxes, problem):
    video(tmp_path / "Drone/a", boxes=boxes)
    if entry.get("AUX") == "ir/00*.png":
        (tmp_path / "Drone/a/ir/010.png").rename(tmp_path / "Drone/a/ir/x10.png")
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        read(tmp_path, "Drone", entry)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"MODALITY": "rgbx"}, "DATA.CUSTOM.Drone.MODALITY: 'rgbx' is not a choice; choices: rgb, rgbt, rgbd, rgbe"),
        ({"FORMAT": "ltrb"}, "DATA.CUSTOM.Drone.FORMAT: 'ltrb' is not a choice; choices: xywh, xyxy, cxcywh"),
        ({"AUX": ""}, "DATA.CUSTOM.Drone: MODALITY rgbt needs AUX, the pattern of the auxiliary images, got AUX ''"),
        ({"MODALITY": "rgb"}, "DATA.CUSTOM.Drone: MODALITY rgb needs no AUX, got AUX 'ir/*.png'"),
        ({"RGB": "*/x.jpg"}, "DATA.CUSTOM.Drone.RGB: expected a path in the folder of a sequence"),
        ({"RGB": "../x/*.jpg"}, "DATA.CUSTOM.Drone.RGB: expected a path in the folder of a sequence"),
        ({"BOXES": "*.csv"}, "DATA.CUSTOM.Drone.BOXES: expected a path in the folder of a sequence, e.g. boxes.csv"),
        ({"BOX": "a"}, "unknown key DATA.CUSTOM.Drone.BOX; did you mean BOXES? known: ROOT, MODALITY"),
        ({"RGB": 3}, "DATA.CUSTOM.Drone.RGB: expected str, got int 3"),
    ],
)
def test_mistakes_in_the_configuration_are_named(tmp_path, entry, problem):
    with pytest.raises(ConfigError) as error:
        config(tmp_path, entry)
    assert problem in str(error.value) and "own.yaml: " in str(error.value)


def test_an_entry_may_be_given_by_set_and_its_root_is_relative_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["DATA.CUSTOM.Drone.ROOT=own", "DATA.CUSTOM.Drone.AUX=ir/*.png"]
    cfg = load_config("transcmd", "debug", settings)
    assert cfg.DATA.CUSTOM.Drone == {**DRONES, "ROOT": str(tmp_path / "own"), "TIMES": ""}
    with pytest.raises(ConfigError, match="DATA.CUSTOM.Drone: expected keys below it"):
        load_config("transcmd", "debug", ["DATA.CUSTOM.Drone=own"])
    with pytest.raises(ValueError, match="DATA.CUSTOM.LasHeR: expected a name for own data, not one of: LasHeR, "):
        build_dataset(load_config("transcmd", "debug", ["DATA.CUSTOM.LasHeR.AUX=a"]), "LasHeR")
    with pytest.raises(ValueError, match="unknown data set 'Drone_all'; did you mean Drone_val"):
        build_dataset(cfg, "Drone_all")


def test_cached_samples_depend_on_the_layout_but_not_on_the_folder(tmp_path):
    first, moved = (cache_settings(config(tmp_path, {"ROOT": root})) for root in ("/a", "/b"))
    assert first == moved != cache_settings(config(tmp_path, {"FORMAT": "xyxy"}))
    assert "CUSTOM" not in cache_settings(load_config("transcmd", "debug"))


def test_the_doctor_reads_own_data_and_goes_on_after_a_bad_sequence(tmp_path):
    video(tmp_path / "Drone/a", boxes="1,2,3\n")
    video(tmp_path / "Drone/b")
    (patient,) = build_patients(config(tmp_path), ["Drone"])
    assert [sequence.name for sequence in patient.sequences] == ["b"] and patient.total == 2
    assert "Drone/a/boxes.csv, line 1" in patient.findings[0].where


def test_own_data_train_are_tracked_and_are_scored(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for index in range(count):
            video(tmp_path / f"own/{split}/{split}{index}", frames=6)
    own = [f"DATA.CUSTOM.Drone.{key}={value}" for key, value in {**DRONES, "ROOT": "own"}.items()]
    own = [word for setting in own for word in ("--set", setting)]
    data = ["TRAIN.DATASETS_NAME=[Drone_train]", "TRAIN.DATASETS_RATIO=[1]", "VAL.DATASETS_NAME=[Drone_val]"]
    data = [word for text in [*data, "VAL.DATASETS_RATIO=[1]"] for word in ("--set", f"DATA.{text}")]
    for command in (
        ("train.py", "--script", "transcmd", "--config", "debug", *data, *own, "--set", "TRAIN.NUM_WORKER=0"),
        ("test.py", "transcmd", "debug", "--dataset_name", "Drone", "--device", "cpu", *own),
        ("test.py", "static", "--dataset_name", "Drone", *own),
        ("analysis_results.py", "--benchmark", "Drone", "--config", "debug", *own),
    ):
        done = run_tracking(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "output/test/reports/Drone/report.json").read_text())
    assert "transcmd/debug" in done.stdout and "static" in done.stdout and "SR" in done.stdout
    assert json.dumps(report).count("test1") and (tmp_path / "output/test/reports/Drone/report.html").is_file()
    done = run_tracking("analysis_results.py", "--benchmark", "Dron", "--config", "debug", *own, cwd=tmp_path)
    assert done.returncode == 2 and "unknown benchmark 'Dron'" in done.stderr
