"""Streams of images, and the matching of two streams by time."""

import itertools
import re

import cv2
import numpy as np
import pytest

from lib.deploy import pairing, sources
from lib.deploy.live import as_frame, missing_in, open_streams
from lib.deploy.pairing import Counts, Moment, pair_cameras, pair_files
from lib.deploy.sources import Camera, Folder, Half, Stamped, Video, describe, open_source
from tests.deploy.streams import HEIGHT, WIDTH, number_of, picture, write_folder, write_video


class Given:
    """A recording in memory: image number n at the n-th time."""

    def __init__(self, times, name="given"):
        self.times, self.name, self.read, self.damaged, self.announced, self.ended = times, name, 0, [], 0, False

    def __iter__(self):
        for number, time in enumerate(self.times):
            self.read += 1
            yield Stamped(time, np.full((4, 4, 3), number, np.uint8))
        self.ended = True


def pairs(rgb, aux, gap=0.2, offset=0.0):
    """(moments as numbers of the images, counts)"""
    counts = Counts()
    found = pair_files(Given(rgb), Given(aux), gap, counts, offset)
    return [tuple(None if image is None else int(image[0, 0, 0]) for image in m[1:]) for m in found], counts


def test_streams_of_one_rate_are_matched_frame_by_frame():
    found, counts = pairs([0, 0.1, 0.2], [0.01, 0.11, 0.21])
    assert found == [(0, 0), (1, 1), (2, 2)] and counts == Counts(moments=3)
    assert counts.lines() == ["3 frames"]


def test_a_slower_stream_repeats_and_a_faster_one_is_thinned():
    found, counts = pairs([0, 0.1, 0.2, 0.3], [0, 0.2])
    assert [aux for _, aux in found] == [0, 0, 1, 1] and counts.aux_repeated == 2
    found, counts = pairs([0, 0.2], [0, 0.05, 0.1, 0.15, 0.2])
    assert found == [(0, 0), (1, 4)] and counts.aux_unused == 3
    assert counts.lines() == ["2 frames: 3 auxiliary images unused (their stream is faster)"]


def test_a_stream_that_vanishes_and_returns_is_missing_in_between():
    steps = [round(0.1 * n, 1) for n in range(20)]
    found, counts = pairs(steps, steps[:5] + steps[15:])
    assert [aux for _, aux in found][:5] == [0, 1, 2, 3, 4] and [aux for _, aux in found][-5:] == [5, 6, 7, 8, 9]
    assert counts.without_aux == 6 and len(found) == 20  # frames 5, 6 and 13, 14 are within 0.2 s of an image
    found, counts = pairs(steps[:5] + steps[15:], steps)
    assert [rgb for rgb, _ in found if rgb is not None] == list(range(10))
    alone = [aux for rgb, aux in found if rgb is None]
    assert alone == [7, 8, 9, 10, 11, 12] and counts.without_rgb == 6
    assert found == sorted(found, key=lambda pair: pair[1])  # in the order of time


def test_the_shorter_stream_may_end_first():
    steps = [round(0.1 * n, 1) for n in range(10)]
    found, counts = pairs(steps[:4], steps)
    assert found[:4] == [(n, n) for n in range(4)] and counts.without_rgb == len(found) - 4 == 4
    found, counts = pairs(steps, steps[:4])
    assert len(found) == 10 and counts.without_aux == 4


def test_an_offset_moves_the_auxiliary_stream():
    found, _ = pairs([0, 0.1, 0.2, 0.3], [0, 0.1], gap=0.04, offset=0.2)
    assert found == [(0, None), (1, None), (2, 0), (3, 1)]


def test_a_video_is_read_with_its_time_stamps(tmp_path):
    video = Video(write_video(tmp_path / "a.mp4", 12, fps=20))
    found = list(video)
    assert [number_of(image) for _, image in found] == list(range(12))
    assert np.allclose([time for time, _ in found], np.arange(12) / 20, atol=1e-3)
    assert video.read == 12 and video.ended and not describe(video)


def test_frames_are_counted_and_the_header_is_not_believed(tmp_path):
    video = Video(write_video(tmp_path / "a.mp4", 5))
    video.announced = 8
    assert len(list(video)) == 5
    assert describe(video) == [f"{tmp_path}/a.mp4: 5 frames read, its header says 8"]


def test_colours_of_videos_and_folders_are_rgb(tmp_path):
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[..., 2] = 255  # OpenCV's order
    video = write_video(tmp_path / "a.mp4", 1, pictures=[red])
    write_folder(tmp_path / "a", 1)
    cv2.imwrite(str(tmp_path / "a/0000.png"), red)
    for source in (Video(video), Folder(tmp_path / "a")):
        (stamped,) = source
        assert stamped.image[..., 0].min() > 200 and stamped.image[..., 1:].max() < 60


def test_a_folder_leaves_out_damaged_images_and_keeps_the_times(tmp_path):
    folder = write_folder(tmp_path / "images", 6)
    (folder / "0002.png").write_bytes((folder / "0002.png").read_bytes()[:100])
    (folder / "notes.txt").write_text("no image")
    source = Folder(folder, fps=10)
    found = list(source)
    assert [round(time, 1) for time, _ in found] == [0, 0.1, 0.3, 0.4, 0.5]
    assert describe(source) == [f"{folder}: 1 damaged images left out: 0002.png"]
    for path in folder.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 6 images can be decoded; first: .*0000.png: image is empty"):
        list(Folder(folder))


def test_16_bit_images_of_a_folder_share_their_grey_levels(tmp_path):
    for number in range(3):
        image = np.linspace(20000, 21000 + 500 * number, 64 * 96).reshape(64, 96).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    found = [image for _, image in open_source(str(tmp_path), "rgbt", True, 10)]
    assert found[0].max() < 160 and found[2].max() == 255 and all(image.min() == 0 for image in found)


def test_wrong_sources_are_named(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video" * 100)
    (tmp_path / "folder").mkdir()
    whole = write_video(tmp_path / "whole.mp4", 30)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:500])
    for name, text in {
        "none.mp4": "none.mp4: no such video or folder",
        "empty.mp4": "empty.mp4: the file is empty",
        "text.mp4": "text.mp4: cannot be opened as a video",
        "cut.mp4": "cut.mp4: cannot be opened as a video",
        "folder": "folder: no image in this folder; expected names that end in .bmp .jpeg",
    }.items():
        with pytest.raises((ValueError, OSError), match=re.escape(text)):
            open_source(str(tmp_path / name), "rgbt", False, 25)


def test_a_float_image_with_nan_is_named(tmp_path):
    image = np.ones((20, 20), np.float32)
    image[3, 4] = np.nan
    cv2.imwrite(str(tmp_path / "a.tiff"), image)
    with pytest.raises(ValueError, match="a.tiff: 1 of 400 values are NaN or infinite"):
        list(Folder(tmp_path))


def test_a_change_of_size_is_named(tmp_path):
    folder = write_folder(tmp_path / "images", 3)
    cv2.imwrite(str(folder / "0002.png"), picture(2, (80, 60)))
    with pytest.raises(ValueError, match=r"frame 0002.png has 80x60 pixels, the frames before it 96x64"):
        list(Folder(folder))


def test_both_halves_of_a_video_are_two_streams(tmp_path):
    pictures = [np.concatenate([picture(n), picture(20 - n)], axis=1) for n in range(6)]
    path = write_video(tmp_path / "both.mp4", 6, pictures=pictures, size=(2 * WIDTH, HEIGHT))
    streams = open_streams("", "", str(path), "rgbt", 25)
    moments = list(streams.moments(0.2, Counts()))
    assert [number_of(m.rgb) for m in moments] == [0, 1, 2, 3, 4, 5]
    assert [number_of(m.aux) for m in moments] == [20, 19, 18, 17, 16, 15]
    assert moments[0].rgb.shape == (HEIGHT, WIDTH, 3)
    assert Half(path, 1).name == f"{path}, right half"


def test_a_missing_image_is_black_and_another_size_is_fitted():
    image = np.full((30, 40, 3), 9, np.uint8)
    frame = as_frame(Moment(0, image, np.full((60, 80, 3), 5, np.uint8)), None)
    assert frame.aux.shape == (30, 40, 3) and frame.aux.mean() == 5 and frame.rgb is image
    frame = as_frame(Moment(0, None, np.full((60, 80, 3), 5, np.uint8)), (40, 30))
    assert frame.rgb.shape == frame.aux.shape == (30, 40, 3) and not frame.rgb.any()
    assert [missing_in(m) for m in (Moment(0, image, None), Moment(0, None, image), Moment(0, image, image))] == [
        "aux",
        "rgb",
        "",
    ]


class FakeCapture:
    """Stands for cv2.VideoCapture on a camera: `script` says for each read whether an image comes, and its width."""

    def __init__(self, script, opens=True):
        self.script, self.opens = iter(script), opens

    def isOpened(self):  # noqa: N802
        return self.opens

    def read(self):
        width = next(self.script, 0)
        sources.time.sleep(0.005)
        return (True, np.full((8, width, 3), 40, np.uint8)) if width else (False, None)

    def release(self):
        pass


def test_a_camera_that_stops_is_opened_again(monkeypatch):
    monkeypatch.setattr(sources, "RETRY", 0.01)
    captures = iter([FakeCapture([16] * 3), FakeCapture([], opens=False), FakeCapture(itertools.repeat(16))])
    camera = Camera(0, lambda address: next(captures))
    first = camera.latest(-1.0, 1.0)
    counts = Counts()
    moments = pair_cameras(camera, None, 0.5, counts)
    while camera.reopened < 1:
        assert next(moments).rgb.shape == (8, 16, 3)
    later = next(moments)
    camera.close()
    assert later.time > first.time and describe(camera) == ["camera 0: stopped and came back 1 times"]


def test_one_of_two_cameras_may_be_silent(monkeypatch):
    monkeypatch.setattr(sources, "RETRY", 0.01)
    monkeypatch.setattr(pairing, "SILENCE", 0.3)
    captures = {0: [FakeCapture([16] * 4)], 1: [FakeCapture([16] * 40)]}

    def open_capture(address):  # once; then the camera cannot be opened again
        return captures[address].pop() if captures[address] else FakeCapture([], opens=False)

    rgb, aux = Camera(0, open_capture), Camera(1, open_capture)
    counts, moments = Counts(), []
    with pytest.raises(ValueError, match="camera 0: no image for 0.3 seconds"):
        for moment in pair_cameras(rgb, aux, 0.03, counts):
            moments.append(moment)
    rgb.close()
    aux.close()
    assert counts.without_rgb == sum(m.rgb is None for m in moments) > 3
    assert any(m.rgb is not None for m in moments) and [m.time for m in moments] == sorted(m.time for m in moments)


def test_cameras_that_do_not_work_are_named(monkeypatch):
    with pytest.raises(ValueError, match="camera 7: cannot be opened"):
        Camera(7, lambda _: FakeCapture([], opens=False))
    monkeypatch.setattr(sources, "PATIENCE", 0.05)
    monkeypatch.setattr(sources, "RETRY", 0.01)
    with pytest.raises(ValueError, match="camera 7: opened, but sent no image in 0.05 seconds"):
        Camera(7, lambda _: FakeCapture([]))
    camera = Camera(7, lambda _: FakeCapture([16, 16, 20, 20]))
    with pytest.raises(ValueError, match="camera 7: frame 2 has 20x8 pixels, the frames before it 16x8"):
        for _ in pair_cameras(camera, None, 0.5, Counts()):
            pass
    camera.close()
