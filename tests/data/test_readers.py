"""The readers on small copies of the published layouts, with their irregularities, and on real clips."""

import shutil

import numpy as np
import pytest
from easydict import EasyDict

from lib.config.loader import load_config
from lib.data.datasets import all_datasets, build_store, find_dataset, load_dataset
from lib.data.datasets.folders import SPLITS, frame_number, replace_number, skipped_images, split_names
from lib.data.storage import SYNTHETIC, DiskStore, LmdbStore, open_store, pack_lmdb
from tests.helpers import HEIGHT, WIDTH, pack, read_number, write_file, write_rows, write_small, write_video

BOX = (2, 3, 11, 12)
PAIRED = ("LasHeR", "DepthTrack", "VisEvent")  # data sets with a training set
REAL = {"LasHeR": 6, "DepthTrack": 4, "VisEvent": 2}


def load(root, name):
    folder = find_dataset(name).root
    return load_dataset(name, DiskStore(root / folder, folder))


def load_one(root, name):
    (sequence,) = load(root, name)
    return sequence


def numbers_of(sequence):
    """Returns the frame numbers drawn into the RGB and the auxiliary image of each frame."""
    return [tuple(map(read_number, sequence.frame(index))) for index in range(len(sequence))]


def assert_paired(sequence, frames):
    assert numbers_of(sequence) == [(t, t) for t in range(frames)]


def lasher_video(root, name="2girl", frames=3, boxes=None, split="testingset", **names):
    """Writes a video. `names`: formats `rgb` and `aux` of the file names, and the first number `start`."""
    rgb, aux, start = names.get("rgb", "v{:03d}.jpg"), names.get("aux", "i{:03d}.jpg"), names.get("start", 0)
    images = [(f"visible/{rgb.format(t)}", f"infrared/{aux.format(t)}") for t in range(start, start + frames)]
    rows = boxes or [BOX] * frames
    write_video(root / "LasHeR" / split / name, images, visible=rows, infrared=rows, init=rows)
    return root / "LasHeR" / split / name


def depth_video(root, name="mug", frames=3, boxes=None, split="test"):
    images = [(f"color/{t:08d}.jpg", f"depth/{t:08d}.png") for t in range(1, frames + 1)]
    write_video(root / "DepthTrack" / split / name, images, groundtruth=boxes or [BOX] * frames)
    return root / "DepthTrack" / split / name


def event_video(root, name="dvSave-1", numbers=(0, 1, 2), suffix="bmp", flags=None, boxes=None, split="test"):
    images = [(f"vis_imgs/frame{t:04d}.{suffix}", f"event_imgs/frame{t:04d}.{suffix}") for t in numbers]
    annotations = {"absent_label": [(flag,) for flag in flags]} if flags else {}
    folder = root / "VisEvent" / split / name
    write_video(folder, images, groundtruth=boxes or [BOX] * len(images), **annotations)
    return folder


def two_boxes_video(root, dataset, files, images=("visible/{:05d}v.jpg", "infrared/{:05d}i.jpg"), start=46):
    folder = root / dataset / "bike"
    write_video(folder, [tuple(name.format(t) for name in images) for t in range(start, start + 3)])
    for name, rows in files.items():
        write_file(folder / f"{name}.txt", rows)


def test_rgbt234_has_boxes_for_each_modality(tmp_path):
    two_boxes_video(tmp_path, "RGBT234", {"visible": "2,3,11,12\n" * 3 + "\n", "infrared": "3,3,11,12\n" * 3})
    sequence = load_one(tmp_path, "RGBT234")
    assert_paired(sequence, 3)
    assert sequence.boxes_xywh.tolist() == [[2, 3, 11, 12]] * 3 and sequence.aux_boxes_xywh[0, 0] == 3
    write_file(tmp_path / "RGBT234/bike/infrared.txt", "3,3,11,12\n")
    with pytest.raises(ValueError, match="RGBT234/bike: 1 auxiliary boxes for 3 frames"):
        load(tmp_path, "RGBT234")


def test_rgbt210_has_one_box_for_both(tmp_path):
    two_boxes_video(tmp_path, "RGBT210", {"init": "2,3,11,12\n" * 3})
    sequence = load_one(tmp_path, "RGBT210")
    assert_paired(sequence, 3)
    assert sequence.aux_boxes_xywh is None and sequence.visible.all()


def test_corners_of_gtot_become_boxes(tmp_path):
    files = {"groundTruth_v": "2 3 13 15\n" * 3, "groundTruth_i": "3 3 13 15\n" * 3}
    two_boxes_video(tmp_path, "GTOT", files, ("v/{:05d}v.png", "i/{:05d}i.png"), start=1)
    sequence = load_one(tmp_path, "GTOT")
    assert_paired(sequence, 3)
    assert (
        sequence.boxes_xywh.tolist() == [[2, 3, 11, 12]] * 3
        and sequence.aux_boxes_xywh.tolist() == [[3, 3, 10, 12]] * 3
    )


def vtuav_video(root, place, frames=21, rows=3, first=40, lost=()):
    """Writes a video. `lost`: numbers of the images that are missing in both modalities."""
    rgb, ir = ("".join(f"{x + t} 3 11 12\n" for t in range(rows)) for x in (2, 3))
    folder = root / "VTUAV" / place
    numbers = [number for number in range(first, first + frames) if number not in lost]
    write_video(folder, [(f"rgb/{t:06d}.jpg", f"ir/{t:06d}.jpg") for t in numbers])
    write_file(folder / "rgb.txt", rgb)
    write_file(folder / "ir.txt", ir)
    return folder


def test_vtuav_annotates_one_frame_in_ten_and_comes_in_parts(tmp_path, caplog):
    for place in (
        "test_ST_001/car_1",
        "test_ST/test_ST_002/bus_1",
        "test_LT_001/bike_1",
        "train_ST_004/a",
        "train_LT/b",
    ):
        vtuav_video(tmp_path, place)
    vtuav_video(tmp_path, "train_ST_006/a")  # the same sequence in a second part of the download
    assert [s.name for s in load(tmp_path, "VTUAV_ST")] == ["bus_1", "car_1"]
    assert {s.name for name in ("VTUAV_train", "VTUAV_val") for s in load(tmp_path, name)} == {"a", "b"}
    assert "duplicate of train_ST_004/a; train_ST_006/a is ignored" in caplog.text
    sequence = load_one(tmp_path, "VTUAV_LT")
    assert_paired(sequence, 21)
    assert np.flatnonzero(sequence.visible).tolist() == [0, 10, 20] and np.isnan(sequence.boxes_xywh[1]).all()
    thin = sequence.every_nth(10)
    assert thin.boxes_xywh[:, 0].tolist() == [2, 3, 4] and thin.aux_boxes_xywh[:, 0].tolist() == [3, 4, 5]
    assert numbers_of(thin) == [(0, 0), (10, 10), (20, 20)]
    vtuav_video(tmp_path, "test_LT_001/bike_1", frames=31)
    with pytest.raises(
        ValueError, match=r"VTUAV/test_LT_001/bike_1/rgb.txt: 3 boxes for 31 frames, expected 4, one per 10 frames"
    ):
        load(tmp_path, "VTUAV_LT")


LT = "test_LT_001/bike_1"


def test_rows_of_vtuav_belong_to_image_numbers_and_not_to_positions(tmp_path, caplog):
    """Four of 109 images are lost. At position 50 is the image 000054, but row 6 belongs to 000050, at position 46."""
    vtuav_video(tmp_path, LT, 109, 11, first=0, lost=range(43, 47))
    sequence = load_one(tmp_path, "VTUAV_LT")
    assert np.flatnonzero(sequence.visible).tolist() == [0, 10, 20, 30, 40, 46, 56, 66, 76, 86, 96]
    assert sequence.rgb_keys[46].endswith("/000050.jpg") and sequence.boxes_xywh[46, 0] == 2 + 5
    annotated = sequence.every_nth(10)
    assert [key[-10:] for key in annotated.rgb_keys] == [f"{10 * k:06d}.jpg" for k in range(11)]
    assert [key[-10:] for key in annotated.aux_keys] == [f"{10 * k:06d}.jpg" for k in range(11)]
    assert annotated.boxes_xywh[:, 0].tolist() == [2 + k for k in range(11)] and annotated.visible.all()
    assert annotated.aux_boxes_xywh[:, 0].tolist() == [3 + k for k in range(11)]
    assert annotated.numbers.tolist() == list(range(11)), "of the thinned sequence, none is missing"
    assert "images without annotation are missing in 1 of 1 sequences: bike_1 (4);" in caplog.text


def test_a_copy_of_vtuav_with_the_annotated_images_alone_is_read(tmp_path):
    vtuav_video(tmp_path, LT, lost=[number for number in range(40, 61) if number % 10])
    assert load_one(tmp_path, "VTUAV_LT").boxes_xywh[:, 0].tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("lost", "problem"),
    [
        ((50,), "rgb: annotated images are missing: 000050.jpg (row 6); fetch the sequence again"),
        ((10, 11, 20), "rgb: annotated images are missing: 000010.jpg (row 2), 000020.jpg (row 3); fetch"),
        (
            range(9, 98),
            "rgb: annotated images are missing: 000010.jpg (row 2), 000020.jpg (row 3), 000030.jpg (row 4)"
            ", 000040.jpg (row 5), 000050.jpg (row 6) and 4 more",
        ),
        (range(96, 109), "rgb.txt: 11 boxes for 96 frames, expected 10, one per 10 frames"),
        ((5, *range(96, 109)), "rgb.txt: 11 boxes for 96 frames, of which 1 are missing, expected 10, one per"),
    ],
)
def test_a_missing_annotated_image_of_vtuav_is_named(tmp_path, lost, problem):
    vtuav_video(tmp_path, LT, 109, 11, first=0, lost=lost)
    assert f"VTUAV/{LT}/{problem}" in refusal(tmp_path, "VTUAV_LT")


@pytest.mark.parametrize("first", [0, 40])
def test_images_of_vtuav_without_counterpart_are_named(tmp_path, first):
    """Also the first image, by whose number the others are counted."""
    folder = vtuav_video(tmp_path, LT, first=first)
    lost = [folder / f"ir/{first:06d}.jpg", folder / f"rgb/{first + 15:06d}.jpg"]
    for path in lost:
        path.unlink()
    other = [f"{LT}/rgb/{first:06d}.jpg", f"{LT}/ir/{first + 15:06d}.jpg"]
    assert refusal(tmp_path, "VTUAV_LT") == (
        f"VTUAV/{LT}: 2 images have no counterpart in the other modality: {', '.join(other)}; fetch the sequence again"
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("000043(1).jpg", "images have the same number: test_LT_001/bike_1/rgb/000001.jpg, test_LT_001/bike_1/rgb/000"),
        ("cover.jpg", "1 images have no number in their names: test_LT_001/bike_1/rgb/cover.jpg"),
    ],
)
def test_a_stray_image_of_vtuav_does_not_shift_the_rows(tmp_path, name, problem):
    """Counted by positions, 109 images would still have 11 rows."""
    folder = vtuav_video(tmp_path, LT, 108, 11, first=0)
    shutil.copy(folder / "rgb/000043.jpg", folder / "rgb" / name)
    shutil.copy(folder / "ir/000043.jpg", folder / "ir" / name)
    assert f"VTUAV/{LT}: {problem}" in refusal(tmp_path, "VTUAV_LT")


def test_a_number_far_away_does_not_take_all_memory(tmp_path):
    folder = vtuav_video(tmp_path, LT)
    for part in ("rgb", "ir"):
        shutil.copy(folder / part / "000040.jpg", folder / part / "20230102030405.jpg")
    assert "3 boxes for 20230102030366 frames, of which 20230102030344 are missing" in refusal(tmp_path, "VTUAV_LT")


def test_names_without_numbers_are_counted_in_their_order(tmp_path):
    folder = vtuav_video(tmp_path, LT, 2, 1)
    for part in ("rgb", "ir"):
        for number, name in ((40, "a"), (41, "b")):
            (folder / part / f"{number:06d}.jpg").rename(folder / part / f"{name}.jpg")
    sequence = load_one(tmp_path, "VTUAV_LT")
    assert sequence.visible.tolist() == [True, False] and sequence.rgb_keys[0].endswith("a.jpg")
    assert sequence.numbers is None


@pytest.mark.parametrize(
    ("dataset", "place"),
    [("CDTB", "mug"), ("VOT-RGBD2022", "sequences/mug"), ("RGBD1K", "test/mug"), ("STC", "mug")],
)
def test_sets_in_the_layout_of_depthtrack_are_read(tmp_path, dataset, place):
    color = "rgb" if dataset == "STC" else "color"
    folder = tmp_path / dataset / place
    images = [(f"{color}/{t:08d}.jpg", f"depth/{t:08d}.png") for t in range(1, 4)]
    write_video(folder, images, groundtruth=[BOX, ("nan",) * 4, BOX])
    write_file(tmp_path / dataset / "notes.txt", "read me")
    sequence = load_one(tmp_path, dataset)
    assert_paired(sequence, 3)
    assert sequence.name == "mug" and sequence.modality == "rgbd" and sequence.visible.tolist() == [True, False, True]


def test_a_list_in_the_data_sets_folder_selects_the_sequences(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / "CDTB" / name, [("color/1.jpg", "depth/1.png")], groundtruth=[BOX])
    write_file(tmp_path / "CDTB/list.txt", "b\n")
    assert load_one(tmp_path, "CDTB").name == "b"
    write_file(tmp_path / "CDTB/list.txt", "b\nc\n")
    with pytest.raises(FileNotFoundError, match=r"CDTB/list\.txt lists 1 sequences that are missing: c"):
        load(tmp_path, "CDTB")


def coesot_video(root, split, name, frames=3, **files):
    images = [(f"{name}_aps/frame{t:04d}.png", f"{name}_dvs/frame{t:04d}.png") for t in range(frames)]
    write_video(root / "COESOT" / split / name, images, **files)


def test_in_absent_txt_of_coesot_1_means_present_and_frames_may_be_missing(tmp_path):
    coesot_video(tmp_path, "test", "dvSave-1", groundtruth=[(0, 0, 0, 0), BOX, BOX], absent=[(0,), (1,), (0,)])
    sequence = load_one(tmp_path, "COESOT")
    assert_paired(sequence, 3)
    assert sequence.visible.tolist() == [False, True, False] and sequence.first_visible == 1
    write_file(tmp_path / "COESOT/test/dvSave-1/start_end_index.txt", "2,4")
    rows = [(5, 5, 1, 1), (0, 0, 0, 0), BOX, BOX, (5, 5, 1, 1)]
    coesot_video(tmp_path, "test", "dvSave-1", groundtruth=rows, absent=[(1,), (0,), (1,), (0,), (1,)])
    assert load_one(tmp_path, "COESOT").visible.tolist() == [False, True, False]
    for index in range(10):
        coesot_video(tmp_path, "train", f"t{index}", frames=1, groundtruth=[BOX])
    assert [len(load(tmp_path, name)) for name in ("COESOT_train", "COESOT_val")] == [9, 1]


def test_protocol_1_of_lasher_has_all_sequences(tmp_path):
    for split, count in (("testingset", 2), ("trainingset", 3)):
        for index in range(count):
            lasher_video(tmp_path, f"{split}{index}", split=split)
    assert len(load(tmp_path, "LasHeR_all")) == 5


@pytest.mark.parametrize("name", ["RGBT234", "RGBT210", "GTOT", "VTUAV_ST", "CDTB", "STC", "VOT-RGBD2022"])
def test_a_test_set_without_sequences_is_named(tmp_path, name):
    (tmp_path / find_dataset(name).root / "readme").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=f"{find_dataset(name).root}: no sequence folder with "):
        load(tmp_path, name)


# --- pairing of frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "aux", "start"),
    [
        ("v{:03d}.jpg", "i{:03d}.jpg", 0),
        ("v{:04d}.jpg", "i{:04d}.jpg", 1),
        ("{:06d}.jpg", "{:06d}.jpg", 1),
        ("v{}.jpg", "i{}.jpg", 1),  # sorted as text: 1, 10, 100, 101, …; the glob *5.jpg matches 5, 15, 25, …
        ("{}.JPG", "{}.png", 0),
        ("v{:02d}.jpg", "i{:06d}.jpg", 750),
        ("{:05d}v.jpg", "{:05d}i.jpg", 46),
        ("2023_05_v{}.jpg", "cam2_{}.jpg", 7),
    ],
)
def test_all_of_300_frames_show_the_same_moment_in_both_modalities(tmp_path, rgb, aux, start):
    lasher_video(tmp_path, frames=300, rgb=rgb, aux=aux, start=start)
    assert_paired(load_one(tmp_path, "LasHeR"), 300)


def test_frame_numbers_of_different_length_are_sorted_by_value(tmp_path):
    lasher_video(tmp_path, frames=30, start=985)  # v985 … v999, v1000 …
    assert_paired(load_one(tmp_path, "LasHeR"), 30)


@pytest.mark.parametrize(("rgb", "aux"), [("{:04d}_rgb8.jpg", "{:04d}_t14.jpg"), ("f{}_rgb8.jpg", "{}_t14.jpg")])
def test_frames_with_equal_last_numbers_are_sorted_by_the_other_numbers(tmp_path, rgb, aux):
    lasher_video(tmp_path, frames=30, rgb=rgb, aux=aux)
    assert_paired(load_one(tmp_path, "LasHeR"), 30)


def test_files_that_are_no_frames_are_ignored(tmp_path):
    folder = lasher_video(tmp_path, frames=4)
    for name in ("Thumbs.db", ".DS_Store", "._v001.jpg", "notes.txt", "v001.mat"):
        write_file(folder / "visible" / name, "junk")
    write_file(tmp_path / "LasHeR" / "testingset" / "readme.txt", "junk")
    write_file(tmp_path / "LasHeR" / "testingset" / "no_sequence" / "readme.txt", "junk")
    assert_paired(load_one(tmp_path, "LasHeR"), 4)


def test_different_frame_numbers_of_the_modalities_give_a_warning(tmp_path, caplog):
    folder = lasher_video(tmp_path, frames=5)
    (folder / "visible" / "v004.jpg").rename(folder / "visible" / "v014.jpg")
    load(tmp_path, "LasHeR")
    assert "LasHeR/testingset/2girl/visible" in caplog.text
    caplog.clear()
    lasher_video(tmp_path, "other", rgb="v{:03d}.jpg", aux="i{:04d}.jpg")
    assert len(load(tmp_path, "LasHeR")) == 2 and "other" not in caplog.text


@pytest.mark.parametrize(
    ("name", "number"), [("a/v000.jpg", 0), ("a/00046i.jpg", 46), ("b7/x.jpg", None), ("1/c7_v0010.2.jpg", 2)]
)
def test_the_number_of_a_frame_is_the_last_one_in_its_stem(name, number):
    assert frame_number(name) == number


def test_gaps_in_the_numbers_of_images_are_named_by_their_files():
    assert (
        replace_number("a1/v007.x9.jpg", 12) == "v007.x12.jpg" and replace_number("a/00099i.png", 100) == "00100i.png"
    )
    assert skipped_images([f"a/{t:03d}v.jpg" for t in (4, 5, 7, 11)]) == (4, ["006v.jpg", "008v.jpg to 010v.jpg"])
    assert skipped_images(["a/1.jpg", "a/2.jpg"]) == skipped_images(["a/x.jpg", "a/y.jpg"]) == (0, [])
    assert skipped_images([]) == (0, [])


# --- LasHeR ---------------------------------------------------------------------------------------------------------


def test_lasher_names_keep_their_marks_and_zero_boxes_are_invisible(tmp_path):
    names = ["blkboy`shead", "leftgirl'swhitebag", "2girl", "10runone"]
    boxes = [BOX, (0, 0, 0, 0), (5, 5, 0, 7), (-3, 0, 9, 9)]
    for name in names:
        lasher_video(tmp_path, name, 4, boxes)
    sequences = load(tmp_path, "LasHeR")
    assert sorted(s.name for s in sequences) == sorted(names)
    for sequence in sequences:
        assert sequence.modality == "rgbt" and len(sequence) == 4
        assert sequence.visible.tolist() == [True, False, False, True] and sequence.visible.dtype == bool
        assert sequence.boxes_xywh.tolist() == np.array(boxes).tolist() and sequence.boxes_xywh.dtype == np.float64


@pytest.mark.parametrize("folder", ["trainingset", "train/trainingset", "train"])
def test_lasher_training_set_is_found_in_all_known_folders(tmp_path, folder):
    for index in range(3):
        lasher_video(tmp_path, f"video{index}", split=folder)
    assert len(load(tmp_path, "LasHeR_train")) == 2 and len(load(tmp_path, "LasHeR_val")) == 1


@pytest.mark.parametrize("folder", ["testingset", "test/testingset", "test"])
def test_lasher_test_set_is_found_in_all_known_folders(tmp_path, folder):
    lasher_video(tmp_path, split=folder)
    assert load_one(tmp_path, "LasHeR").name == "2girl"


def test_lasher_without_visible_txt_is_read_from_init_txt(tmp_path):
    folder = lasher_video(tmp_path)
    write_rows(folder / "init.txt", [(1, 1, 7, 7)] * 3)
    assert load_one(tmp_path, "LasHeR").boxes_xywh[0].tolist() == list(BOX)
    (folder / "visible.txt").unlink()
    assert load_one(tmp_path, "LasHeR").boxes_xywh[0].tolist() == [1, 1, 7, 7]


@pytest.mark.parametrize(
    "text", ["1,2,3,4\r\n5,6,7,8\r\n", "\ufeff1\t2\t3\t4\n\n5 6  7 8", "1.0, 2,3e0,4\n5,6,7,8\n\n"]
)
def test_annotations_may_use_any_delimiter(tmp_path, text):
    write_file(lasher_video(tmp_path, frames=2) / "visible.txt", text)
    assert load_one(tmp_path, "LasHeR").boxes_xywh.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


# --- DepthTrack -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["test", "sequences"])
def test_depthtrack_pairs_colour_and_depth_and_takes_nan_for_absent(tmp_path, folder):
    nan = ("nan",) * 4
    depth_video(tmp_path, frames=12, boxes=[BOX, nan, ("NaN",) * 4] + [BOX] * 9, split=folder)
    sequence = load_one(tmp_path, "DepthTrack")
    assert sequence.modality == "rgbd"
    assert sequence.visible.tolist() == [True, False, False] + [True] * 9
    assert np.isnan(sequence.boxes_xywh[1]).all() and sequence.boxes_xywh[0].tolist() == list(BOX)
    assert_paired(sequence, 12)
    assert sequence.frame(0).aux.shape == (HEIGHT, WIDTH, 3)


def test_small_boxes_of_depthtrack_are_invisible_in_training_only(tmp_path):
    boxes = [(1, 1, 10, 30), (1, 1, 30, 10), (1, 1, 10.01, 30), (1, 1, 11, 11), (1, 1, 1, 1)]
    for split in ("train", "test"):
        for index in range(2):
            depth_video(tmp_path, f"{split}{index}", 5, boxes, split)
    for name in ("DepthTrack_train", "DepthTrack_val"):
        assert load_one(tmp_path, name).visible.tolist() == [False, False, True, True, False]
    assert all(sequence.visible.all() for sequence in load(tmp_path, "DepthTrack"))


@pytest.mark.parametrize("text", ["b\na\n", "b\r\na", "\ufeffb\n\n a \n"])
def test_the_list_of_depthtrack_gives_sequences_and_their_order(tmp_path, text):
    for name in "abc":
        depth_video(tmp_path, name)
    write_file(tmp_path / "DepthTrack" / "test" / "list.txt", text)
    assert [sequence.name for sequence in load(tmp_path, "DepthTrack")] == ["b", "a"]


def test_depthtrack_frames_without_annotation_rows_are_absent(tmp_path):
    for name in ("toy07_indoor_320", "toy08_indoor"):
        depth_video(tmp_path, name, 5, [BOX] * (3 if name.startswith("toy07") else 5))
    short, whole = load(tmp_path, "DepthTrack")
    assert short.visible.tolist() == [True] * 3 + [False] * 2 and whole.visible.all()
    write_rows(tmp_path / "DepthTrack/test/toy07_indoor_320/groundtruth.txt", [BOX] * 6)
    with pytest.raises(ValueError, match="^DepthTrack/toy07_indoor_320: 6 boxes for 5 frames$"):
        load(tmp_path, "DepthTrack")
    write_rows(tmp_path / "DepthTrack/test/toy07_indoor_320/groundtruth.txt", [BOX] * 3)
    for name in ("color/00000002.jpg", "depth/00000002.png"):
        (tmp_path / "DepthTrack/test/toy07_indoor_320" / name).unlink()
    assert refusal(tmp_path, "DepthTrack") == (
        "DepthTrack/test/toy07_indoor_320/color: these images are missing: 00000002.jpg; fetch the sequence again"
    )


# --- VisEvent -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["bmp", "png"])
def test_visevent_frames_with_gaps_and_a_late_start_are_paired(tmp_path, suffix):
    event_video(tmp_path, numbers=(8, 9, 12, 99, 100, 1000, 10001), suffix=suffix)
    sequence = load_one(tmp_path, "VisEvent")
    assert sequence.modality == "rgbe"
    assert_paired(sequence, 7)


def test_visevent_absent_label_1_means_present_and_a_box_is_needed_too(tmp_path):
    boxes = [BOX, BOX, (0, 0, 0, 0), (0, 0, 0, 0)]
    event_video(tmp_path, numbers=range(4), flags=[1, 0, 1, 0], boxes=boxes)
    assert load_one(tmp_path, "VisEvent").visible.tolist() == [True, False, False, False]
    (tmp_path / "VisEvent/test/dvSave-1/absent_label.txt").unlink()
    assert load_one(tmp_path, "VisEvent").visible.tolist() == [True, True, False, False]


def test_visevent_must_have_as_many_flags_as_frames(tmp_path):
    event_video(tmp_path, flags=[1, 1])
    with pytest.raises(ValueError, match="^VisEvent/test/dvSave-1: 2 visibility flags for 3 boxes$"):
        load(tmp_path, "VisEvent")


@pytest.mark.parametrize(("name", "split"), [("VisEvent", "test"), ("VisEvent_train", "train")])
def test_missing_sequences_of_the_visevent_lists_are_named(tmp_path, name, split):
    for index in range(3):
        event_video(tmp_path, f"video{index}", split=split)
    path = tmp_path / "VisEvent" / split / f"{split}list.txt"
    write_file(path, "video1\nvideo0\n")
    names = {sequence.name for part in {name, name.replace("train", "val")} for sequence in load(tmp_path, part)}
    assert names == {"video0", "video1"}
    write_file(path, "video1\nlost_b\nlost_a\n")
    with pytest.raises(FileNotFoundError, match=f"^VisEvent/{split}/{split}list.txt lists 2 .*: lost_a, lost_b; "):
        load(tmp_path, name)
    write_file(path, "".join(f"lost{index}\n" for index in range(9)))
    with pytest.raises(FileNotFoundError, match="lists 9 sequences .*: lost0, lost1, lost2, lost3, lost4 and 4 more; "):
        load(tmp_path, name)


# --- training and validation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 10, 25, 104])
def test_without_a_published_list_a_tenth_is_held_out_whatever_the_order(count):
    names = [f"video{index}" for index in range(count)]
    for list_name in (None, "lasher_val.txt"):  # no sequence of the published list is present
        train, val = (split_names(names, split, list_name) for split in ("train", "val"))
        assert sorted(train + val) == sorted(names) and not set(train) & set(val)
        assert len(val) == max(1, round(count / 10))
        assert set(split_names(names[::-1], "val", list_name)) == set(val)
    assert split_names([f"video{index}" for index in range(10)], "val", None) == ["video8"]  # must never change


@pytest.mark.parametrize(("list_name", "count"), [("lasher_val.txt", 97), ("depthtrack_val.txt", 6)])
def test_published_lists_are_used_if_their_sequences_exist(list_name, count):
    listed = (SPLITS / list_name).read_text(encoding="utf-8").split()
    assert len(set(listed)) == len(listed) == count
    others = [f"video{index}" for index in range(40)]
    assert split_names(others + listed, "val", list_name) == listed
    assert split_names(others + listed, "train", list_name) == others
    assert split_names(others + listed[:2], "val", list_name) == listed[:2]


@pytest.mark.parametrize("dataset", PAIRED)
def test_train_and_val_are_disjoint_and_complete(tmp_path, dataset):
    folders = write_small(tmp_path, dataset, "train", sequences=12, frames=2)
    train, val = (load(tmp_path, f"{dataset}_{split}") for split in ("train", "val"))
    names = [sequence.name for sequence in train + val]
    assert sorted(names) == sorted(folder.name for folder in folders) and len(val) == 1
    with pytest.raises(FileNotFoundError, match=f"^{dataset}: none of the folders test"):
        load(tmp_path, dataset)


@pytest.mark.parametrize(("dataset", "list_name"), [("LasHeR", "lasher_val.txt"), ("DepthTrack", "depthtrack_val.txt")])
def test_readers_hold_out_the_published_sequences(tmp_path, dataset, list_name):
    held_out = sorted((SPLITS / list_name).read_text(encoding="utf-8").split()[1:3])
    for name in (*held_out, "own1", "own2", "own3"):
        if dataset == "LasHeR":
            lasher_video(tmp_path, name, 1, split="trainingset")
        else:
            depth_video(tmp_path, name, 1, split="train")
    assert sorted(s.name for s in load(tmp_path, f"{dataset}_val")) == held_out
    assert sorted(s.name for s in load(tmp_path, f"{dataset}_train")) == ["own1", "own2", "own3"]


# --- errors state the cause -----------------------------------------------------------------------------------------


def refusal(root, name, error=ValueError) -> str:
    with pytest.raises(error) as raised:
        load(root, name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_counts_that_do_not_agree_are_named(tmp_path):
    folder = lasher_video(tmp_path, frames=310, boxes=[BOX] * 312)
    assert refusal(tmp_path, "LasHeR") == "LasHeR/2girl: 312 boxes for 310 frames"
    (folder / "infrared" / "i100.jpg").unlink()
    assert refusal(tmp_path, "LasHeR") == (
        "LasHeR/testingset/2girl: 310 RGB images but 309 auxiliary images, without a counterpart: "
        "testingset/2girl/visible/v100.jpg; fetch the missing files"
    )
    (folder / "infrared" / "i000.jpg").rename(folder / "infrared" / "i.jpg")  # numbers no longer tell
    assert refusal(tmp_path, "LasHeR") == (
        "LasHeR/2girl: 310 RGB images but 309 auxiliary images "
        "(first: testingset/2girl/visible/v000.jpg and testingset/2girl/infrared/i001.jpg); fetch the missing files"
    )
    for file in (folder / "visible").iterdir():
        file.unlink()
    assert "0 RGB images but 309 auxiliary images (first: an empty folder and " in refusal(tmp_path, "LasHeR")


@pytest.mark.parametrize("dataset", PAIRED)
def test_images_that_both_modalities_lack_are_named(tmp_path, dataset):
    folder, *_ = write_small(tmp_path, dataset, "test", sequences=1, frames=9)
    images = {path.parent.name: [] for path in folder.glob("*/*")}
    for path in sorted(folder.glob("*/*")):
        images[path.parent.name].append(path)
    for paths in images.values():
        for index in (3, 4, 6):
            paths[index].unlink()
    gone = [images[sorted(images, reverse=dataset != "DepthTrack")[0]][index].name for index in (3, 4, 6)]
    place = folder.relative_to(tmp_path)
    assert refusal(tmp_path, dataset) == (
        f"{place}: 9 boxes for 6 frames; these images are missing: {gone[0]} to {gone[1]}, {gone[2]}; "
        "fetch the sequence again"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,2,3,4\n1,2,3\n", "line 2: expected 4 numbers, got 3: '1 2 3'"),
        ("1,2,3,4\n\n1,2,x,4\n", "line 3: 'x' is not a number"),
        ("1,2,3,4,5\n", "line 1: expected 4 numbers, got 5: '1 2 3 4 5'"),
    ],
)
def test_a_broken_annotation_row_is_named_with_file_and_line(tmp_path, text, problem):
    write_file(lasher_video(tmp_path) / "visible.txt", text)
    assert refusal(tmp_path, "LasHeR") == f"LasHeR/testingset/2girl/visible.txt, {problem}"
    write_file(depth_video(tmp_path) / "groundtruth.txt", text)
    assert refusal(tmp_path, "DepthTrack") == f"DepthTrack/test/mug/groundtruth.txt, {problem}"
    write_file(event_video(tmp_path) / "groundtruth.txt", text)
    assert refusal(tmp_path, "VisEvent") == f"VisEvent/test/dvSave-1/groundtruth.txt, {problem}"


def test_an_annotation_that_is_missing_or_not_text_is_named(tmp_path):
    folder = lasher_video(tmp_path)
    write_file(folder / "visible.txt", b"\x89PNG\x00")
    assert refusal(tmp_path, "LasHeR") == (
        "LasHeR/testingset/2girl/visible.txt: expected UTF-8 text, got other bytes; fetch the file again"
    )
    for name in ("visible.txt", "init.txt"):
        (folder / name).unlink()
    assert "testingset/2girl/init.txt" in refusal(tmp_path, "LasHeR", FileNotFoundError)


def test_a_list_that_is_not_text_is_named(tmp_path):
    depth_video(tmp_path)
    write_file(tmp_path / "DepthTrack" / "test" / "list.txt", b"\x89PNG\x00")
    assert refusal(tmp_path, "DepthTrack").startswith("DepthTrack/test/list.txt: expected UTF-8 text")


@pytest.mark.parametrize("dataset", PAIRED)
def test_a_folder_without_sequences_is_named(tmp_path, dataset):
    write_file(tmp_path / dataset / "test" / "readme" / "readme.txt", "nothing here")
    assert refusal(tmp_path, dataset, FileNotFoundError).startswith(f"{dataset}/test: no sequence folder with ")
    assert refusal(tmp_path, f"{dataset}_train", FileNotFoundError).startswith(f"{dataset}: none of the folders train")


def test_a_missing_or_unknown_data_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"^LasHeR: no data set at {tmp_path}/LasHeR; put or link it there"):
        open_store(tmp_path / "LasHeR", "LasHeR")
    with pytest.raises(ValueError, match="^unknown data set 'Lasher_trian'; did you mean LasHeR_train\\? known: LasH"):
        find_dataset("Lasher_trian")


def test_a_missing_frame_is_named(tmp_path):
    folder = lasher_video(tmp_path)
    sequence = load_one(tmp_path, "LasHeR")
    (folder / "infrared" / "i001.jpg").unlink()
    assert sequence.frame(0) is not None
    with pytest.raises(FileNotFoundError, match=r"testingset/2girl/infrared/i001\.jpg"):
        sequence.frame(1)


def test_a_sequence_whose_target_is_never_visible_is_named_when_tracking_starts(tmp_path):
    lasher_video(tmp_path, boxes=[(0, 0, 0, 0)] * 3)
    with pytest.raises(ValueError, match="^LasHeR/2girl: no frame has a valid box$"):
        _ = load_one(tmp_path, "LasHeR").first_visible
    lasher_video(tmp_path, boxes=[(0, 0, 0, 0), BOX, BOX])
    assert load_one(tmp_path, "LasHeR").first_visible == 1


# --- stores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", PAIRED)
def test_an_lmdb_file_gives_the_same_sequences(tmp_path, dataset):
    for split in ("train", "test"):
        write_small(tmp_path, dataset, split)
    packed = LmdbStore(pack(tmp_path / dataset, tmp_path / "packed.lmdb"), dataset)
    for name in (name for name, entry in all_datasets().items() if entry.root == dataset):
        for sequence, other in zip(load(tmp_path, name), load_dataset(name, packed), strict=True):
            assert (sequence.name, sequence.rgb_keys, sequence.aux_keys) == (other.name, other.rgb_keys, other.aux_keys)
            np.testing.assert_array_equal(sequence.boxes_xywh, other.boxes_xywh)
            np.testing.assert_array_equal(sequence.frame(3), other.frame(3))


def test_build_store_looks_in_roots_first(tmp_path):
    write_small(tmp_path / "all", "LasHeR", "test")
    write_small(tmp_path / "fast", "DepthTrack", "test")
    roots = {"DepthTrack": str(tmp_path / "fast" / "DepthTrack")}
    cfg = EasyDict(DATA=dict(ROOT=str(tmp_path / "all"), ROOTS=roots, SYNTHETIC=False, CUSTOM={}))
    assert build_store(cfg, "LasHeR_val").root == tmp_path / "all" / "LasHeR"
    assert build_store(cfg, "DepthTrack").root == tmp_path / "fast" / "DepthTrack"


# --- real clips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", REAL)
def test_real_clips_load_and_decode(shared, dataset):
    root = shared / "real"
    if not (root / dataset).is_dir():
        pytest.skip(f"no clips in {root}")
    sequences = load(root, dataset)
    assert len(sequences) == REAL[dataset]
    for sequence in sequences:
        frames = [sequence.frame(0), sequence.frame(len(sequence) // 2)]  # the first frame may contain no event
        for rgb, aux in frames:
            assert rgb.shape == aux.shape and rgb.shape[2] == 3 and rgb.dtype == aux.dtype == np.uint8
        assert min(np.std([frame.rgb for frame in frames]), np.std([frame.aux for frame in frames])) > 1
        assert 60 <= len(sequence) <= 120 and sequence.visible.mean() > 0.5
        x, y, w, h = sequence.boxes_xywh[sequence.first_visible]
        assert 0 <= x < x + w <= frames[0].rgb.shape[1] and 0 <= y < y + h <= frames[0].rgb.shape[0]


@pytest.mark.parametrize("is_packed", [False, True])
def test_synthetic_data_in_the_place_of_a_published_set_are_reported_loudly(tmp_path, caplog, is_packed):
    root = tmp_path / "data" / "LasHeR"
    write_file(root / SYNTHETIC, "made")
    write_file(root / "testingset" / "x", "")
    if is_packed:
        list(pack_lmdb(root, tmp_path / "data" / "LasHeR.lmdb"))
        shutil.rmtree(root)
    for config, is_reported in (("tiny", True), ("rgb_tiny", True), ("debug", False), ("teacher_nano", False)):
        caplog.clear()
        build_store(load_config("transcmd", config, [f"DATA.ROOT={tmp_path}/data"]), "LasHeR_train")
        assert (f"WARNING: LasHeR in {root} is SYNTHETIC" in caplog.text) == is_reported, config
    shutil.rmtree(tmp_path / "data")
    write_file(root / "testingset" / "x", "")
    caplog.clear()
    build_store(load_config("transcmd", "tiny", [f"DATA.ROOT={tmp_path}/data"]), "LasHeR")
    assert not caplog.text
