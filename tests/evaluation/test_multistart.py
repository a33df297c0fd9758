"""Runs from anchors: reading them, scoring them, and what is missing. tests/vot compares with the toolkit."""

from dataclasses import replace

import numpy as np
import pytest

from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.benchmarks import VOT_RGBD2022
from lib.evaluation.evaluate import evaluate, overlap_traces
from lib.evaluation.selection import load_results
from lib.results.folder import ResultFolder
from tests.helpers import write_file, write_video
from tests.processes import run_tracking

SHORT = VOT_RGBD2022._replace(rule=replace(VOT_RGBD2022.rule, low=1, high=8))
BOX = (4, 4, 8, 8)


def annotate(root, name, frames=12, anchors=None):
    anchors = {0: 1, frames - 1: -1} if anchors is None else anchors
    write_file(root / name / "groundtruth.txt", "4,4,8,8\n" * frames)
    write_file(root / name / "anchor.value", "".join(f"{anchors.get(t, 0)}\n" for t in range(frames)))


def run(root, name, anchor, rows):
    """One run: the toolkit's code for the first frame, then boxes."""
    lines = ["1", *(",".join(map(str, row)) for row in rows[1:])]
    write_file(root / name / f"{name}_{anchor:08d}.txt", "\n".join(lines) + "\n")


def test_perfect_runs_by_hand(tmp_path):
    annotate(tmp_path / "gt", "a")
    for anchor in (0, 11):
        run(tmp_path / "r/baseline", "a", anchor, [BOX] * 12)
    report = evaluate(SHORT, annotations_from_folder(tmp_path / "gt"), {"t": tmp_path / "r"})
    # The first of 12 frames counts in A, with an overlap of 0, and not in EAO.
    assert report.trackers["t"].scores == pytest.approx({"A": 100 * 11 / 12, "R": 100, "EAO": 100})
    assert len(report.trackers["t"].curves["EAO"].x) == 8 and report.metrics == ("A", "R", "EAO")


def test_a_run_that_fails_counts_as_zero_from_there_on(tmp_path):
    annotate(tmp_path / "gt", "a", frames=20, anchors={0: 1})
    lost = (900, 900, 8, 8)
    run(tmp_path / "r", "a", 0, [BOX] * 5 + [lost] * 15)
    report = evaluate(SHORT, annotations_from_folder(tmp_path / "gt"), {"t": tmp_path / "r"})
    found = report.trackers["t"].scores
    assert found["R"] == pytest.approx(100 * 5 / 20) and found["A"] == pytest.approx(100 * 4 / 5)
    run(tmp_path / "r", "a", 0, [BOX] * 5 + [lost] * 9 + [BOX] * 6)  # nine in a row are not ten
    assert (
        evaluate(SHORT, annotations_from_folder(tmp_path / "gt"), {"t": tmp_path / "r"}).trackers["t"].scores["R"]
        == 100
    )


def test_scores_and_resampling_use_the_same_sums(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(6):
        annotate(tmp_path / "gt", f"s{index}", frames=10 + index)
        for anchor in (0, 9 + index):
            rows = [(4 + shift, 4, 8, 8) for shift in rng.uniform(0, 2 * index, 10 + index)]
            run(tmp_path / "r", f"s{index}", anchor, rows)
    annotations = annotations_from_folder(tmp_path / "gt")
    report = evaluate(SHORT, annotations, {"t": tmp_path / "r"})
    tracker = report.trackers["t"]
    low, high = tracker.intervals["EAO"]
    assert low < tracker.scores["EAO"] < high
    for annotation in annotations:
        alone = evaluate(SHORT, [annotation], {"t": tmp_path / "r"}).trackers["t"].scores
        assert tracker.per_sequence[annotation.name] == pytest.approx(alone)
    assert overlap_traces(load_results(SHORT, annotations, {"t": ResultFolder("t", tmp_path / "r")})) == {}


def test_missing_and_short_runs_are_listed_together(tmp_path):
    for name in ("a", "b", "c"):
        annotate(tmp_path / "gt", name)
        for anchor in (0, 11):
            run(tmp_path / "r", name, anchor, [BOX] * 12)
    (tmp_path / "r/a/a_00000011.txt").unlink()
    run(tmp_path / "r", "b", 0, [BOX] * 7)
    write_file(tmp_path / "r/b/b_00000011.txt", "1\n4,4,x,8\n")
    annotations = annotations_from_folder(tmp_path / "gt")
    with pytest.raises(ValueError) as caught:
        evaluate(SHORT, annotations, {"t": tmp_path / "r"})
    assert "for 1 of 3: a (from frames 11)" in str(caught.value) and "t/b: 7 rows for 12 frames in" in str(caught.value)
    assert "'x' is not a number" in str(caught.value)
    assert evaluate(SHORT, annotations, {"t": tmp_path / "r"}, allow_missing=True).sequences == 1
    with pytest.raises(
        ValueError, match="contains no complete sequence of VOT-RGBD2022's 3, expected for example a/a_0"
    ):
        evaluate(SHORT, annotations, {"t": tmp_path / "gt"})
    (tmp_path / "gt/c/anchor.value").unlink()
    with pytest.raises(ValueError, match="VOT-RGBD2022/c: no anchor.value next to the annotation"):
        evaluate(SHORT, annotations_from_folder(tmp_path / "gt"), {"t": tmp_path / "r"})


def test_the_command_scores_a_data_set_as_the_toolkit_lays_it_out(tmp_path):
    """With images at hand: their size bounds the masks."""
    images = [(f"color/{t:08d}.jpg", f"depth/{t:08d}.png") for t in range(1, 13)]
    for name in ("a", "b"):
        folder = tmp_path / "VOT-RGBD2022/sequences" / name
        write_video(folder, images, groundtruth=[BOX] * 12)
        write_file(folder / "anchor.value", "1\n" + "0\n" * 11)
        run(tmp_path / "r/baseline", name, 0, [BOX] * 12)
    write_file(tmp_path / "VOT-RGBD2022/sequences/list.txt", "a\nb\n")
    arguments = ["--benchmark", "VOT-RGBD2022", "--annotations", tmp_path / "VOT-RGBD2022"]
    arguments += ["--results", f"t={tmp_path / 'r'}", "--output_dir", tmp_path / "out"]
    done = run_tracking("analysis_results.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "| t       | 91.67 | 100.00 |" in done.stdout and (tmp_path / "out/expected_overlap.png").is_file()
    assert (tmp_path / "out/report.html").is_file()
