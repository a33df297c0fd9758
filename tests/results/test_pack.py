"""Archives of results: packed and published archives are read; damaged and malicious archives are refused."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation.benchmarks import BENCHMARKS
from lib.results import unpack
from lib.results.pack import make_zip, pack_results
from lib.results.raw import read_boxes, read_numbers, write_result
from lib.results.unpack import unpack_results, write_files

FORMS = {name: benchmark.form for name, benchmark in BENCHMARKS.items()}
ONE_PASS = sorted({form for form in FORMS.values() if not form.runs})
NAMES = ("car", "old car", "blkboy`shead", "y_time", "x", "Tiny", "a.b", "1_001")


def write(folder, name, frames=3, value=1.0):
    write_result(folder, name, np.full((frames, 4), value), np.full(frames, 0.5), np.full(frames, 0.9))


def zip_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tar_of(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpacked(path, tracker=""):
    return {name: content.decode() for name, content in unpack_results(path, tracker).files.items()}


# pack and unpack


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(ONE_PASS),
    seed=st.integers(0, 2**32 - 1),
    names=st.sets(st.sampled_from(NAMES), min_size=1),
)
def test_packed_results_are_unpacked_unchanged(tmp_path_factory, form, seed, names):
    folder, rng = tmp_path_factory.mktemp("there"), np.random.default_rng(seed)
    for name in sorted(names):
        frames = int(rng.integers(1, 30))
        boxes = np.concatenate([rng.uniform(-50, 3000, (frames, 2)), rng.uniform(0, 900, (frames, 2))], axis=1)
        write_result(folder, name, boxes, rng.uniform(0, 2, frames), rng.random(frames))
    path = folder / "x.zip"
    path.write_bytes(make_zip(pack_results(folder, form, "Tiny")))
    result = unpack_results(path)
    assert result.sequences == len(names) and result.left_out == []
    write_files(folder / "back", result.files)
    for name in names:
        boxes = read_boxes(folder / f"{name}.txt")
        atol = 1.01e-4 if form.corners else 0  # a width is the difference of two written numbers
        np.testing.assert_allclose(read_boxes(folder / f"back/{name}.txt"), boxes, rtol=0, atol=atol)
        for suffix in ("_time", "_score") if form.score else ():
            copy = (folder / f"back/{name}{suffix}.txt").read_text()
            assert copy == (folder / f"{name}{suffix}.txt").read_text()


@pytest.mark.parametrize(
    ("benchmark", "member", "row"),
    [
        ("LasHeR", "Tiny/car.txt", "1.0000,2.5000,30.0000,40.0000"),
        ("VisEvent", "Tiny/car.txt", "1.0000,2.5000,30.0000,40.0000"),
        ("VTUAV_ST", "Tiny/car.txt", "1.0000 2.5000 30.0000 40.0000"),
        ("STC", "Tiny/car.txt", "1.0000\t2.5000\t30.0000\t40.0000"),
        ("RGBT234", "Tiny/Tiny_car.txt", "1.0000 2.5000 31.0000 2.5000 31.0000 42.5000 1.0000 42.5000"),
        ("GTOT", "Tiny/Tiny_car.txt", "1.0000 2.5000 31.0000 2.5000 31.0000 42.5000 1.0000 42.5000"),
        ("CDTB", "Tiny/rgbd-unsupervised/car/car_001.txt", "1.0000,2.5000,30.0000,40.0000"),
    ],
)
def test_each_tool_gets_its_format(tmp_path, benchmark, member, row):
    write_result(tmp_path, "car", np.array([[1, 2.5, 30, 40]]), np.array([0.5]), np.array([1.0]))
    members = pack_results(tmp_path, FORMS[benchmark], "Tiny")
    assert members[member].decode() == f"{row}\n"
    assert len(members) == (3 if benchmark == "CDTB" else 1)


def test_the_vot_toolkit_reads_what_is_packed(tmp_path):
    results = pytest.importorskip("vot.tracker.results")
    storage = pytest.importorskip("vot.workspace.storage").LocalStorage
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(1, 300, (5, 4)), rng.random(5)
    boxes[3] = np.nan  # the tracker gave no box
    write_result(tmp_path, "car", boxes, np.full(5, 0.25), scores)
    write_files(tmp_path / "vot", pack_results(tmp_path, FORMS["DepthTrack"], "Tiny"))
    place = storage(str(tmp_path / "vot/Tiny/rgbd-unsupervised/car"))
    trajectory = results.Trajectory.read(results.Results(place), "car_001")
    for frame, box in enumerate(boxes):
        if frame == 3:
            assert trajectory.region(frame).code == results.Trajectory.UNKNOWN
        else:
            region = trajectory.region(frame)
            np.testing.assert_allclose([region.x, region.y, region.width, region.height], box, atol=1e-3)
        assert trajectory.properties(frame)["confidence"] == pytest.approx(scores[frame], abs=1e-6)
        assert trajectory.properties(frame)["time"] == 0.25


def test_codes_of_the_toolkit_are_packed_and_unpacked(tmp_path):
    folder = tmp_path / "in/car"
    folder.mkdir(parents=True)
    (folder / "car_001.txt").write_text("1\n5,6,7,8\n0\n")
    (folder / "car_001_confidence.value").write_text("\n0.5\nnan\n")
    members = pack_results(tmp_path / "in", FORMS["DepthTrack"], "T")
    begin = "T/rgbd-unsupervised/car/car_001"
    assert members[f"{begin}.txt"].decode() == "1\n5.0000,6.0000,7.0000,8.0000\n0\n"
    assert members[f"{begin}_confidence.value"].decode() == "0.000000\n0.500000\nnan\n"
    (tmp_path / "x.zip").write_bytes(make_zip(members))
    files = unpacked(tmp_path / "x.zip")
    assert files["car.txt"].split("\n")[0] == "nan\tnan\tnan\tnan" and files["car_score.txt"].startswith("0.000000\n")
    zip_of(tmp_path / "y.zip", **{"T/car/car_001.txt": "1\n5,6,7,8\n", "T/car/car_001_confidence.value": "\n0.5\n"})
    assert unpacked(tmp_path / "y.zip")["car_score.txt"] == "0.000000\n0.500000\n"


def test_runs_from_anchors_are_packed_unchanged(tmp_path):
    folder = tmp_path / "results/Tiny/baseline/car"
    folder.mkdir(parents=True)
    contents = {
        "car_00000000.txt": b"1\n5,6,7,8\n",
        "car_00000050.bin": struct.pack("<hIBIBffff", 1, 2, 0, 1, 1, 5, 6, 7, 8),
        "car_00000000_time.value": b"0.1\n0.2\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "notes.md").write_text("not packed")
    expected = {f"Tiny/baseline/car/{name}": content for name, content in contents.items()}
    for place in (tmp_path / "results/Tiny", tmp_path / "results/Tiny/baseline"):
        members = pack_results(place, FORMS["VOT-RGBD2022"], "Tiny")
        assert members == expected
    (tmp_path / "x.zip").write_bytes(make_zip(members))
    result = unpack_results(tmp_path / "x.zip")
    assert result.sequences == 1 and result.left_out == []
    assert result.files == {f"baseline/car/{name}": content for name, content in contents.items()}
    (folder / "car_00000050.txt").write_text("")
    with pytest.raises(ValueError, match="car_00000050.txt: the run has no frame"):
        pack_results(tmp_path / "results/Tiny", FORMS["VOT-RGBD2022"], "Tiny")


def test_files_of_other_systems_are_not_packed(tmp_path):
    write_result(tmp_path, "car", np.array([[1.0, 2, 3, 4]]), np.array([0.1]), np.array([0.5]))
    before = pack_results(tmp_path, FORMS["LasHeR"], "T")
    (tmp_path / "._car.txt").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".DS_Store").write_bytes(b"\x00")
    assert pack_results(tmp_path, FORMS["LasHeR"], "T") == before


def test_the_same_results_give_the_same_bytes(tmp_path):
    for name in ("b", "a"):
        write(tmp_path, name)
    first = make_zip(pack_results(tmp_path, FORMS["LasHeR"], "T"))
    (tmp_path / "a.txt").touch()
    assert make_zip(dict(reversed(pack_results(tmp_path, FORMS["LasHeR"], "T").items()))) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == ["T/a.txt", "T/b.txt"]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


# what cannot be packed


def test_all_missing_files_are_listed_together(tmp_path):
    write(tmp_path, "car")
    with pytest.raises(ValueError, match="no result of 2 of 3 sequences: bus, man"):
        pack_results(tmp_path, FORMS["LasHeR"], "T", ["man", "car", "bus"])
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        pack_results(tmp_path / "nowhere", FORMS["LasHeR"], "T")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no result, expected <sequence>\.txt"):
        pack_results(tmp_path / "empty", FORMS["LasHeR"], "T")
    with pytest.raises(ValueError, match="tracker '../T': expected letters, digits"):
        pack_results(tmp_path, FORMS["LasHeR"], "../T")


def test_every_file_is_read_before_it_is_packed(tmp_path):
    write(tmp_path, "car")
    (tmp_path / "car_score.txt").write_text("0.5\n")
    with pytest.raises(ValueError, match=r"car_score\.txt: 1 rows for the 3 boxes in car\.txt"):
        pack_results(tmp_path, FORMS["CDTB"], "T")
    (tmp_path / "car_score.txt").unlink()
    with pytest.raises(ValueError, match=r"car\.txt: no file with confidences"):
        pack_results(tmp_path, FORMS["CDTB"], "T")
    (tmp_path / "car.txt").write_text("")
    with pytest.raises(ValueError, match=r"car\.txt: no box"):
        pack_results(tmp_path, FORMS["LasHeR"], "T")
    (tmp_path / "car.txt").write_text("1 2 3 4\n1 2 -3 4\n")
    assert pack_results(tmp_path, FORMS["LasHeR"], "T")
    with pytest.raises(ValueError, match=r"car\.txt, row 2: negative size"):
        pack_results(tmp_path, FORMS["GTOT"], "T")
    (tmp_path / "car.txt").write_text("1 2 3 4\n1 2 x 4\n")
    with pytest.raises(ValueError, match=r"car\.txt, line 2: 'x' is not a number"):
        pack_results(tmp_path, FORMS["LasHeR"], "T")


# what others publish


def test_published_archives_of_one_tracker(tmp_path):
    members = {
        "OTR/OTR_car.txt": "1,2,3,4\r\n5,6,7,8\r\n",
        "OTR/OTR_man_time.txt": "0.1\n",
        "OTR/OTR_man.txt": "1 2 3 2 3 5 1 5\n",
        "OTR/readme.txt": "OTR on STC\n",
        "__MACOSX/OTR/._OTR_car.txt": "\0\5",
        "OTR/.DS_Store": "\0",
        "OTR/plot.png": "\0",
    }
    result = unpack_results(zip_of(tmp_path / "x.zip", **members))
    assert {name: content.decode() for name, content in result.files.items()} == {
        "car.txt": "1.0000\t2.0000\t3.0000\t4.0000\n5.0000\t6.0000\t7.0000\t8.0000\n",
        "man.txt": "1.0000\t2.0000\t2.0000\t3.0000\n",
        "man_time.txt": "0.100000\n",
    }
    assert result.sequences == 2 and [text.split("/")[-1] for text in result.left_out] == ["readme.txt: not a result"]


def test_a_prefix_is_removed_only_if_all_files_and_a_folder_have_it(tmp_path):
    flat = {"OTR_car.txt": "1 2 3 4\n", "OTR_man.txt": "1 2 3 4\n"}
    assert set(unpacked(zip_of(tmp_path / "otr.zip", **flat))) == {"car.txt", "man.txt"}
    assert set(unpacked(zip_of(tmp_path / "x.zip", **flat))) == set(flat)
    assert set(unpacked(zip_of(tmp_path / "otr.tmp", **flat, **{"man.txt": "1 2 3 4\n"}))) == {*flat, "man.txt"}


def test_several_trackers_get_folders_and_one_can_be_selected(tmp_path):
    members = {
        "results/A/LasHeR/car.txt": b"1 2 3 4\n",
        "results/B/LasHeR/car.txt": b"5 6 7 8\n",
        "results/note.txt": b"two trackers\n",
    }
    path = tar_of(tmp_path / "all.tar.gz", members)
    assert set(unpacked(path)) == {"A/LasHeR/car.txt", "B/LasHeR/car.txt"}
    assert unpacked(path, "B") == {"car.txt": "5.0000\t6.0000\t7.0000\t8.0000\n"}
    with pytest.raises(ValueError, match="no results of 'C'; folders with files: A, B, LasHeR, results"):
        unpack_results(path, "C")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_files_of_all_kinds(tmp_path, mode):
    path = tar_of(tmp_path / "x.tar", {"T/car.txt": b"1 2 3 4\n"}, mode)
    assert set(unpacked(path)) == {"car.txt"}


def test_vot_layouts_with_the_oddities_of_published_ones(tmp_path):
    members = {
        "T/rgbd-unsupervised/car/car_001.txt": "1,2,3,4\n5,6,7,8\n",
        "T/rgbd-unsupervised/car/car_001_confidence.txt": "1\n0.5\n",  # DAL's
        "T/rgbd-unsupervised/car/car001_time.value": "0.1\n0.2\n",  # DeT's
        "T/rgbd-unsupervised/car/car_001(1).txt": "1,2,3,4\n",
        "T/rgbd-unsupervised/man/man_001.txt": "1,2,3,4\n",
        "T/rgbd-unsupervised/man/man_001_time.value": "0.1\n0.2\n",
    }
    result = unpack_results(zip_of(tmp_path / "x.zip", **members))
    assert set(result.files) == {"car.txt", "car_score.txt", "car_time.txt", "man.txt"}
    assert sorted(text.split("/")[-1] for text in result.left_out) == [
        "car_001(1).txt: not a result",
        "man_001_time.value: 2 rows for 1 boxes",
    ]


def test_the_toolkits_binary_files(tmp_path):
    binary = struct.pack("<hIBIBffff", 1, 2, 0, 1, 1, 5, 6, 7, 8)
    path = zip_of(tmp_path / "x.zip", **{"T/car/car_001.bin": binary})
    assert unpacked(path)["car.txt"] == "nan\tnan\tnan\tnan\n5.0000\t6.0000\t7.0000\t8.0000\n"
    path = zip_of(tmp_path / "y.zip", **{"T/car/car_001.bin": binary[:-2]})
    with pytest.raises(ValueError, match=r"y\.zip:T/car/car_001\.bin: the file is cut off"):
        unpack_results(path)


def test_published_results_are_packed_and_unpacked(shared, tmp_path):
    for tracker, benchmark in (("STC/OTR", "STC"), ("GTOT/APFNet_8corner", "GTOT")):
        source = shared / "reference/results" / tracker
        target = tmp_path / benchmark
        target.mkdir()
        members = {f"{source.name}/{p.name}": p.read_bytes() for p in source.glob("*.txt")}
        write_files(target, unpack_results(tar_of(tmp_path / f"{benchmark}.tgz", members)).files)
        (tmp_path / "x.zip").write_bytes(make_zip(pack_results(target, FORMS[benchmark], "T")))
        result = unpack_results(tmp_path / "x.zip")
        assert result.sequences == len(members) > 30 and result.left_out == []
        write_files(tmp_path / f"{benchmark}_back", result.files)
        for path in source.glob("*.txt"):
            copy = tmp_path / f"{benchmark}_back" / path.name.removeprefix("OTR_")
            np.testing.assert_allclose(read_boxes(copy), read_boxes(path), rtol=0, atol=2e-4)
    vot = shared / "reference/results/DepthTrack_vot_layout/DeT_DiMP50_Max"
    members = {f"DeT/{p.relative_to(vot)}": p.read_bytes() for p in vot.rglob("*") if p.is_file()}
    assert pack_results(vot, FORMS["DepthTrack"], "DeT").keys() == members.keys()
    result = unpack_results(tar_of(tmp_path / "vot.tgz", members))
    assert len(result.files) == len(members) == 9 and result.left_out == []
    write_files(tmp_path / "vot", result.files)
    name = "adapter01_indoor"
    path = vot / f"rgbd-unsupervised/{name}/{name}_001.txt"
    np.testing.assert_array_equal(read_boxes(tmp_path / f"vot/{name}.txt"), read_boxes(path))
    confidences = read_numbers(path.with_name(f"{name}_001_confidence.value"))
    np.testing.assert_array_equal(read_numbers(tmp_path / f"vot/{name}_score.txt"), confidences)


# broken and hostile archives


@pytest.mark.parametrize(
    "name", ["../car.txt", "T/../../car.txt", "/etc/car.txt", "..\\car.txt", "C:\\car.txt", "\\\\host\\car.txt"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leaves_the_archive_is_refused(tmp_path, name, kind):
    members = {"T/good.txt": b"1 2 3 4\n", name: b"1 2 3 4\n"}
    path = zip_of(tmp_path / "x.zip", **members) if kind == "zip" else tar_of(tmp_path / "x.tgz", members)
    with pytest.raises(ValueError, match="is outside the archive; nothing is unpacked"):
        unpack_results(path)


def test_links_are_ignored(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind, name in (
            (tarfile.SYMTYPE, "T/man.txt"),
            (tarfile.LNKTYPE, "T/bus.txt"),
            (tarfile.FIFOTYPE, "T/f.txt"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("T/car.txt")
        info.size = 8
        archive.addfile(info, io.BytesIO(b"1 2 3 4\n"))
    assert set(unpacked(tmp_path / "x.tar")) == {"car.txt"}


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MAX_BYTES", 1 << 20)
    bomb = b"\0" * (3 << 20)
    small = b"1 2 3 4\n" * 100_000
    for path in (
        zip_of(tmp_path / "a.zip", **{"T/car.txt": bomb}),
        zip_of(tmp_path / "b.zip", **{"T/car.txt": small, "T/man.txt": small}),
        tar_of(tmp_path / "a.tgz", {"T/car.txt": bomb}),
        tar_of(tmp_path / "b.tgz", {"T/picture.png": bomb}),
        tar_of(tmp_path / "c.tgz", {f"T/{'x' * (3 << 20)}.txt": b"1 2 3 4\n"}),  # in a header
    ):
        assert path.stat().st_size < 1 << 20
        with pytest.raises(ValueError, match="more than 1 MB unpacked"):
            unpack_results(path)
    assert unpack_results(zip_of(tmp_path / "c.zip", **{"T/car.txt": small, "T/picture.png": bomb})).sequences == 1
    monkeypatch.setattr(unpack, "MAX_FILES", 2)
    with pytest.raises(ValueError, match="more than 2 files"):
        unpack_results(zip_of(tmp_path / "d.zip", **{f"T/{name}.txt": b"1 2 3 4\n" for name in "abc"}))


def test_a_zip_with_a_wrong_size_is_refused(tmp_path):
    path = zip_of(tmp_path / "x.zip", **{"car.txt": b"1 2 3 4\n" * 1000})
    data = path.read_bytes().replace(struct.pack("<I", 8000), struct.pack("<I", 80))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.zip: cannot be read as a zip or tar archive"):
        unpack_results(path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_cut_off_and_damaged_archives_are_named(tmp_path, mode):
    rows = np.random.default_rng(0).integers(0, 9, (2000, 4)).tolist()
    text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    data = tar_of(tmp_path / "whole.tar", {"T/car.txt": text.encode()}, mode).read_bytes()
    (tmp_path / "x.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"x\.tar: cannot be read as a zip or tar archive"):
        unpack_results(tmp_path / "x.tar")
    zip_path = zip_of(tmp_path / "x.zip", **{"car.txt": b"1 2 3 4\n" * 50})
    damaged = bytearray(zip_path.read_bytes())
    damaged[40] ^= 0xFF
    zip_path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"x\.zip: cannot be read as a zip or tar archive"):
        unpack_results(zip_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"Rar!\x1a\x07", gzip.compress(b"text", mtime=0), bz2.compress(b""), lzma.compress(b"x")],
    ids=["empty", "rar", "gzip", "bzip2", "xz"],
)
def test_files_that_are_not_archives_are_refused(tmp_path, content):
    (tmp_path / "x.rar").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.rar: (cannot be read as a zip or tar archive|no results)"):
        unpack_results(tmp_path / "x.rar")


def test_archives_without_results_or_with_broken_ones_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no results, expected <sequence>.txt"):
        unpack_results(zip_of(tmp_path / "x.zip", **{"readme.txt": "hello\n"}))
    with pytest.raises(ValueError, match=r"y\.zip:T/car\.txt, line 2: 'x' is not a number"):
        unpack_results(zip_of(tmp_path / "y.zip", **{"T/car.txt": "1 2 3 4\n1 2 x 4\n"}))
    with pytest.raises(ValueError, match=r"z\.zip:T/car\.txt: expected UTF-8 text"):
        unpack_results(zip_of(tmp_path / "z.zip", **{"T/car.txt": b"1 2 3 4\n\xff\xfe"}))
    with pytest.raises(FileNotFoundError):
        unpack_results(tmp_path / "nothing.zip")


def test_nothing_is_overwritten_unless_it_is_equal_or_forced(tmp_path):
    assert write_files(tmp_path, {"a.txt": b"1", "b/c.txt": b"2"}) == 2
    assert write_files(tmp_path, {"a.txt": b"1", "b/c.txt": b"2", "d.txt": b"3"}) == 1
    with pytest.raises(ValueError, match=r"1 files exist already, with different content \(a\.txt\); use --force"):
        write_files(tmp_path, {"a.txt": b"other", "e.txt": b"4"})
    assert not (tmp_path / "e.txt").exists() and (tmp_path / "a.txt").read_bytes() == b"1"
    assert write_files(tmp_path, {"a.txt": b"other"}, force=True) == 1


# the command


def failed(done, *parts):
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert all(part in lines[0] for part in parts), lines[0]


def test_the_command_packs_results_and_reads_them_back(run_command, demo_data, tmp_path):
    done = run_command("test.py", "static", "debug", "--dataset_name", "DepthTrack", "--drop", "aux:0.5")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "output/test/tracking_results/static/debug_drop_aux-0.5-random-blackout/DepthTrack"
    pack = ["pack_results.py", "--benchmark", "DepthTrack", "--results", folder, "--output", "out/x.zip"]
    truth = ["--annotations", demo_data / "DepthTrack"]
    done = run_command(*pack, *truth)
    assert done.returncode == 0, done.stderr
    assert "6 files of static_debug_drop_aux-0.5-random-blackout on DepthTrack" in done.stdout
    assert "note: part of the input was dropped in these results (aux:0.5:random:blackout:0)" in done.stdout
    failed(run_command(*pack), "results of 2 sequences, DepthTrack has 50", "--annotations", "--allow-missing")
    done = run_command(*pack, "--allow-missing")  # the same bytes: nothing is overwritten
    assert done.returncode == 0 and "lengths were not checked" in done.stdout
    failed(run_command(*pack, *truth, "--name", "Mine"), "x.zip", "--force")
    assert run_command(*pack, *truth, "--name", "Mine", "--force").returncode == 0
    done = run_command("pack_results.py", "--unpack", "out/x.zip", "--output", "back")
    assert done.returncode == 0 and "2 sequences in 6 files, 6 of them new" in done.stdout, done.stderr
    for path in (tmp_path / "back").iterdir():
        assert path.read_text() == (folder / path.name).read_text()
    first = sorted(folder.glob("*_score.txt"))[0]
    name = first.stem.removesuffix("_score")
    (tmp_path / f"back/{name}.txt").write_text("1 2 3 4\n")
    failed(run_command("pack_results.py", "--unpack", "out/x.zip", "--output", "back"), f"{name}.txt", "--force")
    assert run_command("pack_results.py", "--unpack", "out/x.zip", "--output", "back", "--force").returncode == 0
    (folder / f"{name}.txt").unlink()
    failed(run_command(*pack, *truth), "results are missing or do not fit", f"1 of 2: {name}")
    failed(run_command(*pack[:-1], "x.rar", *truth), "--output x.rar: expected a name that ends in .zip")
    done = run_command("pack_results.py", "--results", folder, "--output", "x.zip")
    assert done.returncode == 2 and "--results needs --benchmark" in done.stderr
