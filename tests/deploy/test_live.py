"""tracking/demo.py and what it draws and writes."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from lib.deploy import live, show
from lib.deploy.live import follow
from lib.deploy.pairing import Moment
from lib.deploy.show import Recorder, Shown, check_display, draw_live
from lib.structures import Frame, Prediction
from lib.tracker.confidence import ANNOUNCED, PATIENCE, Watch
from lib.tracker.cropped import STATES, UNSEEN, state_of
from tests.deploy.streams import (
    HEIGHT,
    WIDTH,
    picture,
    read_video,
    target_picture,
    write_folder,
    write_video,
)
from tests.processes import ROOT, run_tracking, started

BOX = ["--box", 20, 20, 20, 20]


@pytest.fixture
def streams(tmp_path):
    write_video(tmp_path / "a.mp4", 12)
    write_video(tmp_path / "b.mp4", 12)
    return tmp_path


def demo(folder, *arguments, env=None):
    return run_tracking("demo.py", *arguments, cwd=folder, env=env)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_one_line(done, *parts):
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("OpenCV: FFMPEG: tag")]  # not ours
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for part in parts:
        assert part in done.stderr


def test_two_videos_become_a_video_and_one_line_per_frame(streams):
    done = demo(streams, "--rgb", "a.mp4", "--aux", "b.mp4", *BOX, "--output", "out/out.mp4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["12 frames", "out/out.mp4", "out/out.jsonl"]
    header, *rows = lines_of(streams / "out/out.jsonl")
    assert header["modality"] == "rgbt" and header["config"] == "nano"
    assert [row["frame"] for row in rows] == list(range(12)) and np.allclose([row["time"] for row in rows][1], 0.1)
    assert rows[0]["box_xywh"] == [20, 20, 20, 20] and all(0 <= row["score"] <= 1 for row in rows)
    frames = read_video(streams / "out/out.mp4")
    assert len(frames) == 12 and frames[0].shape == (240, 720, 3)  # enlarged, both images
    assert sorted(path.name for path in (streams / "out").iterdir()) == ["out.jsonl", "out.mp4"]


def test_rgb_alone_and_a_side_by_side_video(streams):
    done = demo(streams, "--rgb", "a.mp4", *BOX, "--output", "one.mp4")
    assert done.returncode == 0, done.stderr
    assert read_video(streams / "one.mp4")[0].shape == (240, 360, 3)
    assert lines_of(streams / "one.jsonl")[0]["modality"] == "rgb"
    both = [np.concatenate([picture(n), picture(n)], axis=1) for n in range(5)]
    write_video(streams / "both.mp4", 5, pictures=both, size=(2 * WIDTH, HEIGHT))
    done = demo(streams, "--side_by_side", "both.mp4", *BOX, "--modality", "rgbd", "--output", "two.mp4")
    assert done.returncode == 0 and "5 frames" in done.stdout, done.stderr
    assert len(lines_of(streams / "two.jsonl")) == 6


def test_folders_of_other_rates_and_lengths_are_reported(streams):
    write_folder(streams / "rgb", 12)
    write_folder(streams / "aux", 4)
    folders = ["--rgb", "rgb", "--aux", "aux", "--fps", 10]
    done = demo(streams, *folders, *BOX, "--output", "out.mp4")
    assert done.returncode == 0, done.stderr
    assert "12 frames: 6 without auxiliary image" in done.stdout
    rows = lines_of(streams / "out.jsonl")[1:]
    assert [row["missing"] for row in rows] == [""] * 6 + ["aux"] * 6
    assert rows[-1]["state"].endswith(", no aux")


def test_unequal_sizes_are_scaled_and_reported(streams):
    for size, words in (((48, 32), ""), ((64, 64), "; their shapes differ: are they aligned?")):
        write_video(streams / "small.mp4", 4, size=size)
        done = demo(streams, "--rgb", "a.mp4", "--aux", "small.mp4", *BOX, "--output", "out.mp4")
        assert done.returncode == 0, done.stderr
        line = f"auxiliary images of {size[0]}x{size[1]} pixels were scaled to 96x64{words}"
        assert line in done.stdout.splitlines()
        assert read_video(streams / "out.mp4")[0].shape == (240, 720, 3)


def test_wrong_input_is_one_line(streams):
    (streams / "empty.mp4").touch()
    out = ["--output", "out.mp4"]
    for arguments, parts in (
        (["--rgb", "none.mp4", *BOX, *out], ["none.mp4: no such video or folder"]),
        (["--rgb", "a.mp4", "--aux", "empty.mp4", *BOX, *out], ["empty.mp4: the file is empty"]),
        (["--rgb", "63", *BOX, *out], ["camera 63: cannot be opened"]),
        (["--rgb", "a.mp4", "--box", 500, 20, 20, 20, *out], ["init box (500, 20, 20, 20) is outside the 96x64 image"]),
        (["--rgb", "a.mp4", "--box", 5, 20, -20, 20, *out], ["init box (5, 20, -20, 20): expected finite x y w h"]),
        (["--rgb", "a.mp4", *BOX, "--output", "out.avi"], ["--output out.avi: expected a name that ends in .mp4"]),
        (["--rgb", "a.mp4", *BOX, *out, "--codec", "zzzz"], ["cannot write", "codec 'zzzz'", "use --codec mp4v"]),
        (["--rgb", "a.mp4", *BOX, "--output", "empty.mp4/o.mp4"], ["expected a folder", "empty.mp4"]),
        (["--rgb", "a.mp4", *BOX, *out, "--checkpoint", "none.pth"], ["none.pth: no such checkpoint"]),
    ):
        assert_one_line(demo(streams, *arguments), *parts)
    assert not list(streams.glob("*out*")), "nothing is left of a run that never started"


def test_a_missing_display_is_named(streams):
    nothing = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    assert_one_line(demo(streams, "--rgb", "a.mp4", *BOX, env=nothing), "no window can be opened", "--output FILE.mp4")
    assert_one_line(demo(streams, "--rgb", "a.mp4", "--output", "o.mp4", env=nothing), "no window", "--box X Y W H")


def test_a_window_is_possible_where_there_is_a_display(monkeypatch):
    monkeypatch.setattr(show, "PROBE", "pass")  # the process that opens a window succeeds
    check_display()


def test_what_was_written_before_an_error_can_be_played(streams):
    folder = write_folder(streams / "images", 8)
    cv2.imwrite(str(folder / "0005.png"), picture(5, (80, 60)))
    done = demo(streams, "--rgb", "images", *BOX, "--output", "out.mp4")
    assert_one_line(done, "images: frame 0005.png has 80x60 pixels")
    assert "5 frames" in done.stdout
    assert len(read_video(streams / "out.mp4")) == 5 and len(lines_of(streams / "out.jsonl")) == 6


def test_an_interrupted_run_can_be_played(tmp_path):
    write_folder(tmp_path / "images", 3)
    for number in range(3, 3000):
        os.link(tmp_path / "images/0001.png", tmp_path / f"images/{number:04d}.png")
    command = [sys.executable, ROOT / "tracking/demo.py", "--rgb", "images", *BOX, "--output", "out.mp4"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            parts = list(tmp_path.glob(".out.*.jsonl"))
            if parts and parts[0].read_text().count("\n") > 5:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    frames = len(read_video(tmp_path / "out.mp4"))
    assert 5 <= frames < 3000 and len(lines_of(tmp_path / "out.jsonl")) == frames + 1
    assert f"{frames} frames" in output and "Traceback" not in errors


class Walker:
    """A tracker whose box moves by one pixel per frame; it records what it saw."""

    watch = None

    def initialize(self, frame, box_xywh):
        self.box, self.seen = np.array(box_xywh, float), []

    def track(self, frame):
        self.box[0] += 1
        self.seen.append((frame.rgb.any(), frame.aux.any()))
        return Prediction(self.box.copy(), 0.5)


def test_a_missing_image_reaches_the_tracker_as_black_and_is_shown(tmp_path):
    image = picture(3)
    moments = [Moment(0, image, image), Moment(0.1, image, None), Moment(0.2, None, image), Moment(0.3, image, image)]
    tracker, shown_pictures = Walker(), []

    def look(drawn):
        shown_pictures.append(drawn)
        return True

    with Recorder(tmp_path / "out.mp4", 10, {}) as recorder:
        found = list(follow(moments, tracker, lambda _: np.array([20.0, 20, 20, 20]), recorder, look))
    assert [shown.label for shown in found] == ["tracking", "tracking, no aux", "tracking, no rgb", "tracking"]
    assert tracker.seen == [(True, False), (False, True), (True, True)]
    for drawn, missing in ((shown_pictures[1], np.s_[:, 360:]), (shown_pictures[2], np.s_[:, :360])):
        panel = drawn[missing].copy()
        panel[:20] = 0  # the state
        assert not panel[:100].any() and not panel[140:].any() and panel[100:140].max() == 255  # "no aux image", no box
    assert shown_pictures[1][160:, :360].any() and shown_pictures[2][160:, 360:].any()
    assert len(read_video(tmp_path / "out.mp4")) == 4


def test_the_rate_is_that_of_the_mean_time(monkeypatch):
    """Frames that show nothing take no time; they must not count as thousands of frames per second."""
    clock = iter(np.cumsum([0, 0, 0, *[0.1] * 10, *[1e-4] * 10, 0.1]))
    monkeypatch.setattr(live.time, "perf_counter", lambda: float(next(clock)))
    image = picture(1)
    moments = [Moment(n / 10, image, image) for n in range(22)]
    rates = [shown.fps for shown in follow(moments, Walker(), lambda _: np.array([20.0, 20, 20, 20]), None, None)]
    assert rates[0] == 0 and np.isclose(rates[9], 10) and rates[-1] < 40


def test_the_user_can_stop_and_the_first_image_must_be_rgb(tmp_path):
    image = picture(1)
    found = follow([Moment(n, image, image) for n in range(9)], Walker(), lambda _: np.ones(4), None, lambda _: False)
    assert len(list(found)) == 1
    with pytest.raises(ValueError, match="the RGB stream shows nothing at the start"):
        list(follow([Moment(0, None, image)], Walker(), lambda _: np.ones(4), None, None))


def test_the_picture_shows_both_images_with_box_and_text():
    frame = Frame(np.full((300, 400, 3), 40, np.uint8), np.full((300, 400, 3), 90, np.uint8))
    drawn = draw_live(frame, Shown(7, 0.3, np.array([100, 120, 50, 60.0]), 0.8, "tracking", "", 30.0))
    assert drawn.shape == (300, 800, 3)
    for left in (0, 400):
        assert tuple(drawn[120, left + 120]) == (255, 60, 60)  # the upper edge of the box
    assert (drawn[2, [300, 790]] == np.array([[40 // 3] * 3, [90 // 3] * 3])).all()  # dark behind the text
    assert drawn[:20, :200].max() == 255 and (drawn[200:, :90] == 40).all() and (drawn[200:, 480:] == 90).all()
    unsure = draw_live(frame, Shown(7, 0.3, np.array([100, 120, 50, 60.0]), 0.1, "uncertain", "", 30.0))
    assert tuple(unsure[120, 120]) == (255, 190, 40)
    for state in UNSEEN:  # the last box says nothing about this frame
        hidden = draw_live(frame, Shown(7, 0.3, np.array([100, 120, 50, 60.0]), 0.1, state, "", 30.0))
        assert (hidden[30:, :400] == 40).all() and (hidden[30:, 400:] == 90).all()
    assert draw_live(frame, Shown(7, 0.3, np.zeros(4), 0.1, "", "", 30.0), single=True).shape == (300, 400, 3)
    large = Frame(*np.zeros((2, 1501, 2001, 3), np.uint8))
    assert draw_live(large, Shown(7, 0.3, np.zeros(4), 0.1, "", "", 30.0)).shape == (720, 1920, 3)


def test_the_state_follows_the_score():
    assert [state_of(score) for score in (0.0, 0.1, 0.2)] == ["nothing to see", "uncertain", "tracking"]


def test_the_state_names_loss_and_return():
    watch, states = Watch(), []
    for score in (0.9, *[0.05] * PATIENCE, 0.3, 0.0, *[0.9] * (ANNOUNCED + 1)):
        states.append(state_of(watch.update(score), watch))
    lost = ["lost"] * 3
    found = ["found again"] * ANNOUNCED
    assert states == ["tracking", *["uncertain"] * (PATIENCE - 1), *lost, *found, "tracking"]
    assert set(states) < set(STATES) and set(UNSEEN) < set(STATES)


def test_the_demo_says_lost_and_found(streams):
    """The target and its background are gone for 14 frames, in both images."""
    pictures = [target_picture(number, hidden=12 <= number < 26) for number in range(40)]
    write_video(streams / "c.mp4", 40, pictures=pictures, size=(320, 240))
    line = ["--rgb", "c.mp4", "--aux", "c.mp4", "--box", 100, 100, 40, 40, "--output", "out.mp4"]
    assert demo(streams, *line).returncode == 0
    states = [row["state"] for row in lines_of(streams / "out.jsonl")[1:]]
    assert "lost" in states[12:26] and "found again" in states[26:], states
    assert demo(streams, *line, "--no_redetect").returncode == 0
    assert not {"lost", "found again"} & {row["state"] for row in lines_of(streams / "out.jsonl")[1:]}
