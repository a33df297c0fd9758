"""Scores on clips, as a record and as a table, and the command benchmarks/real_clips.py on tiny data."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from lib.evaluation.statistics import interval, resampled_weights
from lib.report.tables import insert_text
from lib.study.clips import MARK, headline, load_clips, per_clip, score_clips
from lib.tracker.build import file_hash
from lib.utils.draw import PREDICTED
from tests.helpers import write_rows, write_small
from tests.processes import ROOT, run

FRAMES = 6
DATASETS = ("LasHeR", "DepthTrack", "VisEvent")

BEGIN, END = f"<!-- {MARK} -->\n", f"<!-- end of {MARK} -->\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name in DATASETS:
        write_small(folder, name, "test", sequences=2, frames=FRAMES)
    return folder


def write_results(root, folder, shifts):
    """Results that are a box wide beside the target from frame 3 on, in the clips with that number."""
    folders = {}
    for name in DATASETS:
        folders[name] = folder / name
        for number, shift in enumerate(shifts):
            boxes = [(4 + t + 11 * shift * (t >= 3), 3, 11, 12) for t in range(FRAMES)]
            for suffix, rows in (("", boxes), ("_score", [(1,)] * FRAMES), ("_time", [(0.01,)] * FRAMES)):
                write_rows(folders[name] / f"{name.lower()}{number}{suffix}.txt", rows)
    return folders


def test_scores_are_means_over_clips_with_a_bootstrap_interval(root, tmp_path):
    folders = {
        "exact": write_results(root, tmp_path / "a", (0, 0)),
        "half": write_results(root, tmp_path / "b", (0, 1)),
    }
    rows = score_clips(load_clips(root), folders)
    exact, half = rows["exact"], rows["half"]
    success = np.array([values["SR"] for values in half["clips"].values()])
    assert set(half["clips"]) == {f"{name}/{name.lower()}{number}" for name in DATASETS for number in (0, 1)}
    assert success[0] == exact["clips"]["LasHeR/lasher0"]["SR"] > 90 and success[1] == pytest.approx(success[0] / 2)
    assert half["mean"]["SR"] == pytest.approx(success.mean())
    assert half["mean"]["SR"] == pytest.approx(np.mean([scores["SR"] for scores in half["sets"].values()]))
    assert tuple(half["interval"]["SR"]) == pytest.approx(interval(resampled_weights(6) @ success / 6))
    assert exact["interval"]["SR"][0] == pytest.approx(exact["mean"]["SR"])
    assert exact["sets"]["DepthTrack"]["F"] == pytest.approx(100) and half["sets"]["DepthTrack"]["F"] < 80
    assert "F" not in half["sets"]["LasHeR"] and half["fps"] == pytest.approx(100)
    assert per_clip(rows, "PR").splitlines()[2].split(" | ")[0].strip("| ") == "LasHeR/lasher0"
    line = headline(rows).splitlines()[3]
    assert f"{half['mean']['SR']:.1f} [" in line and line.rstrip("| ").endswith("100")


def test_a_table_replaces_what_stands_between_the_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    for _ in range(2):
        insert_text(page, MARK, "| new |\n")
    assert page.read_text() == f"before\n{BEGIN}\n| new |\n\n{END}after\n"
    page.write_text("no marks\n")
    with pytest.raises(ValueError, match="page.md: expected the lines <!-- real clips --> and"):
        insert_text(page, MARK, "")
    assert page.read_text() == "no marks\n"


def command(root, folder, *arguments):
    words = ["--clips", root, "--save_dir", folder / "out", "--trackers", "static", *arguments]
    return run([sys.executable, str(ROOT / "benchmarks/real_clips.py"), *map(str, words)], cwd=ROOT)


def test_the_command_scores_trackers_and_networks_without_images(root, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- few clips -->\n<!-- end of few clips -->\n")
    words = ["--drop", "aux", "rgb:0.5", "--output", tmp_path / "table", "--insert", page, "--mark", "few clips"]
    done = command(root, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "table.json").read_text())
    rows = record["rows"]
    titles = ["a box that never moves", "nano", "nano, RGB alone", "nano, --drop rgb:0.5:random:blackout:0"]
    assert list(rows) == titles
    assert record["weights"] == {"nano": file_hash(ROOT / "pretrained_models/nano.safetensors")}
    assert headline(rows) == done.stdout and headline(rows) in page.read_text()
    assert per_clip(rows, "SR") in (tmp_path / "table.md").read_text()
    again = command(root, tmp_path / "again", *words[:3])
    assert again.returncode == 0, again.stderr
    repeated = json.loads((tmp_path / "again/out/clips.json").read_text())["rows"]
    assert all({**rows[name], "fps": 0} == {**repeated[name], "fps": 0} for name in rows)


def test_a_tracked_clip_becomes_a_gif_with_the_colours_of_its_boxes(root, tmp_path):
    path = tmp_path / "clip.gif"
    words = ["--clips", root / "LasHeR", "--sequence", "lasher1", "--every", 2, "--colours", 16, "--output", path]
    done = run([sys.executable, str(ROOT / "benchmarks/tracked_gif.py"), *map(str, words)], cwd=ROOT)
    assert done.returncode == 0 and "3 pictures" in done.stdout, done.stderr
    with Image.open(path) as gif:
        assert gif.n_frames == 3 and gif.info["duration"] == 80
        for number in range(3):
            gif.seek(number)
            colours = set(map(tuple, np.array(gif.convert("RGB")).reshape(-1, 3)))
            assert PREDICTED in colours and len(colours) <= 16


@pytest.mark.parametrize(
    "words, message",
    [
        (["--checkpoints", "nano"], "--checkpoints nano: expected NAME=CONFIG:FILE"),
        (["--checkpoints", "static=nano:nano"], "expected NAME=CONFIG:FILE"),
        (["--checkpoints", "a=nano:missing.pth"], "no file missing.pth, also not in pretrained_models"),
        (["--checkpoints", "a=nano:nano", "a=nano:nano"], "a named twice"),
        (["--trackers", "nanotrack", "--nanotrack", "nowhere"], "set --nanotrack, or --trackers without nanotrack"),
        (["--clips", "nowhere"], "nowhere"),
    ],
)
def test_wrong_options_are_named(root, tmp_path, words, message):
    done = command(root, tmp_path, *words)
    assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr


def test_the_tables_of_the_pages_are_those_of_the_record():
    """The figures in the README and beside the weights are of the shipped file."""
    record = json.loads((ROOT / "docs/results/nano.json").read_text())
    table = headline(record["rows"])
    for path in ("README.md", "pretrained_models/README.md", "docs/results/nano.md"):
        assert table in (ROOT / path).read_text(encoding="utf-8"), path
    sums = (ROOT / "pretrained_models/SHA256SUMS").read_text().split()
    listed = dict(zip(sums[1::2], sums[::2], strict=True))
    assert set(record["weights"].values()) <= set(listed.values())
    cards = (ROOT / "pretrained_models/README.md").read_text(encoding="utf-8")
    for name, digest in listed.items():
        assert f"## {name}\n" in cards and f"`{digest}`" in cards
