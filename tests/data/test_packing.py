"""Packing with re-encoding keeps its bound; the check of a packed file names what is wrong, cut-off images included."""

import os
import signal
import sys

import cv2
import lmdb
import numpy as np
import pytest

from lib.data.image import check_complete, decode_color, decode_depth, peak_signal_to_noise
from lib.data.packing import to_jpeg, to_png, verify_lmdb
from lib.data.storage import LmdbStore, find_files, pack_lmdb
from tests.helpers import encode, numbered_depth, write_file, write_small
from tests.processes import ROOT, run, run_tracking


def smooth(seed=0, height=60, width=80):
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def noisy(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (60, 80, 3)).astype(np.uint8)


def test_bmp_becomes_png_without_loss():
    data = encode(smooth(), ".bmp")
    packed = to_png("a/frame0001.bmp", data)
    assert packed[:4] == b"\x89PNG" and len(packed) < len(data)
    np.testing.assert_array_equal(decode_color(packed, "a"), smooth())
    png = encode(smooth(), ".png")
    assert to_png("a.png", png) is png and to_png("a.txt", data) is data


@pytest.mark.parametrize("psnr", [30, 42, 50])
@pytest.mark.parametrize("suffix", [".bmp", ".png"])
def test_jpeg_keeps_the_bound_with_the_smallest_quality(psnr, suffix):
    data = encode(smooth(), suffix)
    packed = to_jpeg(psnr)(f"a{suffix}", data)
    if packed is not data:
        assert packed[:2] == b"\xff\xd8" and len(packed) < len(data)
    assert peak_signal_to_noise(decode_color(packed, "a"), smooth()) >= psnr
    assert len(to_jpeg(30)("a.bmp", encode(smooth(), ".bmp"))) < len(to_jpeg(45)("a.bmp", encode(smooth(), ".bmp")))


def test_an_image_that_cannot_meet_the_bound_remains():
    data = encode(noisy(), ".bmp")
    assert to_jpeg(60)("a.bmp", data) is data and to_jpeg(10)("a.bmp", data) is not data


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("depth.png", encode(numbered_depth(3), ".png")),
        ("grey.png", encode(smooth()[..., 0], ".png")),
        ("deep.png", encode(smooth().astype(np.uint16) * 200, ".png")),
        ("alpha.png", cv2.imencode(".png", np.dstack([smooth(), smooth()[..., 0]]))[1].tobytes()),
        ("cut.bmp", encode(smooth(), ".bmp")[:3000]),
        ("photo.jpg", encode(smooth(), ".jpg")),
        ("boxes.txt", b"1,2,3,4\n"),
    ],
)
def test_everything_else_remains(key, data):
    assert to_jpeg(20)(key, data) is data and to_png(key, data) is data


def test_equal_images_have_no_noise():
    assert peak_signal_to_noise(smooth(), smooth()) == float("inf")
    assert peak_signal_to_noise(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)) == 0


@pytest.fixture
def folder(tmp_path):
    for number in range(8):
        write_file(tmp_path / "Set" / f"{number}.bmp", encode(smooth(number), ".bmp"))
    write_file(tmp_path / "Set/depth.png", encode(numbered_depth(7), ".png"))
    write_file(tmp_path / "Set/boxes.txt", "1,2,3,4\n")
    return tmp_path / "Set"


@pytest.mark.parametrize("convert", [None, to_png, to_jpeg(40)])
def test_a_sound_file_passes_the_check(folder, tmp_path, convert):
    keys = list(pack_lmdb(folder, tmp_path / "Set.lmdb", convert))
    assert keys == [key.decode() for key in find_files(folder)]
    assert [*verify_lmdb(folder, tmp_path / "Set.lmdb", convert)] == [(key, "") for key in keys]
    store = LmdbStore(tmp_path / "Set.lmdb")
    assert decode_depth(store.read("depth.png"), "a").shape == (16, 20, 3)
    assert peak_signal_to_noise(decode_color(store.read("3.bmp"), "3.bmp"), smooth(3)) >= 40


def test_changed_and_missing_values_and_cut_off_images_are_named(folder, tmp_path):
    data = (folder / "2.bmp").read_bytes()
    (folder / "2.bmp").write_bytes(data[:900])
    list(pack_lmdb(folder, tmp_path / "Set.lmdb"))
    with lmdb.open(str(tmp_path / "Set.lmdb"), subdir=False, lock=False) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"4.bmp", b"other")
            transaction.delete(b"5.bmp")
    problems = {key: problem for key, problem in verify_lmdb(folder, tmp_path / "Set.lmdb") if problem}
    assert list(problems) == ["2.bmp", "4.bmp", "5.bmp"]
    assert problems["2.bmp"].startswith(f"{folder}/2.bmp: image is empty or cut off (900 bytes)")
    assert "4.bmp: differs in" in problems["4.bmp"] and "5.bmp: is missing in" in problems["5.bmp"]
    with pytest.raises(ValueError, match="cut off"):
        check_complete(data[:900], "2.bmp")


def test_interrupted_packing_continues_only_with_the_same_settings(folder, tmp_path):
    code = (
        "import os, signal, sys; from lib.data.storage import pack_lmdb; from lib.data.packing import to_png\n"
        "for number, key in enumerate(pack_lmdb(*sys.argv[1:], to_png, 'png')):\n"
        "    if number == 4: os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for settings, expected in (("png", 5), ("jpeg 40", 10)):
        target = tmp_path / f"{settings}.lmdb"
        done = run([sys.executable, "-c", code, folder, target], env=environment)
        assert done.returncode == -signal.SIGKILL
        converted = []
        list(pack_lmdb(folder, target, lambda key, data, seen=converted: seen.append(key) or data, settings))
        assert len(converted) == expected
        assert (LmdbStore(target).read("0.bmp")[:4] == b"\x89PNG") == (settings == "png")


def test_the_command_verifies_and_names_a_cut_off_image(tmp_path):
    folders = write_small(tmp_path, "VisEvent", "test", sequences=2)
    done = run_tracking("pack_lmdb.py", "VisEvent", "a.lmdb", "--reencode", "png", cwd=tmp_path)
    assert done.returncode == 0 and "verified: " in done.stdout, done.stderr
    path = folders[0] / "event_imgs/frame0002.bmp"
    path.write_bytes(path.read_bytes()[:300])
    done = run_tracking("pack_lmdb.py", "VisEvent", "b.lmdb", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("error: ") == 1
    assert "1 of 28 files: VisEvent/test/visevent0/event_imgs/frame0002.bmp: image is empty or cut off" in done.stderr
    done = run_tracking("pack_lmdb.py", "VisEvent", "c.lmdb", "--no-verify", cwd=tmp_path)
    assert done.returncode == 0
