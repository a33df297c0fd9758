"""Rules compared with published figures, the package rgbt, MATLAB and slow loops; and the protocols."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.datasets import all_datasets
from lib.evaluation.annotations import Annotation, annotations_from_folder
from lib.evaluation.attributes import find_folder, read_attributes
from lib.evaluation.benchmarks import (
    BENCHMARKS,
    COESOT,
    DEPTHTRACK,
    LASHER,
    RGBT234,
    STC,
    VISEVENT,
    VOT_RGBD2022,
    VTUAV_ST,
)
from lib.evaluation.evaluate import evaluate
from lib.evaluation.loading import SIGNATURES
from lib.evaluation.rules.base import PROTOCOLS
from lib.evaluation.rules.curves import curve_of
from lib.evaluation.rules.one_pass import frame_quantities
from lib.evaluation.selection import load_results
from lib.evaluation.truth import truth_from_folder
from lib.report.tables import page
from lib.results.folder import ResultFolder
from tests.data.test_readers import vtuav_video
from tests.evaluation.test_evaluation import GT, annotate, named, save, score


@pytest.fixture(scope="module")
def reference(shared):
    return shared / "reference"


def figures(reference, benchmark, tracker):
    return json.loads((reference / "expected.json").read_text())[benchmark][tracker]


# --- figures ----------------------------------------------------------------------------------------------------------


def test_visevent_under_pytrackings_rules(reference):
    expected = figures(reference, "VisEvent_172", "CEUTrack (pytracking rules)")
    annotations, folder = annotations_from_folder(reference / "gt/VisEvent"), reference / "results/VisEvent/CEUTrack"
    report = evaluate(VISEVENT.under("pytracking"), annotations, {"t": folder}, allow_missing=True)
    names = ("PR", "NPR", "SR", "OP50")
    assert named(report.trackers["t"].scores, *names) == pytest.approx({n: expected[n] for n in names}, abs=0.01)
    assert report.protocol == "pytracking" and "protocol pytracking (not verified)" in report.title


def test_visevent_reports_the_precision_at_20_pixels_and_the_mean_of_the_curve(reference):
    """The second is what the published toolkit prints: CEUTrack's 172 videos have 71.81 and 68.13."""
    annotations, folder = annotations_from_folder(reference / "gt/VisEvent"), reference / "results/VisEvent/CEUTrack"
    report = evaluate(VISEVENT, annotations, {"t": folder}, allow_missing=True)
    found = report.trackers["t"].scores
    assert (found["PR"], found["PR mean"]) == (pytest.approx(71.81, abs=0.01), pytest.approx(68.13, abs=0.01))
    assert np.mean(report.trackers["t"].curves["PR"].y) == pytest.approx(found["PR mean"])
    assert list(COESOT.metrics) == list(VISEVENT.metrics) and "PR mean" not in LASHER.metrics
    assert any(note.startswith("PR is the precision at 20 pixels; PR mean") for note in report.notes)


def test_stc_gives_the_independent_figures(reference):
    annotations = annotations_from_folder(reference / "gt/STC")
    assert [a.name for a in annotations[:2]] == ["athlete_move", "athlete_static"], "GT_ stands before every name"
    folders = {name: reference / "results/STC" / name for name in ("DiMP", "OTR")}  # with a prefix in one result
    report = evaluate(STC, annotations, folders)
    assert report.sequences == 36
    for name in folders:
        assert report.trackers[name].scores["SR"] == pytest.approx(figures(reference, "STC", name)["AUC"], abs=0.01)


def test_lasher_can_be_scored_without_the_frames_that_have_no_target(reference):
    """`strict` compared with figures of an independent computation for APFNet."""
    annotations = annotations_from_folder(reference / "gt/LasHeR_test")
    folder = reference / "results/LasHeR/APFNet"
    found = named(score(LASHER.under("strict"), folder, annotations).trackers["t"].scores)
    assert {name: round(value, 2) for name, value in found.items()} == {"PR": 49.65, "NPR": 43.57, "SR": 36.42}


def test_strict_refuses_results_of_another_length(reference):
    annotations = annotations_from_folder(reference / "gt/RGBT234")
    with pytest.raises(ValueError, match=r"ADRNet/orangeman1: 920 rows for 921 frames in .*differ from frame 921 on"):
        evaluate(RGBT234.under("strict"), annotations, {"ADRNet": reference / "results/RGBT234/ADRNet"})
    report = score(RGBT234, reference / "results/RGBT234/ADRNet", annotations)
    assert "t: too short: orangeman1 (920 of 921)." in report.notes


def test_results_that_are_too_long_are_cut_and_named(tmp_path):
    save(tmp_path, annotate(GT), [*GT, *GT])
    assert "t: too long: a (8 of 4)." in score(LASHER, tmp_path, [annotate(GT)]).notes
    with pytest.raises(ValueError, match="8 rows for 4 frames"):
        score(LASHER.under("strict"), tmp_path, [annotate(GT)])


def test_lasher_agrees_with_matlab_point_by_point(reference):
    """Every point of every sequence's curve, for the trackers with available boxes."""
    from scipy import io

    annotations = annotations_from_folder(reference / "gt/LasHeR_test")
    # The toolkit took the files in the order of its Windows folder, where ` was a quotation mark that sorts last.
    annotations.sort(key=lambda a: f"{a.name}.txt".lower().replace("`", "~"))
    checked = 0
    for metric, file in (("SR", "overlap"), ("NPR", "normalised_error")):
        record = io.loadmat(reference / f"matlab/LasHeR_14alg_{file}.mat")
        trackers = [str(cell[0]) for cell in record["name_tracker_all"].ravel()]
        for folder in sorted((reference / "results/LasHeR").iterdir()):
            if folder.name not in trackers:
                continue
            outputs = load_results(LASHER, annotations, {"t": ResultFolder("t", folder)}).outputs["t"]
            theirs = record["ave_success_rate_plot"][trackers.index(folder.name)]
            line = LASHER.metrics[metric]
            mine = [
                curve_of(line, frame_quantities(LASHER.rule, a, output)[line.quantity])
                for a, output in zip(annotations, outputs, strict=True)
            ]
            np.testing.assert_allclose(mine, theirs, atol=1e-9)
            checked += theirs.size
    assert checked == 4 * 245 * (21 + 51)


@pytest.mark.parametrize("tracker", ["MTNet", "SGT"])
def test_lasher_equals_the_package_rgbt(reference, tracker, tmp_path):
    """Its rules are ours; it rounds boxes to whole pixels and counts in 32 bits, which moves ties by some frames."""
    import rgbt

    annotations = annotations_from_folder(reference / "gt/LasHeR_test")[::4]
    folder = reference / "results/LasHeR" / tracker
    for annotation in annotations:
        boxes = load_results(LASHER, [annotation], {"t": ResultFolder("t", folder)}).outputs["t"][0].boxes_xywh.round(0)
        np.savetxt(tmp_path / f"{annotation.name}.txt", boxes, delimiter=",", fmt="%d")
    theirs, names = rgbt.LasHeR(), [annotation.name for annotation in annotations]
    theirs.seqs_name = names
    theirs(tracker_name="t", result_path=str(tmp_path))
    mine = load_results(LASHER, annotations, {"t": ResultFolder("t", tmp_path)}).outputs["t"]
    frames = np.array([len(a.boxes_xywh) for a in annotations])
    for metric in ("PR", "NPR", "SR"):
        value, curves = getattr(theirs, metric)("t", seqs=names)
        line = LASHER.metrics[metric]
        ours = np.stack(
            [
                curve_of(line, frame_quantities(LASHER.rule, a, output)[line.quantity])
                for a, output in zip(annotations, mine, strict=True)
            ]
        )
        differ = np.abs(ours - curves) * frames[:, None]  # in frames
        assert np.count_nonzero(differ > 1e-6) < 0.03 * ours.size and differ.max() < 10, metric
        report = evaluate(LASHER, annotations, {"t": tmp_path})
        assert report.trackers["t"].scores[metric] == pytest.approx(100 * value, abs=0.05)


# --- slow loops for what no published result can prove ----------------------------------------------------------------


def slow_overlap(a, b):
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / (a[2] * a[3] + b[2] * b[3] - wide * high)


def slow_distance(a, b):
    return math.dist((a[0] + a[2] / 2, a[1] + a[3] / 2), (b[0] + b[2] / 2, b[1] + b[3] / 2))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), corners=st.booleans())
def test_vtuav_equals_a_slow_loop(tmp_path_factory, seed, corners):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("results")
    annotations, scores = [], []
    for index in range(int(rng.integers(1, 4))):
        count = int(rng.integers(1, 6))
        rgb = np.concatenate([rng.uniform(0, 80, (count, 2)), rng.uniform(5, 40, (count, 2))], axis=1).round(1)
        aux = rgb + rng.normal(0, 3, (count, 4)).round(1)
        aux[:, 2:] = aux[:, 2:].clip(1)  # a box without a width is not an annotation
        rows = np.repeat(rgb, 10, axis=0)[: 10 * count - int(rng.integers(0, 10))] + 0.0
        rows[:, :2] += rng.normal(0, 12, (len(rows), 2))
        name = f"s{index}"
        annotations.append(Annotation(name, rgb, np.ones(count, bool), aux))
        sides = [rows[:, 0], rows[:, 1], rows[:, 0] + rows[:, 2], rows[:, 1] + rows[:, 3]]
        quad = np.stack([sides[i] for i in (0, 1, 2, 1, 2, 3, 0, 3)], axis=1)
        np.savetxt(folder / f"{name}.txt", quad if corners else rows, fmt="%.17g")
        frames = []
        for k in range(count):
            x, y, w, h = rows[10 * k]
            box = (x, y, w, h)
            if corners:  # of x1 y1 x2-x1 y2-y1, halves away from zero
                x1, y1, x2, y2 = quad[10 * k, 0], quad[10 * k, 1], quad[10 * k, 4], quad[10 * k, 5]
                box = [math.copysign(math.floor(abs(v) + 0.5), v) for v in (x1, y1, x2 - x1, y2 - y1)]
            frames.append(
                (
                    max(slow_overlap(box, rgb[k]), slow_overlap(box, aux[k])),
                    min(slow_distance(box, rgb[k]), slow_distance(box, aux[k])),
                )
            )
        hits = sum(d <= 20 for _, d in frames) / count
        success = sum(sum(o > t for t in VTUAV_ST.metrics["MSR"].thresholds) / 21 for o, _ in frames) / count
        scores.append((100 * hits, 100 * success))
    found = score(VTUAV_ST, folder, annotations).trackers["t"].scores
    expected = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
    assert list(found.values()) == pytest.approx(expected, abs=1e-6)


def test_vtuav_results_have_a_row_for_every_frame(tmp_path):
    annotation = annotate(GT)
    save(tmp_path, annotation, [GT[0]] * 31)
    assert score(VTUAV_ST, tmp_path, [annotation]).trackers["t"].scores["MPR"] == 100
    save(tmp_path, annotation, [GT[0]] * 30)
    with pytest.raises(ValueError, match="30 rows for 4 annotated frames, one in 10"):
        score(VTUAV_ST, tmp_path, [annotation])


def test_results_on_incomplete_vtuav_are_scored_on_the_annotated_images(tmp_path):
    """Four of 109 images are lost: row 6 of the annotation belongs to row 47 of a result for the images that exist."""
    lost = range(43, 47)
    vtuav_video(tmp_path, "test_ST_001/bike", 109, 11, first=0, lost=lost)
    truth = truth_from_folder(VTUAV_ST, tmp_path / "VTUAV")
    assert [key[-10:] for key in truth.sequences["bike"].rgb_keys][4:6] == ["000040.jpg", "000050.jpg"]
    boxes = np.array([(2 + number // 10, 3, 11, 12) for number in range(109)], float)  # right in annotated frames
    boxes[np.arange(109) % 10 != 0] += 500
    boxes[30, 2] = boxes[-1, 2] = 0
    for name, rows in (("present", np.delete(boxes, list(lost), axis=0)), ("all", boxes)):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "bike.txt", rows)
    folders = {name: tmp_path / name for name in ("present", "all")}
    for protocol in PROTOCOLS:
        report = evaluate(VTUAV_ST.under(protocol), truth.annotations, folders)
        assert report.trackers["present"].scores == report.trackers["all"].scores
        assert next(iter(report.trackers["all"].scores.values())) >= 90
        assert not [note for note in report.notes if "too short" in note or "too long" in note if "bike" in note]
        assert report.warnings == ()
    np.savetxt(tmp_path / "all" / "bike.txt", boxes[:106])
    (warning,) = evaluate(VTUAV_ST, truth.annotations, folders).warnings
    assert warning.startswith("all: 1 of 1 results have another number of rows than the sequence has images")
    assert warning.endswith(": bike (106 rows for 109 images).")
    np.savetxt(tmp_path / "all" / "bike.txt", boxes[:100])
    with pytest.raises(ValueError, match="100 rows for 11 annotated frames"):
        evaluate(VTUAV_ST, truth.annotations, folders)


def test_coesot_leaves_out_sequences_that_start_absent(tmp_path):
    """20 of its videos start with a box of zeros: a tracker started there misses everywhere and leaves the mean."""
    far = [[150.0, 150, 20, 20]] * 3
    absent = Annotation("absent", np.array([[0.0] * 4, *far]), np.array([False, True, True, True]))
    for annotation in (annotate(GT), absent):
        save(tmp_path, annotation, [GT[0]] * 4 if annotation.name == "a" else [[0, 0, 0, 0]] * 4)
    report = score(COESOT, tmp_path, [annotate(GT), absent])
    assert named(report.trackers["t"].scores) == pytest.approx({"PR": 100, "NPR": 100, "SR": 100 * 20 / 21})
    assert "t: SR leaves out 1 of 2 whose whole curve is 0: absent." in report.notes


# --- protocols --------------------------------------------------------------------------------------------------------


def test_protocols_differ_in_frames_without_a_box(tmp_path):
    """Frame 4 is annotated at the image's edge, frame 5 has no box; the tracker is right until it loses frame 4."""
    annotation = annotate([*GT, [0, 5, 9, 9], [0, 0, 0, 0]])
    save(tmp_path, annotation, [*GT, [900, 900, 9, 9], [900, 900, 9, 9]])
    found = {
        protocol: named(score(LASHER.under(protocol), tmp_path, [annotation]).trackers["t"].scores)
        for protocol in PROTOCOLS
    }
    perfect = 100 * 20 / 21
    assert found["official"] == pytest.approx({"PR": 100, "NPR": 100, "SR": perfect * 4 / 6})
    assert found["strict"] == pytest.approx({"PR": 80, "NPR": 80, "SR": perfect * 4 / 5})
    assert found["pytracking"] == pytest.approx({"PR": 100 * 4 / 6, "NPR": 100 * 5 / 6, "SR": perfect * 4 / 6})
    # Sums over all frames, divided by the five valid ones.
    assert found["pytracking_valid"] == pytest.approx({"PR": 100 * 4 / 5, "NPR": 100 * 5 / 5, "SR": perfect * 4 / 5})


@pytest.mark.parametrize("protocol", ["pytracking", "pytracking_valid"])
def test_pytracking_repeats_the_row_before_an_empty_one(tmp_path, protocol):
    """The example of the corrected rule: every second prediction is 0 0 0 0."""
    annotation = annotate([[100, 100, 50, 50]] * 10)
    save(tmp_path, annotation, [[100, 100, 50, 50], [0, 0, 0, 0]] * 5)
    found = named(score(LASHER.under(protocol), tmp_path, [annotation]).trackers["t"].scores)
    assert found == pytest.approx({"PR": 100, "NPR": 100, "SR": 100 * 20 / 21})


def test_pytracking_repeats_a_broken_first_row_and_leaves_added_rows_empty(tmp_path):
    """Row 1 repeats the empty row 0, which only then becomes the annotation; the two missing rows are misses."""
    annotation = annotate([[100, 100, 50, 50]] * 6)
    save(tmp_path, annotation, [[0, 0, 0, 0], [0, 0, 50, 0], [100, 100, 50, 50], [7, 7, 0, 7]])
    found = named(score(LASHER.under("pytracking"), tmp_path, [annotation]).trackers["t"].scores)
    assert found["PR"] == pytest.approx(100 * 3 / 6)


@pytest.mark.parametrize("row", [[np.nan, 5, 9, 9], [5, 5, -1, 9], [5, 5, 9, -0.5]])
def test_pytracking_refuses_nan_and_negative_sizes(tmp_path, row):
    annotation = annotate(GT)
    save(tmp_path, annotation, [GT[0], row, *GT[2:]])
    with pytest.raises(ValueError, match="t/a: row 2 is .*; pytracking accepts no such row"):
        score(LASHER.under("pytracking"), tmp_path, [annotation])


def test_normalised_errors_are_divided_before_they_are_compared(tmp_path):
    """100 + 2 px off at a width of 10: (106.5 / 10 - 104.5 / 10) is above 0.20 by rounding, 2 / 10 is not."""
    annotation = annotate([[100, 100, 10, 10]] * 2)
    save(tmp_path, annotation, [[100, 100, 10, 10], [102, 100, 10, 10]])
    assert (100 + 2 + 4.5) / 10 - (100 + 4.5) / 10 > 0.2
    assert score(LASHER.under("pytracking"), tmp_path, [annotation]).trackers["t"].scores["NPR"] == 50


def test_rows_that_are_no_box_are_counted_in_the_report(tmp_path):
    save(tmp_path, annotate(GT), [GT[0], [np.nan] * 4, [9, 9, 0, 5], GT[3]])
    assert "t: 2 rows in 1 results are no box." in score(LASHER, tmp_path, [annotate(GT)]).notes


def test_pytracking_fills_short_results_and_uses_only_rgb(tmp_path):
    annotation = replace(annotate(GT), aux_boxes_xywh=np.array(GT, float) + [30, 0, 0, 0])
    save(tmp_path, annotation, [*GT[:2], [40, 10, 20, 20]])
    report = score(RGBT234.under("pytracking"), tmp_path, [annotation])
    assert report.trackers["t"].scores["PR"] == 50 and "t: too short: a (3 of 4)." in report.notes
    official = score(RGBT234, tmp_path, [annotation])
    assert official.trackers["t"].scores["MPR"] == 100


def test_strict_excludes_the_initial_frame_from_long_term_scores(tmp_path):
    annotation = annotate(GT)
    save(tmp_path, annotation, [GT[0], *[[900, 900, 5, 5]] * 3])
    assert score(DEPTHTRACK, tmp_path, [annotation]).trackers["t"].scores["Re"] == 25
    assert score(DEPTHTRACK.under("strict"), tmp_path, [annotation]).trackers["t"].scores["Re"] == 0


def test_a_sequence_without_counted_frames_is_excluded_and_reported(tmp_path):
    empty = annotate([[0, 0, 0, 0]] * 4, name="empty")
    for annotation in (annotate(GT), empty):
        save(tmp_path, annotation, GT)
    report = score(VISEVENT.under("strict"), tmp_path, [annotate(GT), empty])
    assert named(report.trackers["t"].scores) == pytest.approx({"PR": 100, "NPR": 100, "SR": 100 * 20 / 21})
    assert "t: 1 left out because no frame counts: empty." in report.notes


def test_overlaps_at_half_and_three_quarters_are_points_of_the_curve(tmp_path):
    annotation = annotate(GT)
    save(
        tmp_path, annotation, [[10, 10, 20, 20], [10, 10, 20, 10], [10, 10, 20, 11], [10, 10, 20, 16]]
    )  # 1, .5, .55, .8
    scores = score(LASHER, tmp_path, [annotation]).trackers["t"].scores
    assert (scores["OP50"], scores["OP75"]) == (75, 50), "strictly above"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_describes_every_protocol(name, protocol):
    benchmark = BENCHMARKS[name]
    assert benchmark.name == name and benchmark.dataset in all_datasets()
    if benchmark is VOT_RGBD2022 and protocol != "official":
        with pytest.raises(ValueError, match="VOT-RGBD2022: runs from anchors have only the protocol official"):
            benchmark.under(protocol)
        return
    changed = benchmark.under(protocol)
    text = " ".join(changed.rule.notes())
    for word in ("First frame:", "bsent", "refused|too short|short"):
        assert any(part in text for part in word.split("|")) or benchmark is VOT_RGBD2022, word
    assert changed.protocol == protocol and (protocol == "official" or not changed.verified)
    assert set(BENCHMARKS) & {"LasHeR", "LasHeR_all", "VTUAV_ST", "VTUAV_LT", "CDTB", "RGBD1K", "COESOT"}


def test_unknown_protocols_are_named():
    with pytest.raises(
        ValueError, match="unknown protocol 'otb'; known: official, strict, pytracking, pytracking_valid"
    ):
        LASHER.under("otb")


# --- results and annotations of different benchmarks ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "truth", "results", "problem"),
    [
        ("LasHeR", "LasHeR_test", "GTOT/ADRNet_ltwh", "results of GTOT"),
        ("LasHeR", "LasHeR_test", "RGBT234/MTNet", "results of RGBT234 or RGBT210, not of LasHeR"),
        ("LasHeR", "LasHeR_test", "DepthTrack_vot_layout/DeT_DiMP50_Max/rgbd-unsupervised", "results of DepthTrack"),
        ("VisEvent", "VisEvent", "LasHeR/SGT", "results of LasHeR"),
        ("GTOT", "GTOT", "STC/OTR", "results of STC"),
        ("STC", "STC", "VisEvent/CEUTrack", "results of VisEvent"),
        ("RGBT210", "RGBT210", "RGBT234/MTNet", "147 of 210 results differ in length from RGBT210's annotations"),
    ],
)
def test_results_of_another_benchmark_are_recognised(reference, benchmark, truth, results, problem):
    annotations = annotations_from_folder(reference / "gt" / truth)
    with pytest.raises(ValueError, match=problem):
        score(BENCHMARKS[benchmark], reference / "results" / results, annotations, allow_missing=True)


def test_few_results_of_the_benchmark_itself_are_missing_results(reference, tmp_path):
    annotations = annotations_from_folder(reference / "gt/LasHeR_test")
    for name in ("10runone", "2girl"):
        text = (reference / "results/LasHeR/MTNet" / f"{name}.txt").read_text()
        (tmp_path / f"{name}.txt").write_text(text)
    with pytest.raises(ValueError, match=r"results are missing or do not fit: t: no file in .* for 243 of 245: 11left"):
        score(LASHER, tmp_path, annotations)
    assert score(LASHER, tmp_path, annotations, allow_missing=True).sequences == 2


def test_annotations_of_another_benchmark_are_recognised(reference):
    for benchmark, truth, results, problem in (
        ("RGBT234", "LasHeR_test", "LasHeR/SGT", "annotations of LasHeR, expected annotations of RGBT234"),
        ("LasHeR", "GTOT", "GTOT/ADRNet_ltwh", "annotations of GTOT, expected annotations of LasHeR"),
        ("RGBT210", "RGBT234", "RGBT234/MTNet", "RGBT210 has 210 sequences, got annotations of 234"),
    ):
        annotations = annotations_from_folder(reference / "gt" / truth)
        with pytest.raises(ValueError, match=problem):
            score(BENCHMARKS[benchmark], reference / "results" / results, annotations)


def test_signatures_are_names_of_only_one_benchmark(reference):
    names = {
        "LasHeR": {path.stem for path in (reference / "gt/LasHeR_attr/AttriSeqsTxt").glob("*.txt")},
        "RGBT234 or RGBT210": {path.name for path in (reference / "gt/RGBT234").iterdir()},
        "GTOT": {path.name for path in (reference / "gt/GTOT/groundtruth").iterdir()},
        "STC": {path.stem.removeprefix("GT_") for path in (reference / "gt/STC").iterdir()},
        "VisEvent": {path.stem for path in (reference / "gt/VisEvent/gt_rect").iterdir()},
    }
    for name, words in SIGNATURES.items():
        for other, known in names.items():
            assert set(words.split()) <= known if other == name else not set(words.split()) & known, (name, other)


# --- attributes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "truth", "flags", "count", "some"),
    [
        ("LasHeR", "LasHeR_test", "LasHeR_attr", 19, {"NO": 25, "ARV": None}),
        ("RGBT234", "RGBT234", "RGBT234", 12, {"BC": None, "NO": None}),
        ("VisEvent", "VisEvent", "VisEvent", 17, {"CM": None, "BOM": None}),
    ],
)
def test_published_attributes(reference, benchmark, truth, flags, count, some):
    names = [a.name for a in annotations_from_folder(reference / "gt" / truth)]
    found = read_attributes(reference / "gt" / flags, BENCHMARKS[benchmark].attributes, names)
    assert len(found) == count == len(BENCHMARKS[benchmark].attributes)
    assert set(found) == set(BENCHMARKS[benchmark].attributes)
    for attribute in some:
        assert 0 < found[attribute].sum() < len(names)


def test_scores_by_attribute_are_those_of_the_sequences_that_have_it(reference):
    annotations = annotations_from_folder(reference / "gt/LasHeR_test")
    flags = read_attributes(reference / "gt/LasHeR_attr", LASHER.attributes, [a.name for a in annotations])
    folder = {"MTNet": reference / "results/LasHeR/MTNet"}
    report = evaluate(LASHER, annotations, folder, attributes=flags)
    alone = evaluate(LASHER, [a for a, flag in zip(annotations, flags["TC"], strict=True) if flag], folder)
    assert report.attributes["TC"] == alone.sequences
    assert report.trackers["MTNet"].attributes["TC"] == pytest.approx(alone.trackers["MTNet"].scores)
    assert "## SR by attribute" in page(report)


def test_attributes_in_other_formats_and_broken_ones(tmp_path):
    for index, name in enumerate("ab"):
        (tmp_path / f"{name}.txt").write_text("1,2,3,4\n1,2,3,4\n")  # annotations are not flags
        (tmp_path / "att").mkdir(exist_ok=True)
        (tmp_path / "att" / f"{name}.txt").write_text(f"{index}\n1\n\n")
    assert find_folder(tmp_path, ["a", "b"]) == tmp_path / "att"
    found = read_attributes(tmp_path, ("X", "Y"), ["b", "a"])
    assert {name: flags.tolist() for name, flags in found.items()} == {"X": [True, False], "Y": [True, True]}
    with pytest.raises(FileNotFoundError, match="no attributes of 1 sequences: c"):
        read_attributes(tmp_path, ("X", "Y"), ["a", "c"])
    with pytest.raises(ValueError, match=r"a\.txt: expected 3 flags of 0 and 1, got 2: '0 1'"):
        read_attributes(tmp_path, ("X", "Y", "Z"), ["a", "b"])
    (tmp_path / "AttriSeqsTxt").mkdir()  # LasHeR's order in every data set
    (tmp_path / "AttriSeqsTxt/c.txt").write_text("0,1" + ",0" * 17)
    assert [n for n, flags in read_attributes(tmp_path, ("X", "Y"), ["c"]).items() if flags.any()] == ["PO"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one/SequencesName.txt").write_text("b\na\n")
    (tmp_path / "one/BC.txt").write_text("1\n0\n")
    assert read_attributes(tmp_path / "one", (), ["a", "b"])["BC"].tolist() == [False, True]
    with pytest.raises(FileNotFoundError, match=r"SequencesName\.txt: does not name 1 sequences: c"):
        read_attributes(tmp_path / "one", (), ["a", "c"])
    with pytest.raises(FileNotFoundError, match="no attributes of these sequences"):
        read_attributes(tmp_path / "none", (), ["a"])
    assert find_folder(tmp_path / "none", ["a"]) is None
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt/a.txt").write_text("0,0,0,0\n" * 5)  # never present, but still an annotation
    assert find_folder(tmp_path / "gt", ["a"], subfolders_only=True) is None
