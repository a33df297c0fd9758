"""Readers of RGB data sets on small copies of the published layouts, and training on all of them together."""

import json

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.data.datasets import find_dataset, load_dataset
from lib.data.datasets.trackingnet import NumberedKeys
from lib.data.loader import build_loaders
from lib.data.storage import DiskStore, open_store
from lib.structures import modality_index
from tests.helpers import encode, numbered_picture, pack, read_number, write_file, write_rows

FRAMES = 4
BOXES = [(2 + t, 3, 11, 9) for t in range(FRAMES)]


def write_frames(folder, names):
    for number, name in enumerate(names):
        write_file(folder / name, encode(numbered_picture(number), ".jpg"))


def lasot_video(folder, boxes=BOXES, full_occlusion="0,0,0,0", out_of_view="0,0,0,0\n"):
    write_frames(folder / "img", [f"{t + 1:08d}.jpg" for t in range(len(boxes))])
    write_rows(folder / "groundtruth.txt", boxes)
    write_file(folder / "full_occlusion.txt", full_occlusion)
    write_file(folder / "out_of_view.txt", out_of_view)


def got10k_video(folder, absence=(0, 0, 0, 0), cover=(8, 8, 8, 8)):
    write_frames(folder, [f"{t + 1:08d}.jpg" for t in range(FRAMES)])
    write_file(folder / "groundtruth.txt", "".join(",".join(f"{v:.4f}" for v in box) + "\n" for box in BOXES))
    write_file(folder / "absence.label", "".join(f"{value}\n" for value in absence))
    write_file(folder / "cover.label", "".join(f"{value}\n" for value in cover))


def trackingnet_video(root, part, name, frames=FRAMES):
    write_frames(root / part / "frames" / name, [f"{t}.jpg" for t in range(frames)])
    write_rows(root / part / "anno" / f"{name}.txt", [(2 + t, 3, 11, 9) for t in range(frames)])


def coco_split(root, split="train", objects=None, folder=""):
    for number in (0, 1):
        write_file(root / folder / f"{split}2017" / f"{number:012d}.jpg", encode(numbered_picture(number), ".jpg"))
    images = [{"id": 70 + number, "file_name": f"{number:012d}.jpg"} for number in (0, 1)]
    objects = objects or [{"image_id": 71, "bbox": [1, 2, 10.5, 8], "iscrowd": 0}]
    content = json.dumps({"images": images, "annotations": objects})
    write_file(root / "annotations" / f"instances_{split}2017.json", content)


def load(root, name):
    folder = find_dataset(name).root
    return load_dataset(name, DiskStore(root / folder, folder))


def numbers_of(sequence):
    for index in range(len(sequence)):
        frame = sequence.frame(index)
        assert frame.aux is frame.rgb
    return [read_number(sequence.frame(index).rgb) for index in range(len(sequence))]


@pytest.mark.parametrize("nested", ["airplane/", ""])
def test_lasot_in_folders_of_classes_or_all_in_one(tmp_path, nested):
    boxes = [*BOXES[:3], (0, 0, 0, 0)]
    lasot_video(tmp_path / f"LaSOT/{nested}airplane-1", boxes, "0,1,0,0", "0,0,1,0")
    lasot_video(tmp_path / f"LaSOT/{nested}airplane-20")
    for name in ("readme.txt", "LICENSE"):
        (tmp_path / "LaSOT" / name).write_text("x")
    first, second = load(tmp_path, "LaSOT_train")
    assert (first.name, second.name, first.modality) == ("airplane-1", "airplane-20", "rgb")
    assert first.visible.tolist() == [True, False, False, False] and second.visible.all()
    assert numbers_of(second) == [0, 1, 2, 3]
    np.testing.assert_array_equal(second.boxes_xywh, BOXES)


def test_the_list_of_lasot_selects_sequences_and_missing_ones_are_named(tmp_path):
    for number in (1, 2):
        lasot_video(tmp_path / f"LaSOT/cat/cat-{number}")
    (tmp_path / "LaSOT/training_set.txt").write_text("cat-2\n")
    assert [sequence.name for sequence in load(tmp_path, "LaSOT_train")] == ["cat-2"]
    (tmp_path / "LaSOT/training_set.txt").write_text("cat-2\ndog-3\n")
    with pytest.raises(FileNotFoundError, match=r"lists 1 sequences that are missing: dog-3; "):
        load(tmp_path, "LaSOT_train")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("0,0,0", "full_occlusion.txt: 3 visibility flags for 4 boxes"),
        ("1", "full_occlusion.txt: 1 visibility flags for 4 boxes"),
        ("0,2,0,0", "full_occlusion.txt: expected 0 or 1, got '2'"),
    ],
)
def test_broken_flags_of_lasot_are_named(tmp_path, flags, message):
    lasot_video(tmp_path / "LaSOT/cat-1", full_occlusion=flags)
    with pytest.raises(ValueError, match=f"LaSOT/cat-1.*{message}"):
        load(tmp_path, "LaSOT_train")


def test_got10k_has_two_splits_and_visibility_flags(tmp_path):
    got10k_video(tmp_path / "GOT10k/train/GOT-10k_Train_000001", (0, 1, 0, 0), (8, 8, 0, 1))
    got10k_video(tmp_path / "GOT10k/val/GOT-10k_Val_000001")
    (tmp_path / "GOT10k/train/list.txt").write_text("GOT-10k_Train_000001\n")
    (train,), (val,) = load(tmp_path, "GOT10k_train"), load(tmp_path, "GOT10k_val")
    assert train.visible.tolist() == [True, False, False, True] and val.visible.all()
    assert numbers_of(train) == [0, 1, 2, 3]
    assert val.name == "GOT-10k_Val_000001"


def test_got10k_must_have_as_many_flags_as_boxes(tmp_path):
    got10k_video(tmp_path / "GOT10k/val/GOT-10k_Val_000001", cover=(8,))
    with pytest.raises(ValueError, match="GOT-10k_Val_000001/cover.label: 1 visibility flags for 4 boxes"):
        load(tmp_path, "GOT10k_val")


def test_trackingnet_is_read_from_the_parts_that_exist(tmp_path):
    for part, name in (("TRAIN_10", "b_0"), ("TRAIN_2", "a_0"), ("TEST", "c_0")):
        trackingnet_video(tmp_path / "TrackingNet", part, name, frames=12)
    sequences = load(tmp_path, "TrackingNet_train")
    assert [sequence.name for sequence in sequences] == ["a_0", "b_0"]
    assert numbers_of(sequences[1]) == list(range(12))  # 0.jpg … 11.jpg, sorted by number
    (tmp_path / "TrackingNet/TRAIN_2/frames/a_0/7.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="a_0/7.jpg"):
        sequences[0].frame(7)


def test_numbered_keys_behave_like_a_tuple():
    keys = NumberedKeys("f", 12)
    assert list(keys) == [f"f/{i}.jpg" for i in range(12)]
    assert keys[-1] == "f/11.jpg" and keys[9:20] == ["f/9.jpg", "f/10.jpg", "f/11.jpg"]
    with pytest.raises(IndexError):
        keys[12]


@pytest.mark.parametrize("folder", ["", "images"])
def test_coco_gives_two_frames_of_each_object(tmp_path, folder):
    objects = [
        {"image_id": 71, "bbox": [1, 2, 10.5, 8], "iscrowd": 0},
        {"image_id": 70, "bbox": [0, 0, 20, 16], "iscrowd": 1},
        {"image_id": 70, "bbox": [3, 3, 0, 4], "iscrowd": 0},
    ]
    coco_split(tmp_path / "COCO", "val", objects, folder)
    whole, empty = load(tmp_path, "COCO_val")
    assert numbers_of(whole) == [1, 1]
    np.testing.assert_array_equal(whole.boxes_xywh, [[1, 2, 10.5, 8]] * 2)
    assert whole.visible.all() and not empty.visible.any()


@pytest.mark.parametrize("content", ["{", '{"images": []}', '{"images": [], "annotations": [{"iscrowd": 0}]}', "[]"])
def test_a_broken_annotation_of_coco_is_named(tmp_path, content):
    coco_split(tmp_path / "COCO")
    (tmp_path / "COCO/annotations/instances_train2017.json").write_text(content)
    with pytest.raises(ValueError, match="COCO/annotations/instances_train2017.json: not COCO's annotation"):
        load(tmp_path, "COCO_train")


@pytest.mark.parametrize("name", ["LaSOT_train", "TrackingNet_train"])
def test_an_empty_folder_is_named(tmp_path, name):
    (tmp_path / find_dataset(name).root).mkdir()
    with pytest.raises(FileNotFoundError, match=f"{find_dataset(name).root}: no "):
        load(tmp_path, name)


@pytest.fixture
def all_four(tmp_path):
    root = tmp_path / "data"
    lasot_video(root / "LaSOT/cat/cat-1")
    got10k_video(root / "GOT10k/train/GOT-10k_Train_000001")
    got10k_video(root / "GOT10k/val/GOT-10k_Val_000001")
    trackingnet_video(root / "TrackingNet", "TRAIN_0", "a_0")
    coco_split(root / "COCO")
    return root


def test_rgb_tiny_draws_from_all_four_data_sets(all_four):
    more = ["DATA.TRAIN.SAMPLE_PER_EPOCH=32", "DATA.VAL.SAMPLE_PER_EPOCH=4", "TRAIN.BATCH_SIZE=32"]
    more += [f"DATA.ROOT={all_four}", "TRAIN.NUM_WORKER=0"]
    train, val = build_loaders(load_config("transcmd", "rgb_tiny", more))
    first = [sequences[0].name for sequences in train.dataset.datasets]
    assert first == ["cat-1", "GOT-10k_Train_000001", "000000000001.jpg", "a_0"]
    (batch,) = list(train)
    assert batch.search.rgb.shape == (32, 3, 256, 256) and (batch.modality == modality_index("rgb")).all()
    assert torch.isfinite(batch.search_box).all() and len(list(val)) == 1


def test_packed_data_sets_give_the_same_sequences(all_four, tmp_path):
    for name in ("LaSOT_train", "GOT10k_train", "TrackingNet_train", "COCO_train"):
        folder = find_dataset(name).root
        plain = load(all_four, name)
        packed = load_dataset(name, open_store(pack(all_four / folder, tmp_path / f"{folder}.lmdb"), folder))
        assert [s.name for s in packed] == [s.name for s in plain]
        assert numbers_of(packed[0]) == numbers_of(plain[0])
