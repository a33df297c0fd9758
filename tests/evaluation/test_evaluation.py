"""Scores: published figures, hand-computed numbers, and slow loops that share no code with what they check."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation import metrics
from lib.evaluation.annotations import Annotation, annotations_from_folder, is_annotation_folder
from lib.evaluation.benchmarks import BENCHMARKS, DEPTHTRACK, GTOT, LASHER, RGBT210, RGBT234, VISEVENT
from lib.evaluation.evaluate import evaluate
from lib.evaluation.report import Curve, Report, TrackerScores
from lib.evaluation.rules.curves import ONE_PASS
from lib.report.plots import COLOURS, DASHES, MAX_TRACKERS, draw_metric, draw_plots
from lib.report.save import save_tables
from lib.report.tables import page
from lib.results.folder import ResultFolder
from lib.results.raw import write_result
from lib.utils.boxes import is_valid
from tests.processes import run_tracking

SEEDS = st.integers(0, 2**32 - 1)


def annotate(boxes, visible=None, name="a") -> Annotation:
    boxes = np.array(boxes, np.float64)
    boxes.setflags(write=False)  # whoever changes its input fails
    visible = is_valid(boxes) if visible is None else np.array(visible, bool)
    return Annotation(name, boxes, visible)


def save(folder, annotation, boxes=None, scores=None, seconds=0.1, **changes):
    boxes = annotation.boxes_xywh if boxes is None else np.array(boxes, np.float64)
    scores = np.ones(len(boxes)) if scores is None else np.array(scores, np.float64)
    write_result(folder, changes.get("name", annotation.name), boxes, np.full(len(boxes), seconds), scores)


def score(benchmark, folder, annotations, **options) -> Report:
    return evaluate(benchmark, annotations, {"t": folder}, **options)


def named(scores: dict, *names: str) -> dict:
    """Some of the scores; those at half and three quarters of overlap have a test of their own."""
    return {name: scores[name] for name in names or ("PR", "NPR", "SR")}


def make_report(count: int, metric_names=("PR", "NPR", "SR")) -> Report:
    trackers = {}
    for index in range(count):
        values = {name: 5.0 + (37 * index + 11 * place) % 90 for place, name in enumerate(metric_names)}
        curves = {name: Curve([0.0, 0.5, 1.0], [90.0, values[name], 1 / 3]) for name in metric_names}
        trackers[f"tracker{index}"] = TrackerScores(values, {"a": values}, curves, fps=None if index else 31.25)
    return Report("LasHeR", "", metric_names, 1, 245, True, ("first frame: …",), ("tracker0/b: no file",), trackers)


# --- published figures ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lasher_report(shared):
    folder = shared / "reference"
    trackers = json.loads((folder / "expected.json").read_text())["LasHeR_test"]
    annotations = annotations_from_folder(folder / "gt/LasHeR_test")
    return evaluate(LASHER, annotations, {name: folder / "results/LasHeR" / name for name in trackers})


def test_lasher_gives_the_published_figures(lasher_report, shared):
    expected = json.loads((shared / "reference/expected.json").read_text())["LasHeR_test"]
    assert lasher_report.sequences == 245 and len(expected) == 4
    for tracker, figures in expected.items():
        found = named(lasher_report.trackers[tracker].scores)
        assert found == pytest.approx({name: figures[name] for name in ("PR", "NPR", "SR")}, abs=0.01)
        assert [round(found[name], 1) for name in ("PR", "NPR", "SR")] == figures["published"]


def test_lasher_agrees_with_the_matlab_toolkit_sequence_by_sequence(lasher_report, shared):
    from scipy import io  # MATLAB's files; for this test alone

    names = [path.name for path in (shared / "reference/gt/LasHeR_test").glob("*.txt")]
    # The toolkit took the files in the order of its Windows folder, where ` was a quotation mark that sorts last.
    names = [name[:-4] for name in sorted(names, key=lambda name: name.lower().replace("`", "~"))]
    for metric, file, score_of in (
        ("SR", "overlap", lambda rows: rows.mean(axis=1)),
        ("NPR", "normalised_error", lambda rows: rows[:, 20]),
    ):
        record = io.loadmat(shared / f"reference/matlab/LasHeR_14alg_{file}.mat")
        trackers = [str(cell[0]) for cell in record["name_tracker_all"].ravel()]
        for tracker, found in lasher_report.trackers.items():
            curves = 100 * record["ave_success_rate_plot"][trackers.index(tracker)]
            mine = [found.per_sequence[name][metric] for name in names]
            np.testing.assert_allclose(mine, score_of(curves), atol=1e-9)
            np.testing.assert_allclose(found.curves[metric].y, curves.mean(axis=0), atol=1e-9)


def test_visevent_gives_the_independent_figures_of_the_available_videos(shared):
    folder = shared / "reference"
    expected = json.loads((folder / "expected.json").read_text())["VisEvent_172"]["CEUTrack (MATLAB rules)"]
    annotations = annotations_from_folder(folder / "gt/VisEvent")
    report = evaluate(VISEVENT, annotations, {"CEUTrack": folder / "results/VisEvent/CEUTrack"}, allow_missing=True)
    assert (len(annotations), report.sequences) == (320, 172)
    found = named(report.trackers["CEUTrack"].scores)
    assert found == pytest.approx({name: expected[name] for name in ("PR", "NPR", "SR")}, abs=0.01)
    assert report.title.startswith("VisEvent, 172 of 320 sequences")
    assert "148 of 320: 00282_tennis" in page(report)


@pytest.mark.parametrize(
    ("benchmark", "names", "folder"),
    [
        (RGBT234, {"ADRNet": "MPR MSR", "MTNet": "MPR MSR"}, "RGBT234"),
        (GTOT, {"ADRNet_ltwh": "MPR5 MSR", "APFNet_8corner": "MPR5 MSR"}, "GTOT"),
    ],
)
def test_annotations_of_both_modalities_give_the_published_figures(shared, benchmark, names, folder):
    expected = json.loads((shared / "reference/expected.json").read_text())[folder]
    annotations = annotations_from_folder(shared / "reference/gt" / folder)
    results = {name: shared / "reference/results" / folder / name for name in names}
    report = evaluate(benchmark, annotations, results)
    assert report.sequences == benchmark.sequences and report.title == folder
    for name, keys in names.items():
        found = [report.trackers[name].scores[metric] for metric in ("MPR", "MSR")]
        assert found == pytest.approx([expected[name][key] for key in keys.split()], abs=0.01)
        if name != "ADRNet":  # whose paper gives other figures than APFNet's comparison, which these are
            assert [round(value, 1) for value in found] == expected[name]["published"]


def test_one_modality_or_unpooled_sequences_give_other_figures(shared):
    """What makes RGBT234's and GTOT's rules: MTNet with the visible boxes only, and GTOT averaged over sequences."""
    reference = shared / "reference"
    both = annotations_from_folder(reference / "gt/RGBT234")
    single = replace(RGBT234.rule, better_of_two=False)
    found = score(RGBT234._replace(rule=single), reference / "results/RGBT234/MTNet", both).trackers["t"].scores
    assert found == pytest.approx({"MPR": 84.32, "MSR": 61.01}, abs=0.01)
    pooled = RGBT234._replace(rule=replace(RGBT234.rule, pool_frames=True))
    found = score(pooled, reference / "results/RGBT234/MTNet", both).trackers["t"].scores
    assert found == pytest.approx({"MPR": 84.42, "MSR": 61.27}, abs=0.01)


# --- numbers by hand --------------------------------------------------------------------------------------------------

GT = [[10, 10, 20, 20]] * 4


def test_one_pass_scores_by_hand(tmp_path):
    # Frame 0 is replaced. Frame 1 is half a width off: overlap 1/3, above 0, 0.05, … 0.30: 7 of 21 thresholds. Frame 2
    # is a width off: overlap 0, above none; 20 px, which counts. Frame 3 is no box and repeats frame 2.
    annotation = annotate(GT)
    save(tmp_path, annotation, [[500, 500, 1, 1], [20, 10, 20, 20], [30, 10, 20, 20], [9, 9, 0, 5]])
    scores = named(score(LASHER, tmp_path, [annotation]).trackers["t"].scores)
    assert scores == pytest.approx({"PR": 100, "NPR": 25, "SR": 100 * (20 + 7) / 21 / 4})
    save(tmp_path, annotation, [[500, 500, 1, 1], [20, 10, 20, 20], [30.01, 10, 20, 20], [np.nan, 9, 5, 5]])
    assert score(LASHER, tmp_path, [annotation]).trackers["t"].scores["PR"] == 50, "20.01 px is a miss"


@pytest.mark.parametrize("box", [[0, 5, 9, 9], [5, 0, 9, 9], [5, -3, 9, 9], [5, 5, 0, 0], [np.nan] * 4])
def test_invalid_annotation_misses_in_sr_and_hits_in_pr_and_npr(tmp_path, box):
    annotation = annotate([*GT, box])
    save(tmp_path, annotation, [*GT, [900, 900, 5, 5]])
    report = score(LASHER, tmp_path, [annotation])
    found = named(report.trackers["t"].scores)
    assert found == pytest.approx({"PR": 100, "NPR": 100, "SR": 100 * 20 / 21 * 4 / 5})


def test_visevent_counts_absent_frames_as_misses_and_absent_positions_as_hits(tmp_path):
    annotation = annotate([*GT, [0, 0, 0, 0], [0, 5, 9, 9]], visible=[1, 1, 1, 1, 0, 1])
    save(tmp_path, annotation, [*GT, [10, 10, 20, 20], [900, 900, 5, 5]])
    found = named(score(VISEVENT, tmp_path, [annotation]).trackers["t"].scores)
    assert found == pytest.approx({"PR": 100 * 5 / 6, "NPR": 100 * 5 / 6, "SR": 100 * 20 / 21 * 4 / 6})


def test_visevent_leaves_out_curves_that_are_zero_everywhere_and_reports_it(tmp_path):
    absent = annotate([[0, 0, 0, 0]] * 3, visible=[0, 0, 0], name="absent")
    for annotation in (annotate(GT), absent):
        save(tmp_path, annotation, np.full((len(annotation.visible), 4), 10.0))
    found = score(VISEVENT, tmp_path, [annotate(GT), absent])
    alone = score(VISEVENT, tmp_path, [annotate(GT)])
    assert found.trackers["t"].scores == alone.trackers["t"].scores
    assert "t: SR leaves out 1 of 2 whose whole curve is 0: absent." in found.notes
    assert score(LASHER, tmp_path, [annotate(GT), absent]).trackers["t"].scores["SR"] < alone.trackers["t"].scores["SR"]


def test_scores_are_averaged_over_sequences_not_frames(tmp_path):
    short, long = annotate([[10, 10, 20, 20]] * 2, name="short"), annotate([[10, 10, 20, 20]] * 40, name="long")
    save(tmp_path, short)
    save(tmp_path, long, [[10, 10, 20, 20], *[[500, 500, 20, 20]] * 39])
    report = score(LASHER, tmp_path, [short, long])
    assert report.trackers["t"].scores["PR"] == pytest.approx((100 + 100 / 40) / 2)
    assert report.trackers["t"].per_sequence["long"]["PR"] == pytest.approx(100 / 40)


def test_the_better_annotation_counts_for_each_frame_and_quantity(tmp_path):
    # Frame 1: 30 px from RGB's box, on the other one. Frame 2: the other way round. Frame 3 is missing in the result.
    rgb = annotate([[10, 10, 20, 20], [40, 10, 20, 20], [10, 10, 20, 20], [10, 10, 20, 20]])
    both = Annotation(rgb.name, rgb.boxes_xywh, rgb.visible, np.array([*GT[:2], [40, 10, 20, 20], GT[3]], np.float64))
    save(tmp_path, both, GT[:3])
    report = score(RGBT234, tmp_path, [both])
    assert report.trackers["t"].scores == pytest.approx({"MPR": 100, "MSR": 100 * 20 / 21})
    assert "t: too short: a (3 of 4)." in report.notes
    with pytest.raises(ValueError, match="3 rows for 4 frames"):
        score(RGBT210, tmp_path, [rgb])
    save(tmp_path, rgb, GT)
    assert score(RGBT210, tmp_path, [rgb]).trackers["t"].scores == pytest.approx({"PR": 75, "SR": 75 * 20 / 21})


def test_gtot_pools_frames_rounds_corners_and_counts_errors_below_five(tmp_path):
    short, long = annotate([[10, 10, 20, 20]] * 2, name="short"), annotate([[10, 10, 20, 20]] * 6, name="long")
    save(tmp_path, short, [[10, 10, 20, 20], [15, 10, 20, 20]])  # exactly 5 px off: a miss
    rows = [[9.5, 9.6, 29.5, 9.6, 29.5, 29.6, 9.5, 29.6]] * 6  # rounds to the annotation
    (tmp_path / "long.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    found = score(GTOT, tmp_path, [short, long]).trackers["t"]
    overlap = 15 * 20 / (2 * 400 - 15 * 20)  # 0.6: above the 30 thresholds from 0 to 0.58
    perfect = 100 * (1 - 0.01)  # no overlap is above 1: half of the last trapezoid
    assert overlap == 0.6 and found.scores["MPR"] == pytest.approx(100 * 7 / 8)
    assert found.scores["MSR"] == pytest.approx((7 * perfect + 59) / 8)
    assert found.per_sequence["short"]["MPR"] == 50


def test_annotations_in_folders_of_sequences(tmp_path):
    for name, files in {
        "a": {"visible": "1,2,3,4\n\n", "infrared": "2,3,4,5\n"},
        "b": {"groundTruth_v": "1 2 4 6\n", "groundTruth_i": "2 3 6 8\n"},
        "c": {"init": "1,2,3,4\n"},
        "attr_txt": {"BC": "0\n"},
    }.items():
        (tmp_path / "gt" / name).mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "gt" / name / f"{file}.txt").write_text(text)
    found = annotations_from_folder(tmp_path / "gt")
    assert [a.name for a in found] == ["a", "b", "c"] and is_annotation_folder(tmp_path / "gt")
    assert all(a.boxes_xywh.tolist() == [[1, 2, 3, 4]] for a in found)
    assert [a.aux_boxes_xywh is None or a.aux_boxes_xywh.tolist() for a in found] == [[[2, 3, 4, 5]]] * 2 + [True]
    (tmp_path / "gt/a/visible").mkdir()
    (tmp_path / "gt/b/v").mkdir()
    (tmp_path / "gt/c/visible").mkdir()
    assert not is_annotation_folder(tmp_path / "gt")  # a data set: its reader knows more
    (tmp_path / "gt/a/infrared.txt").write_text("2,3,4,5\n" * 2)
    with pytest.raises(ValueError, match="visible.txt: 1 boxes, but 2 in infrared.txt"):
        annotations_from_folder(tmp_path / "gt")


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_perfect_results_score_20_of_21_and_a_static_box_less(tmp_path_factory, seed):
    folder, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(seed)
    annotation = annotate(rng.uniform(5, 200, (30, 4)).round(1))
    save(folder, annotation)
    perfect = named(score(LASHER, folder, [annotation]).trackers["t"].scores)
    assert perfect == pytest.approx({"PR": 100, "NPR": 100, "SR": 100 * 20 / 21})
    save(folder, annotation, np.repeat(annotation.boxes_xywh[:1], 30, axis=0))
    static = score(LASHER, folder, [annotation]).trackers["t"].scores
    assert all(100 / 30 * 20 / 21 <= static[name] < perfect[name] for name in ("NPR", "SR"))


# --- slow loops -------------------------------------------------------------------------------------------------------


def slow_scores(rule, truth, absent, rows):
    """One sequence, frame by frame, threshold by threshold, with the toolkits' pixel-inclusive boxes."""
    rows, frames = [list(row) for row in rows[: len(truth)]], len(truth)
    rows[0] = list(truth[0])
    for i in range(1, frames):
        if any(math.isnan(v) for v in rows[i]) or rows[i][2] <= 0 or rows[i][3] <= 0:
            rows[i] = rows[i - 1]
    hits = {name: [0] * len(ONE_PASS[name].thresholds) for name in ("PR", "NPR", "SR")}
    for (x, y, w, h), (u, v, a, b), gone in zip(rows, truth, absent, strict=True):
        if gone and rule.absent_is_miss:
            continue
        overlap = error = normalised = -1
        if min(u, v, a, b) > 0:
            wide = max(0, min(x + w - 1, u + a - 1) - max(x, u) + 1)
            high = max(0, min(y + h - 1, v + b - 1) - max(y, v) + 1)
            overlap = min(1, wide * high / (w * h + a * b - wide * high))
            dx, dy = (x + (w - 1) / 2) - (u + (a - 1) / 2), (y + (h - 1) / 2) - (v + (b - 1) / 2)
            error, normalised = math.sqrt(dx**2 + dy**2), math.sqrt((dx / a) ** 2 + (dy / b) ** 2)
        for i, t in enumerate(ONE_PASS["SR"].thresholds):
            hits["SR"][i] += overlap > t
        for i, t in enumerate(ONE_PASS["PR"].thresholds):
            hits["PR"][i] += error <= t
        for i, t in enumerate(ONE_PASS["NPR"].thresholds):
            hits["NPR"][i] += normalised <= t
    return {name: [100 * n / frames for n in counts] for name, counts in hits.items()}


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, benchmark=st.sampled_from([LASHER, VISEVENT]))
def test_vectorised_scores_equal_the_slow_loop(tmp_path_factory, seed, benchmark):
    rng, frames = np.random.default_rng(seed), int(np.random.default_rng(seed).integers(2, 50))
    truth = np.column_stack([rng.uniform(-10, 60, (frames, 2)), rng.uniform(5, 60, (frames, 2))])
    truth[rng.random(frames) < 0.15] = 0
    rows = truth + rng.normal(0, 12, (frames, 4))  # some sizes fall below 0
    rows[rng.random(frames) < 0.1] = np.nan
    rows = np.concatenate([rows, rng.uniform(1, 9, (int(rng.integers(0, 4)), 4))])  # too long: cut
    truth[0] = np.abs(truth[0]) + 1
    annotation = annotate(truth, visible=rng.random(frames) < 0.8)
    folder = tmp_path_factory.mktemp("results")
    np.savetxt(folder / "a.txt", rows, fmt="%.17g")
    found = score(benchmark, folder, [annotation]).trackers["t"]
    curves = slow_scores(benchmark.rule, truth, ~annotation.visible, rows)
    for name, curve in curves.items():
        np.testing.assert_allclose(found.curves[name].y, curve, atol=1e-9)
    assert found.scores["PR"] == pytest.approx(curves["PR"][20])
    assert found.scores["NPR"] == pytest.approx(curves["NPR"][20])
    assert found.scores["SR"] == pytest.approx(sum(curves["SR"]) / 21)


def slow_long_term(sequences, resolution=100):
    """Pr, Re, F in per cent, by loops. sequences: lists of (overlap, visible, confidence) frames."""
    ranked = sorted((c for frames in sequences for _, _, c in frames if not math.isnan(c)), reverse=True)
    if len(ranked) > resolution - 2:
        skip = math.floor(len(ranked) / (resolution - 2))
        step = (len(ranked) - 2 * skip) / (resolution - 3)
        ranked = [ranked[round(skip + i * step)] for i in range(resolution - 2)]
    best = (1.0, 0.0, 0.0)
    for threshold in [math.inf, *ranked, -math.inf]:
        precisions, recalls = [], []
        for frames in sequences:
            reported = [overlap if visible else 0.0 for overlap, visible, c in frames if c >= threshold]
            precisions.append(sum(reported) / len(reported) if reported else 1.0)
            recalls.append(sum(reported) / sum(visible for _, visible, _ in frames))
        pr, re = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
        f = 2 * pr * re / (pr + re) if pr + re else 0.0
        if f > best[2] + 1e-12:
            best = (pr, re, f)
    return dict(zip(("Pr", "Re", "F"), (100 * value for value in best), strict=True))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 3), longest=st.sampled_from([4, 30, 200]), ties=st.booleans())
def test_long_term_scores_equal_the_slow_loop(tmp_path_factory, seed, count, longest, ties):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("results")
    annotations, frames = [], []
    for index in range(count):
        n = int(rng.integers(2, longest))
        shift, visible = rng.uniform(0, 12, n).round(2), rng.random(n) < 0.7
        visible[int(rng.integers(n))] = True
        confidence = rng.random(n).round(1 if ties else 6)
        confidence[rng.random(n) < 0.1] = np.nan
        truth = np.where(visible[:, None], [50.0, 50.0, 10.0, 10.0], np.nan)
        annotations.append(annotate(truth, name=f"s{index}"))
        save(folder, annotations[-1], np.column_stack([50 + shift, *np.full((3, n), [[50], [10], [10]])]), confidence)
        overlap = np.maximum(0, 10 - shift) / (10 + np.minimum(10, shift))
        frames.append(list(zip(overlap.tolist(), visible.tolist(), confidence.tolist(), strict=True)))
    plain = DEPTHTRACK._replace(rule=replace(DEPTHTRACK.rule, pixel_masks=False))  # masks: tests/vot
    found = score(plain, folder, annotations).trackers["t"]
    assert found.scores == pytest.approx(slow_long_term(frames), abs=1e-6)
    assert len(found.curves["F"].x) <= 100


# --- long-term tracking by hand ---------------------------------------------------------------------------------------

HALF = [[10, 10, 20, 20], [10, 10, 20, 20], [np.nan] * 4, [np.nan] * 4]
STILL = [[10, 10, 20, 20]] * 4


@pytest.mark.parametrize(
    ("boxes", "confidence", "expected"),
    [
        (STILL, [1, 1, 1, 1], (50, 100, 200 / 3)),  # reports the absent frames too
        (STILL, [1, 1, 0.2, 0.1], (100, 100, 100)),  # knows better
        (STILL, [0.1, 0.2, 1, 1], (50, 100, 200 / 3)),  # is surest where it is wrong
        (STILL, [1, 0.1, 0.1, 0.1], (100, 50, 200 / 3)),  # a tie in F: the higher threshold
        (STILL, [np.nan] * 4, (100, 0, 0)),  # never reports: nothing said, nothing wrong, nothing found
        ([[90, 90, 5, 5]] * 4, [1, 1, 1, 1], (100, 0, 0)),  # F is 0 everywhere: the threshold that reports nothing
        ([[20, 10, 20, 20]] * 4, [1, 1, 0, 0], (100 / 3, 100 / 3, 100 / 3)),  # overlap 1/3
    ],
)
def test_long_term_scores_by_hand(tmp_path, boxes, confidence, expected):
    annotation = annotate(HALF)
    save(tmp_path, annotation, boxes, confidence)
    report = score(DEPTHTRACK, tmp_path, [annotation])
    assert report.trackers["t"].scores == pytest.approx(dict(zip(("Pr", "Re", "F"), expected, strict=True)))
    assert "not verified against published figures" in page(report).lower()


def test_a_perfect_long_term_tracker_scores_100_with_equal_confidence(tmp_path):
    annotation = annotate(np.tile([[10.0, 10, 20, 20]], (300, 1)))
    save(tmp_path, annotation)
    assert score(DEPTHTRACK, tmp_path, [annotation]).trackers["t"].scores == {"Pr": 100, "Re": 100, "F": 100}


def test_a_frame_labelled_absent_is_absent_whatever_its_box(tmp_path):
    annotation = annotate(STILL, visible=[1, 1, 0, 0])
    save(tmp_path, annotation)
    found = score(DEPTHTRACK, tmp_path, [annotation]).trackers["t"].scores
    assert found == pytest.approx({"Pr": 50, "Re": 100, "F": 200 / 3})


SPELLINGS = {"nan": [np.nan] * 4, "negative": [40, 40, -1, -1], "empty": [40, 40, 0, 0], "zeros": [0, 0, 0, 0]}


@pytest.mark.parametrize("absent", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_absent_frames_are_annotated_in_several_spellings_with_one_meaning(tmp_path, absent, protocol):
    """The tracker does not report the two absent frames and is right in the others."""
    annotation = annotate([*STILL, absent, absent])
    save(tmp_path, annotation, [STILL[0]] * 6, [1, 1, 1, 1, 0.1, 0.1])
    found = score(DEPTHTRACK.under(protocol), tmp_path, [annotation])
    assert found.trackers["t"].scores == pytest.approx({"Pr": 100, "Re": 100, "F": 100})
    assert any("annotated as NaN or as a box without a size" in note for note in found.notes)


@pytest.mark.parametrize("confidence", [[1] * 4, [1, 1, 0.1, 0.1], [1, 1, np.nan, np.nan]])
def test_an_oracle_with_nan_rows_for_absent_frames_scores_100(tmp_path, confidence):
    annotation = annotate(HALF)
    save(tmp_path, annotation, HALF, confidence)
    assert score(DEPTHTRACK, tmp_path, [annotation]).trackers["t"].scores == {"Pr": 100, "Re": 100, "F": 100}


def test_recall_without_a_visible_frame_is_refused(tmp_path):
    annotation = annotate([[np.nan] * 4] * 3)
    save(tmp_path, annotation, np.ones((3, 4)))
    with pytest.raises(ValueError, match="DepthTrack/a: the target is never visible"):
        score(DEPTHTRACK, tmp_path, [annotation])


@given(scores=st.lists(st.floats(0, 1), min_size=0, max_size=400), resolution=st.integers(4, 100))
def test_confidence_thresholds_fall_from_no_frame_to_all_frames(scores, resolution):
    thresholds = metrics.confidence_thresholds(np.array(scores), resolution)
    assert (
        thresholds[0] == np.inf
        and thresholds[-1] == -np.inf
        and len(thresholds) == min(len(scores), resolution - 2) + 2
    )
    assert set(thresholds[1:-1]) <= set(scores) and (thresholds[:-1] >= thresholds[1:]).all()


# --- what is missing --------------------------------------------------------------------------------------------------


def three_sequences():
    return [annotate(GT, name=name) for name in ("ant", "bee", "cat")]


def test_missing_short_and_long_results_are_listed_together(tmp_path):
    annotations = three_sequences()
    save(tmp_path / "one", annotations[1], GT[:2])
    save(tmp_path / "one", annotations[2], [*GT, *GT])
    save(tmp_path / "two", annotations[2])
    folders = {"one": tmp_path / "one", "two": tmp_path / "two"}
    with pytest.raises(ValueError) as caught:
        evaluate(DEPTHTRACK, annotations, folders)
    for part in (
        f"one: no file in {tmp_path / 'one'} for 1 of 3: ant",
        f"one/bee: 2 rows for 4 frames in {tmp_path / 'one' / 'bee.txt'}",
        f"one/cat: 8 rows for 4 frames in {tmp_path / 'one' / 'cat.txt'}",
        f"two: no file in {tmp_path / 'two'} for 2 of 3: ant, bee",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValueError) as caught:
        evaluate(LASHER, annotations, folders)
    assert "one/bee" in str(caught.value) and "one/cat" not in str(caught.value), "LasHeR cuts what is too long"


def test_broken_files_are_listed_with_missing_ones_and_can_be_left_out(tmp_path):
    annotations = three_sequences()
    save(tmp_path, annotations[2])
    (tmp_path / "ant.txt").write_text("1,2,3,4\n1,2,x,4\n")
    (tmp_path / "bee.txt").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(
        ValueError, match=r"t/ant: .*ant\.txt, line 2: 'x' is not a number; t/bee: .*expected UTF-8 text"
    ):
        score(LASHER, tmp_path, annotations)
    assert score(LASHER, tmp_path, annotations, allow_missing=True).sequences == 1


def test_allow_missing_scores_what_every_tracker_has_and_reports_it(tmp_path):
    annotations = three_sequences()
    for tracker, left_out in (("one", 0), ("two", 1)):
        for annotation in annotations[:left_out] + annotations[left_out + 1 :]:
            save(tmp_path / tracker, annotation)
    report = evaluate(LASHER, annotations, {t: tmp_path / t for t in ("one", "two")}, allow_missing=True)
    assert all(list(scores.per_sequence) == ["cat"] for scores in report.trackers.values())
    assert report.sequences == 1 and len(report.missing) == 2
    assert "Left out (2):" in page(report)
    title = draw_metric(report, "SR").axes[0].get_title(loc="left")
    assert report.title in title and "1 of 245 sequences" in title


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_folder_without_results_is_named(tmp_path, allow_missing):
    (tmp_path / "other.txt").write_text("1 2 3 4\n")
    for folder, text in (
        (tmp_path, "contains no result of LasHeR's 3 sequences"),
        (tmp_path / "x", "no result folder"),
    ):
        with pytest.raises(ValueError, match=text):
            score(LASHER, folder, three_sequences(), allow_missing=allow_missing)


def test_confidences_must_exist(tmp_path):
    annotations = three_sequences()[:2]
    for annotation in annotations:
        save(tmp_path, annotation)
    (tmp_path / "ant_score.txt").unlink()
    with pytest.raises(ValueError, match=r"no confidence file next to .*ant\.txt"):
        score(DEPTHTRACK, tmp_path, annotations)
    assert score(LASHER, tmp_path, annotations).sequences == 2, "LasHeR needs none"


@pytest.mark.parametrize("content", [b"1\n1\n", b"\xff\xfe\x00", b"sure\n1\n1\n1\n"])
def test_a_broken_confidence_file_costs_the_confidence_and_never_the_boxes(tmp_path, content):
    annotation = annotate(HALF)
    save(tmp_path, annotation, STILL, [1, 1, 0.2, 0.1])
    (tmp_path / "a_score.txt").write_bytes(content)
    report = score(DEPTHTRACK, tmp_path, [annotation])
    assert report.trackers["t"].scores["Pr"] == 50, "all frames count as equally sure"
    (warning,) = report.warnings
    assert warning.startswith("t: 1 of 1 results have no usable confidences; every frame counts as equally sure: ")


# --- annotations, speed, reports --------------------------------------------------------------------------------------


def test_annotations_are_read_from_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no annotation"):
        annotations_from_folder(tmp_path)
    (tmp_path / "b.txt").write_text("1,2,3,4\n0,0,0,0\n")
    (tmp_path / "a.txt").write_text("1 2 3 4\n")
    first, second = annotations_from_folder(tmp_path)
    assert (first.name, second.name) == ("a", "b") and second.visible.tolist() == [True, False]
    for folder, text in (("gt_rect", "0,2,3,4\n1,2,3,4\n"), ("absent", "0\n1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.txt").write_text(text)
    (found,) = annotations_from_folder(tmp_path)
    assert found.name == "c" and found.visible.tolist() == [True, False] and found.boxes_xywh[0, 0] == 0
    (tmp_path / "gt_rect" / "c.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"gt_rect.c\.txt: no box"):
        annotations_from_folder(tmp_path)
    (tmp_path / "gt_rect" / "c.txt").write_text("1,2,3,4\n1,2,3,4\n")
    (tmp_path / "absent" / "c.txt").write_text("0\n")
    with pytest.raises(ValueError, match=r"absent.c\.txt: 1 labels for 2 boxes"):
        annotations_from_folder(tmp_path)


def test_frames_per_second_leave_out_the_first_frame(tmp_path):
    for annotation, seconds in zip(three_sequences()[:2], (0.1, 0.3), strict=True):
        save(tmp_path, annotation, seconds=seconds)
        times = tmp_path / f"{annotation.name}_time.txt"
        times.write_text("99\n" + times.read_text().split("\n", 1)[1])
    report = score(LASHER, tmp_path, three_sequences()[:2])
    assert report.trackers["t"].fps == pytest.approx(6 / (3 * 0.1 + 3 * 0.3))
    assert "| 5.0 |" in page(report)
    for path in tmp_path.glob("*_time.txt"):
        path.unlink()
    assert score(LASHER, tmp_path, three_sequences()[:2]).trackers["t"].fps is None


def test_a_report_is_read_back_from_json_and_ranks_best_first(tmp_path):
    report = make_report(7)
    paths = save_tables(report, tmp_path)
    names = ["report.json", "report.md", "report.csv", "report.tex", "sequences.csv"]
    assert [path.name for path in paths] == names
    assert Report.from_json(paths[0]) == report
    scores = [report.trackers[name].scores["SR"] for name in report.ranked("SR")]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 7
    lines = paths[2].read_text().splitlines()
    assert lines[0] == "Tracker,PR,NPR,SR,FPS" and [line.split(",")[0] for line in lines[1:]] == report.ranked("SR")
    assert "| Tracker" in paths[1].read_text() and "31.2" in lines[1 + report.ranked("SR").index("tracker0")]
    record = json.loads(paths[0].read_text())
    assert record["trackers"]["tracker3"]["scores"]["PR"] == report.trackers["tracker3"].scores["PR"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"trackers": {"a": {"scores": {}}}}'])
def test_a_file_that_is_not_a_report_is_named(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=r"report\.json: not a report"):
        Report.from_json(tmp_path / "report.json")


def test_plots_are_drawn_from_the_report_alone(tmp_path):
    names = {"success", "precision", "normalised_precision"}
    assert {p.name for p in draw_plots(make_report(2), tmp_path)} == {f"{n}.{s}" for n in names for s in ("png", "pdf")}
    assert {p.name for p in draw_plots(make_report(2, ("Pr", "Re", "F")), tmp_path / "long")} == {
        "precision_recall.png",
        "precision_recall.pdf",
    }
    assert not [p for p in tmp_path.rglob("*") if ".part" in p.name]
    assert (tmp_path / "success.png").read_bytes()[:4] == b"\x89PNG" and (tmp_path / "success.pdf").read_bytes()[
        :4
    ] == b"%PDF"


def test_legends_are_sorted_and_hold_at_most_twenty():
    report = make_report(25)
    (legend,) = draw_metric(report, "PR").legends
    texts = [text.get_text().split() for text in legend.get_texts()]
    assert [name for _, name in texts] == report.ranked("PR")[:MAX_TRACKERS]
    assert [value for value, _ in texts] == [f"{report.trackers[n].scores['PR']:.1f}" for n in report.ranked("PR")[:20]]
    assert "best 20 of 25" in legend.get_title().get_text()


def test_twenty_trackers_can_be_distinguished_in_grey():
    def grey(index):
        return sum(
            w * int(COLOURS[index % len(COLOURS)][i : i + 2], 16) / 255 for w, i in ((0.3, 1), (0.59, 3), (0.11, 5))
        )

    pairs = [(i, j) for i in range(MAX_TRACKERS) for j in range(i) if (i - j) % len(DASHES) == 0]
    assert pairs and min(abs(grey(i) - grey(j)) for i, j in pairs) > 0.15


# --- rules are data ---------------------------------------------------------------------------------------------------


def test_every_benchmark_says_how_it_counts():
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name and hash(benchmark.rule) == hash(type(benchmark.rule)(**vars(benchmark.rule)))
        assert len(benchmark.rule.notes()) >= 3
    assert not DEPTHTRACK.verified and LASHER.verified


def test_scoring_changes_neither_annotations_nor_results(tmp_path):
    annotation = annotate(GT)
    save(tmp_path, annotation, [[500, 500, 1, 1], [np.nan] * 4, [30, 10, 20, 20], [9, 9, 0, 5]])
    outputs, _ = LASHER.rule.load(LASHER, [annotation], ResultFolder("t", tmp_path))
    before = outputs["a"].boxes_xywh.copy()
    outputs["a"].boxes_xywh.setflags(write=False)
    first, again = (LASHER.rule.score(LASHER, [annotation], [outputs["a"]]) for _ in range(2))
    assert (first.per_sequence, first.curves) == (again.per_sequence, again.curves)
    np.testing.assert_array_equal(outputs["a"].boxes_xywh, before)


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments):
    return run_tracking("analysis_results.py", *arguments)


def test_command_scores_all_trackers_in_save_dir(tmp_path):
    (tmp_path / "gt").mkdir()
    for annotation in three_sequences():
        np.savetxt(tmp_path / "gt" / f"{annotation.name}.txt", annotation.boxes_xywh, delimiter=",")
        for tracker, shift in (("static/demo", 15), ("transcmd/demo", 1)):
            folder = tmp_path / "out/test/tracking_results" / tracker / "LasHeR"
            save(folder, annotation, annotation.boxes_xywh + [shift, 0, 0, 0])
    common = ("--dataset_name", "LasHeR", "--annotations", tmp_path / "gt", "--save_dir", tmp_path / "out")
    done = run(*common)
    assert done.returncode == 0, done.stderr
    report = Report.from_json(tmp_path / "out/test/reports/LasHeR/report.json")
    assert report.ranked("SR") == ["transcmd/demo", "static/demo"]
    assert done.stdout.index("transcmd/demo") < done.stdout.index("static/demo")
    for line in done.stdout.splitlines()[-6:]:
        assert Path(line).is_file()

    (tmp_path / "out/test/tracking_results/static/demo/LasHeR/bee.txt").unlink()
    failed = run(*common, "--output_dir", tmp_path / "failed")
    assert failed.returncode == 1 and "for 1 of 3: bee" in failed.stderr and not (tmp_path / "failed").exists()
    assert len(failed.stderr.splitlines()) == 1, "one line, no traceback"
    one = run(*common, "--trackers", "transcmd/demo", "--output_dir", tmp_path / "one")
    assert one.returncode == 0 and list(Report.from_json(tmp_path / "one/report.json").trackers) == ["transcmd/demo"]
    assert "expected NAME=DIR, got 'x'" in run(*common, "--results", "x").stderr
