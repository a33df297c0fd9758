"""The doctor: every damage of a data set is named with its file, and the unusable sequences can be left out."""

import shutil

import numpy as np
import pytest
from easydict import EasyDict

from lib.config.loader import load_config
from lib.data.datasets import find_dataset
from lib.data.doctor.environment import Needs, check_environment, check_versions, describe_environment
from lib.data.doctor.examine import build_needs, build_patients, captured_warnings, check_held_out, check_sequences
from lib.data.doctor.findings import KINDS, LEVELS, Finding, conclude, describe, is_wrong, unusable
from lib.data.doctor.known import KNOWN, KNOWN_PARTS, known_of
from lib.data.loader import build_loaders, cache_settings
from lib.data.skip import read_skip, write_skip
from tests.helpers import WIDTH, encode, numbered_picture, pack, write_file, write_rows, write_small
from tests.processes import run_tracking

FIRST = {
    "LasHeR": ("visible/v000.jpg", "infrared/i000.jpg"),
    "DepthTrack": ("color/00000001.jpg", "depth/00000001.png"),
    "VisEvent": ("vis_imgs/frame0000.bmp", "event_imgs/frame0000.bmp"),
}


def config(root, *settings):
    return load_config("transcmd", "debug", [f"DATA.ROOT={root}", *settings])


def examine(root, *names, settings=(), workers=0, every=1):
    """All findings of the data sets `names` as kind → list of places."""
    found = {}
    for patient in build_patients(config(root, *settings), names):
        checked = [finding for _, findings in check_sequences(patient, workers, every) for finding in findings]
        for finding in (*patient.findings, *checked):
            found.setdefault(finding.kind, []).append(finding.where)
    return found


@pytest.fixture
def sound(tmp_path):
    """LasHeR, DepthTrack and VisEvent without any fault. Every image has a content of its own."""
    for dataset in FIRST:
        write_small(tmp_path, dataset, "test", sequences=2)
        write_small(tmp_path, dataset, "train", sequences=4)
    for number, path in enumerate(sorted(tmp_path.rglob("*.*"))):
        if path.suffix in (".jpg", ".bmp"):
            path.write_bytes(encode(noise(number), path.suffix))
    return tmp_path


def noise(seed, height=16, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def sequence_folder(root, dataset="LasHeR", index=0):
    parent = {"LasHeR": "testingset"}.get(dataset, "test")
    return root / dataset / parent / f"{dataset.lower()}{index}"


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_is_found_in_sound_data(sound, packed):
    if packed:
        for dataset in FIRST:
            pack(sound / dataset, sound / f"{dataset}.lmdb")
            shutil.rmtree(sound / dataset)
    assert examine(sound, "LasHeR", "DepthTrack", "VisEvent", "LasHeR_train", workers=2 if packed else 0) == {}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_file_that_is_cut_off_or_missing_is_named_and_makes_its_sequence_unusable(sound):
    for dataset, (rgb, aux) in FIRST.items():
        cut(sequence_folder(sound, dataset) / rgb)
        cut(sequence_folder(sound, dataset, 1) / aux)
        places = examine(sound, dataset)["image"]
        assert len(places) == 2 and rgb in places[0] and aux in places[1], places
        assert all(place.startswith(f"{dataset}/") and "fetch the file again" in place for place in places)
    assert KINDS["image"].level == "UNUSABLE"


def test_the_images_are_decoded_only_as_often_as_asked(sound):
    folder = sequence_folder(sound)
    cut(folder / "visible/v003.jpg")
    assert "image" in examine(sound, "LasHeR") and "image" in examine(sound, "LasHeR", every=3)
    assert examine(sound, "LasHeR", every=2) == examine(sound, "LasHeR", every=0) == {}


def rows(boxes):
    return "".join(",".join(map(str, box)) + "\n" for box in boxes)


@pytest.mark.parametrize(
    ("box", "kind", "text"),
    [
        ((4, 3, -5, 6), "negative", "row 3: 4,3,-5,6; 1 of 6 rows"),
        ((90, 3, 5, 6), "outside", "row 3: 90,3,5,6 in 20x16 pixels; 1 rows"),
        ((4, -30, 5, 6), "outside", "row 3: 4,-30,5,6 in 20x16 pixels; 1 rows"),
        ((4, 3, 0, 0), "unannotated", "0 NaN, 1 zero of 6"),
        (("nan",) * 4, "unannotated", "1 NaN, 0 zero of 6"),
    ],
)
def test_wrong_boxes_are_named_with_their_row(sound, box, kind, text):
    boxes = [(4, 3, 11, 12)] * 6
    boxes[2] = box
    write_file(sequence_folder(sound) / "visible.txt", rows(boxes))
    assert examine(sound, "LasHeR") == {kind: [f"LasHeR/lasher0 ({text})"]}


def test_boxes_that_cross_the_border_are_no_finding(sound):
    write_file(sequence_folder(sound) / "visible.txt", rows([(-5, -5, 11, 12), (15, 10, 30, 30)] * 3))
    assert examine(sound, "LasHeR") == {}


@pytest.mark.parametrize(("valid", "kind"), [(0, "absent"), (1, "few")])
def test_sequences_without_enough_boxes_are_named(sound, valid, kind):
    write_file(sequence_folder(sound) / "visible.txt", rows([(4, 3, 11, 12)] * valid + [(0, 0, 0, 0)] * (6 - valid)))
    assert examine(sound, "LasHeR")[kind] == [f"LasHeR/lasher0 ({valid} of 6 frames)"]


def test_rows_and_images_that_differ_in_number_are_named_for_every_sequence(sound):
    write_file(sequence_folder(sound) / "visible.txt", rows([(4, 3, 11, 12)] * 5))
    (sequence_folder(sound, index=1) / "infrared/i005.jpg").unlink()
    places = examine(sound, "LasHeR")["sequence"]
    assert places[0].startswith("LasHeR/lasher0: 5 boxes for 6 frames")
    assert places[1].startswith("LasHeR/testingset/lasher1: 6 RGB images but 5 auxiliary images")


def test_the_additional_image_of_some_lasot_downloads_is_explained(tmp_path):
    folder = tmp_path / "LaSOT/cat/cat-1"
    for number in range(1, 5):
        write_file(folder / f"img/{number:08d}.jpg", encode(numbered_picture(number), ".jpg"))
    write_rows(folder / "groundtruth.txt", [(4, 3, 11, 12)] * 3)
    for name in ("full_occlusion", "out_of_view"):
        write_file(folder / f"{name}.txt", "0,0,0")
    (place,) = examine(tmp_path, "LaSOT_train")["sequence"]
    assert "3 boxes for 4 frames" in place and "one image more than rows: delete the last image" in place


@pytest.mark.parametrize(("dataset", "stream"), [("VisEvent", 1), ("LasHeR", 1), ("LasHeR", 0)])
def test_a_stream_without_content_in_a_whole_sequence_is_named(sound, dataset, stream):
    """As in five videos of COESOT, whose event images are white."""
    path = sequence_folder(sound, dataset) / FIRST[dataset][stream]
    blank = np.full((16, WIDTH, 3), (255, 255, 40), np.uint8)
    for other in path.parent.iterdir():
        other.write_bytes(encode(blank, path.suffix))
    (place,) = examine(sound, dataset)["empty"]
    assert place.startswith(f"{dataset}/{dataset.lower()}0 (") and "6 images of one colour" in place
    path.write_bytes(encode(noise(0), path.suffix))
    assert "empty" not in examine(sound, dataset)


def test_unequal_sizes_are_told_apart(sound):
    folder = sequence_folder(sound)
    for number, path in enumerate((folder / "infrared").iterdir()):
        path.write_bytes(encode(noise(number, 32, 40), ".jpg"))
    assert "v000.jpg has 20x16" in examine(sound, "LasHeR")["resized"][0]
    (folder / "infrared/i000.jpg").write_bytes(encode(noise(0, 16, 40), ".jpg"))
    assert "i000.jpg 40x16" in examine(sound, "LasHeR")["aspect"][0]
    (folder / "visible/v004.jpg").write_bytes(encode(noise(1, 16, 40), ".jpg"))
    assert "20x16, but testingset/lasher0/visible/v004.jpg has 40x16" in examine(sound, "LasHeR")["sizes"][0]


def test_16_bits_palettes_and_8_bit_depth_are_named(sound):
    folder = sequence_folder(sound) / "infrared"
    for path in sorted(folder.iterdir()):
        path.unlink()
        deep = np.random.default_rng(0).integers(0, 4000, (16, 20)).astype(np.uint16)
        path.with_suffix(".png").write_bytes(encode(deep, ".png"))
    assert examine(sound, "LasHeR")["bits"] == ["LasHeR/lasher0 (thermal: 6)"]
    (folder / "i000.png").write_bytes(encode(noise(1), ".png"))
    assert examine(sound, "LasHeR")["mixed"] == ["LasHeR/lasher0 (thermal: 5 of 6 have 16 bits)"]
    depth = sequence_folder(sound, "DepthTrack") / "depth"
    for path in depth.iterdir():
        path.write_bytes(encode(np.arange(320, dtype=np.uint16).reshape(16, 20).astype(np.uint8), ".png"))
    assert "6 images, the first test/depthtrack0/depth/00000001.png" in examine(sound, "DepthTrack")["depth8"][0]


def test_palettes_are_named(sound):
    image = pytest.importorskip("PIL.Image")
    path = sequence_folder(sound) / "infrared/i000.jpg"
    image.fromarray(noise(9)).convert("P").save(path, "PNG")
    assert "thermal: 1, the first testingset/lasher0/infrared/i000.jpg" in examine(sound, "LasHeR")["palette"][0]


def test_repeated_images_and_copies_of_the_other_modality_are_named(sound):
    folder = sequence_folder(sound)
    for number in range(6):
        shutil.copy(folder / f"visible/v{number:03d}.jpg", folder / f"infrared/i{number:03d}.jpg")
    assert examine(sound, "LasHeR") == {"copy": ["LasHeR/lasher0 (6 pairs)"]}
    (folder / "visible/v002.jpg").write_bytes((folder / "visible/v001.jpg").read_bytes())
    assert examine(sound, "LasHeR") == {"duplicate": ["LasHeR/lasher0 (RGB: testingset/lasher0/visible/v002.jpg)"]}


# lists, known irregularities, data sets as a whole


def test_list_files_are_checked(sound):
    write_file(sound / "VisEvent/test/testlist.txt", "visevent0\nvisevent0\nlost\n")
    found = examine(sound, "VisEvent")
    assert "names 1 sequences twice: visevent0" in found["list"][0]
    assert "does not name 1 folders beside it: visevent1" in found["reader"][0]
    assert found["sequence"] == [
        "VisEvent/test/testlist.txt lists it, but its folder is missing; complete the download or edit the list"
    ]


def test_an_incomplete_published_validation_list_is_a_note():
    dataset = find_dataset("DepthTrack_val")
    listed = {"toy07_indoor_320", "painting_indoor_320"}
    (finding,) = check_held_out(dataset, listed)
    assert finding.kind == "reader" and "depthtrack_val.txt: " in finding.where
    assert "none of its sequences is here" in next(check_held_out(dataset, {"mug"})).where
    assert not [*check_held_out(find_dataset("DepthTrack_train"), {"mug"})]


def test_known_irregularities_are_named(tmp_path):
    folder = tmp_path / "RGBT234/man4"
    for number in range(2):
        for name in (f"visible/{number:05d}v.jpg", f"infrared/{number:05d}i.jpg"):
            write_file(folder / name, encode(numbered_picture(number + len(name)), ".jpg"))
    for name in ("visible", "infrared"):
        write_rows(folder / f"{name}.txt", [(4, 3, 11, 12)] * 2)
    (place,) = examine(tmp_path, "RGBT234")["known"]
    assert place == "man4 (589 boxes, some published results have 590 rows)"
    assert "white event images" in known_of("COESOT", "dvSave-2022_08_18_16_57_16")
    assert known_of("LasHeR", "quezhen_bike") and not known_of("LasHeR", "bike") and not known_of("VTUAV", "man4")
    assert all(find_dataset(f"{root}_ST" if root == "VTUAV" else root) for root in (*KNOWN, *KNOWN_PARTS))


def test_a_missing_data_set_does_not_hide_the_others(sound):
    shutil.rmtree(sound / "LasHeR")
    cut(sequence_folder(sound, "VisEvent") / FIRST["VisEvent"][0])
    found = examine(sound, "LasHeR", "VisEvent")
    assert "LasHeR: no data set at" in found["dataset"][0] and "frame0000.bmp" in found["image"][0]
    with pytest.raises(ValueError, match="unknown data set 'LasHer'"):
        examine(sound, "LasHer")


def test_warnings_of_a_reader_become_findings(sound):
    folder = sequence_folder(sound)
    (folder / "infrared/i003.jpg").rename(folder / "infrared/i900.jpg")
    (place,) = examine(sound, "LasHeR")["reader"]
    assert "skip different frame numbers" in place
    with captured_warnings() as texts:
        pass
    assert texts == []


# the report


def test_a_report_names_the_worst_first_and_at_most_five_places():
    findings = [Finding("few", "a")] + [Finding("image", f"x{i}.jpg", f"s{i}") for i in range(9)]
    lines = describe(findings)
    assert lines[0].startswith("UNUSABLE images that are missing or damaged: x0.jpg; ") and "and 4 more" in lines[0]
    assert lines[1].startswith("note     fewer than 2 visible frames: a → ")
    assert "x8.jpg" in describe(findings, 100)[0]
    assert is_wrong(findings) and not is_wrong(findings[:1])
    assert unusable(findings)["s3"] == "images that are missing or damaged: x3.jpg" and len(unusable(findings)) == 9
    assert "9 of 20 sequences cannot be used" in conclude(findings, 9, 20)[0]
    assert conclude(findings[:1], 0, 20) == ["nothing is wrong"]
    assert {kind.level for kind in KINDS.values()} == set(LEVELS)


# the environment


def test_versions_outside_the_range_of_the_requirements_are_named(monkeypatch):
    monkeypatch.setattr("lib.data.doctor.environment.installed", {"timm": "2.0.1", "torch": "2.14.1+cu128"}.get)
    places = [finding.where for finding in check_versions("# x\ntorch>=2.6\ntimm>=1.0.15,<2\nlmdb>=1.4\n")]
    assert places == ["timm 2.0.1, expected >=1.0.15,<2; pip install 'timm>=1.0.15,<2'"]


def test_too_little_shared_memory_and_a_read_only_output_are_named(tmp_path):
    (tmp_path / "output").write_text("")
    places = [finding.where for finding in check_environment(Needs(4, 1 << 60, str(tmp_path / "output")))]
    assert any("TRAIN.NUM_WORKER 4 needs" in place and "--shm-size" in place for place in places)
    assert any(f"{tmp_path}/output: expected a folder" in place for place in places)
    assert any(line.startswith("Python 3.") for line in describe_environment())


def test_the_needs_of_a_run_follow_from_its_configuration(tmp_path):
    cfg = config(tmp_path, "TRAIN.NUM_WORKER=3", "TRAIN.BATCH_SIZE=2")
    assert build_needs(cfg, "out") == Needs(3, 2 * 2 * 3 * (32**2 + 64**2), "out")


# sequences that are left out


@pytest.fixture
def one_bad(sound):
    """LasHeR_train with one sequence that cannot be read; its name."""
    folder = next(path for path in sorted((sound / "LasHeR/trainingset").iterdir()) if path.name in names(sound))
    (folder / "visible.txt").write_text("1,2,3\n")
    return folder.name


def names(root, *settings):
    cfg = config(root, "DATA.TRAIN.DATASETS_NAME=[LasHeR_train]", "DATA.TRAIN.DATASETS_RATIO=[1]", *settings)
    cfg.DATA.VAL = EasyDict(DATASETS_NAME=[], DATASETS_RATIO=[], SAMPLE_PER_EPOCH=1)
    cfg.TRAIN.NUM_WORKER = 0
    train, _ = build_loaders(cfg)
    return {sequence.name for sequence in train.dataset.datasets[0]}


def test_training_leaves_out_the_sequences_of_skip_and_says_so(sound, one_bad, caplog):
    with pytest.raises(ValueError, match=f"{one_bad}/visible.txt, line 1"):
        names(sound)
    path = sound / "skip.txt"
    write_skip(path, {"LasHeR_train": {one_bad: "bad boxes"}, "VisEvent_train": {}})
    caplog.set_level("INFO")
    assert one_bad not in names(sound, f"DATA.SKIP={path}") and names(sound, f"DATA.SKIP={path}")
    assert f"LasHeR_train: 1 sequences are left out (DATA.SKIP): {one_bad}" in caplog.text


def test_a_sequence_that_is_left_out_does_not_change_the_split(sound):
    before = names(sound)
    gone = sorted(before)[0]
    write_skip(sound / "skip.txt", {"LasHeR_train": {gone: ""}})
    assert names(sound, f"DATA.SKIP={sound}/skip.txt") == before - {gone}


def test_a_list_that_leaves_nothing_is_refused(sound):
    write_skip(sound / "skip.txt", {"LasHeR_train": dict.fromkeys(names(sound), "")})
    with pytest.raises(ValueError, match="skip.txt: leaves no sequence of LasHeR_train"):
        names(sound, f"DATA.SKIP={sound}/skip.txt")


def test_a_list_is_read_as_it_was_written_and_errors_name_the_line(tmp_path):
    path, known = tmp_path / "skip.txt", ("LasHeR_train", "VTUAV_train")
    skip = {"LasHeR_train": {"blkboy`shead": "a # b", "with space#1": ""}, "VTUAV_train": {"car": "x"}}
    write_skip(path, skip)
    assert read_skip(path, known) == skip
    for text, problem in (
        ("LasHeR_train", "expected <data set>/<sequence>"),
        ("LasHer/x", "unknown data set 'LasHer'"),
    ):
        write_file(path, f"# comment\n\n{text}\n")
        with pytest.raises(ValueError, match=f"skip.txt, line 3: {problem}"):
            read_skip(path, known)
    with pytest.raises(FileNotFoundError, match="DATA.SKIP: .*none.txt: No such file"):
        read_skip(tmp_path / "none.txt", known)


def test_cached_samples_depend_on_the_sequences_that_are_left_out_but_not_on_the_path(tmp_path):
    plain = cache_settings(config(tmp_path))
    assert "SKIP" not in plain
    found = []
    for name in ("a.txt", "b.txt"):
        write_skip(tmp_path / name, {"LasHeR_train": {"x": name}})
        found.append(cache_settings(config(tmp_path, f"DATA.SKIP={tmp_path / name}")))
    assert found[0] == found[1] != plain


# the command


def test_the_command_reports_writes_the_list_and_ends_with_1_until_it_is_used(sound, one_bad):
    command = ("doctor.py", "--config", "debug", "--dataset_name", "LasHeR_train", "--workers", "1")
    environment = {"TRANSCMD_DATA": str(sound)}
    done = run_tracking(*command, "--write-skip", "skip.txt", cwd=sound, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"UNUSABLE sequences that cannot be read: LasHeR/trainingset/{one_bad}/visible.txt, line 1" in done.stdout
    assert "1 of 3 sequences cannot be used; leave them out: --set DATA.SKIP=skip.txt" in done.stdout
    assert list(read_skip(sound / "skip.txt", ["LasHeR_train"])["LasHeR_train"]) == [one_bad]
    more = ("--set", "DATA.SKIP=skip.txt", "--write-skip", "more.txt")
    done = run_tracking(*command, *more, cwd=sound, env=environment)
    assert done.returncode == 0 and "nothing is wrong" in done.stdout, done.stdout
    assert list(read_skip(sound / "more.txt", ["LasHeR_train"])["LasHeR_train"]) == [one_bad]
