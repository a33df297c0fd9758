"""Contents of a report besides scores: intervals, comparisons, tables in every format, and figures."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.drop import Drop
from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.attributes import read_attributes
from lib.evaluation.benchmarks import GTOT, LASHER, RGBT234
from lib.evaluation.evaluate import evaluate
from lib.evaluation.report import Report
from lib.evaluation.statistics import compare, interval, resampled_weights
from lib.report.palette import LONGEST_NAME, short_name
from lib.report.plots import draw_metric, draw_plots, draw_radar
from lib.report.save import save_tables
from lib.report.tables import attributes, headline, headline_latex, latex, page, protocols, sequences
from tests.evaluation.test_evaluation import GT, annotate, make_report, save, score, three_sequences
from tests.processes import ROOT, run_tracking

# --- uncertainty ------------------------------------------------------------------------------------------------------


def test_resamples_draw_all_sequences_with_replacement_and_are_reproducible():
    weights = resampled_weights(7, resamples=50)
    assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all() and (weights >= 0).all()
    np.testing.assert_array_equal(weights, resampled_weights(7, resamples=50))
    assert not np.array_equal(weights, resampled_weights(7, resamples=50, seed=1))


def test_intervals_of_a_mean_are_those_of_theory():
    """For a mean over 400 sequences the bootstrap must be near ± 1.96 standard errors, with the same coverage."""
    rng, covered = np.random.default_rng(0), 0
    weights = resampled_weights(400, resamples=600)
    for _ in range(200):
        values = rng.normal(50, 20, 400)
        low, high = interval(weights @ values / 400)
        assert (high - low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 20, rel=0.2)
        covered += low <= 50 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_paired_difference_has_a_narrower_interval_than_the_scores():
    rng = np.random.default_rng(1)
    hard = rng.uniform(0, 100, 200)  # sequences differ much more than trackers
    a, b = hard + rng.normal(1.5, 3, 200), hard
    weights = resampled_weights(200)
    samples = {name: weights @ values / 200 for name, values in (("a", a), ("b", b))}
    (found,) = compare({"a": a.mean(), "b": b.mean()}, samples)
    assert (found.better, found.worse) == ("a", "b") and found.difference == pytest.approx((a - b).mean())
    assert found.low > 0 and found.p < 0.01 and "is better than" in str(found)
    assert found.high - found.low < 0.2 * np.diff(interval(samples["a"]))[0]


@pytest.mark.parametrize("trial", range(3))
def test_trackers_without_a_difference_are_not_significantly_different(trial):
    rng = np.random.default_rng(trial)
    weights, false_alarms = resampled_weights(100, resamples=500), 0
    for _ in range(100):
        a, b = rng.normal(50, 10, (2, 100))
        samples = {"a": weights @ a / 100, "b": weights @ b / 100}
        (found,) = compare({"a": a.mean(), "b": b.mean()}, samples)
        false_alarms += found.p < 0.05
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high) or 0.02 < found.p < 0.1, "the two agree"
    assert false_alarms <= 12


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), benchmark=st.sampled_from([LASHER, RGBT234, GTOT]))
def test_headline_scores_lie_in_their_intervals_and_equal_trackers_tie(tmp_path_factory, seed, benchmark):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("results")
    annotations = []
    for index in range(12):
        boxes = np.concatenate([rng.uniform(20, 60, (9, 2)), rng.uniform(10, 40, (9, 2))], axis=1).round()
        annotations.append(annotate(boxes, name=f"s{index}"))
        for tracker in "ab":
            save(folder / tracker, annotations[-1], boxes + rng.normal(0, index, (9, 4)) * [1, 1, 0, 0])
    shutil.copytree(folder / "a", folder / "c")
    report = evaluate(benchmark, annotations, {name: folder / name for name in "abc"})
    for tracker in report.trackers.values():
        for metric, (low, high) in tracker.intervals.items():
            assert low - 1e-9 <= tracker.scores[metric] <= high + 1e-9 and 0 <= low <= high <= 100 + 1e-9
    (tie,) = (c for c in report.comparisons if {c.better, c.worse} == {"a", "c"})
    assert (tie.difference, tie.low, tie.high, tie.p) == (0, 0, 0, 1) and "is not shown to differ from" in str(tie)
    assert len(report.comparisons) == 3 and all(c.difference >= 0 for c in report.comparisons)


def test_intervals_of_attributes_are_those_of_a_report_on_their_sequences(tmp_path):
    rng, annotations = np.random.default_rng(3), []
    for index in range(6):
        boxes = np.concatenate([rng.uniform(20, 60, (9, 2)), rng.uniform(10, 40, (9, 2))], axis=1).round()
        annotations.append(annotate(boxes, name=f"s{index}"))
        save(tmp_path, annotations[-1], boxes + rng.normal(0, index, (9, 4)) * [1, 1, 0, 0])
    some = np.array([0, 1, 1, 0, 1, 1], bool)
    flags = {"SOME": some, "ONE": np.arange(6) == 2, "NONE": np.zeros(6, bool)}
    report = score(LASHER, tmp_path, annotations, attributes=flags)
    alone = score(LASHER, tmp_path, [annotations[index] for index in np.flatnonzero(some)])
    found = report.trackers["t"]
    assert set(found.attributes) == {"SOME", "ONE"} and set(found.attribute_intervals) == {"SOME"}
    for metric, ends in alone.trackers["t"].intervals.items():
        assert found.attribute_intervals["SOME"][metric] == pytest.approx(ends, abs=1e-9)
        assert found.attributes["SOME"][metric] == pytest.approx(alone.trackers["t"].scores[metric], abs=1e-9)
    low, high = alone.trackers["t"].intervals["SR"]
    assert low < high
    assert attributes(report)[1:] == [
        ["SOME", "4", f"{found.attributes['SOME']['SR']:.2f}", f"{low:.1f}", f"{high:.1f}"],
        ["ONE", "1", f"{found.attributes['ONE']['SR']:.2f}", "-", "-"],
    ]
    report.to_json(tmp_path / "report.json")
    assert Report.from_json(tmp_path / "report.json") == report


def test_attributes_with_fewer_than_ten_sequences_are_marked(tmp_path):
    annotations = [annotate(GT, name=f"s{index:02d}") for index in range(11)]
    for annotation in annotations:
        save(tmp_path, annotation)
    flags = {"TEN": np.arange(11) < 10, "NINE": np.arange(11) < 9, "ALL": np.ones(11, bool)}
    report = score(LASHER, tmp_path, annotations, attributes=flags)
    text = page(report)
    assert re.search(r"\| TEN +\| +10 \|", text) and re.search(r"\| NINE +\| +9\\\* \|", text)
    assert "\n\\* fewer than 10 sequences\n" in text
    (axes,) = draw_radar(report).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["TEN\n(10)", "NINE*\n(9)", "ALL\n(11)"]


def test_one_sequence_alone_has_no_interval(tmp_path):
    save(tmp_path, annotate(GT))
    report = score(LASHER, tmp_path, [annotate(GT)])
    assert report.trackers["t"].intervals == {} and "intervals" not in page(report)


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lasher(shared):
    folder = shared / "reference"
    annotations = annotations_from_folder(folder / "gt/LasHeR_test")
    flags = read_attributes(folder / "gt/LasHeR_attr", LASHER.attributes, [a.name for a in annotations])
    results = {name: folder / "results/LasHeR" / name for name in ("MTNet", "APFNet", "mfDiMP")}
    official, pytracking = (
        evaluate(LASHER.under(name), annotations, results, attributes=flags) for name in ("official", "pytracking")
    )
    return official.with_beside([pytracking])


def test_every_format_of_the_table_has_the_same_numbers(lasher, tmp_path):
    paths = {path.name: path for path in save_tables(lasher, tmp_path)}
    assert set(paths) == {"report.json", "report.md", "report.csv", "report.tex", "sequences.csv", "attributes.csv"}
    rows = list(csv.reader(paths["report.csv"].open()))
    assert rows == headline(lasher) and [row[0] for row in rows[1:]] == ["MTNet", "APFNet", "mfDiMP"]
    tex, text = paths["report.tex"].read_text(), paths["report.md"].read_text()
    for row in rows[1:]:
        assert all(cell in tex and cell in text for cell in row[:-1])
    assert r"\textbf{60.75}" in tex and r"\textbf{50.01}" not in tex
    assert json.loads(paths["report.json"].read_text())["trackers"]["MTNet"]["scores"]["PR"] == pytest.approx(
        60.75, abs=0.01
    )
    assert Report.from_json(paths["report.json"]) == lasher
    assert len(list(csv.reader(paths["attributes.csv"].open()))) == 20
    assert len(list(csv.reader(paths["sequences.csv"].open()))) == 246


def test_protocols_are_listed_side_by_side_and_described(lasher):
    table = protocols(lasher)
    assert table[0][:5] == ["Tracker", "PR official", "PR pytracking", "NPR official", "NPR pytracking"]
    assert table[1][:3] == ["MTNet", "60.75", "60.42"]
    text = page(lasher)
    for part in (
        "Protocols side by side",
        "Protocol official: bug for bug",
        "First frame:",
        "Absent frames:",
        "too short",
    ):
        assert part in text
    assert "MTNet is better than APFNet: +11.14 ± 2.8" in text and "APFNet is better than mfDiMP" not in text


def test_the_worst_sequences_come_first(lasher):
    means = [float(row[1]) for row in sequences(lasher)[1:]]
    assert means == sorted(means) and means[0] < 5
    first = sequences(lasher)[1]
    values = [lasher.trackers[name].per_sequence[first[0]]["SR"] for name in ("MTNet", "APFNet", "mfDiMP")]
    assert float(first[1]) == pytest.approx(sum(values) / 3, abs=0.01)


def test_latex_accepts_any_name_and_marks_the_best_of_each_column():
    text = latex([["Tracker", "PR", "FPS"], ["a_b & 50 % {x}", "9.50", "-"], ["c\\d#1$^~", "10.25", "-"]])
    assert r"a\_b \& 50 \% \{x\} & 9.50 & - \\" in text
    assert r"c\textbackslash{}d\#1\$\textasciicircum{}\textasciitilde{} & \textbf{10.25} & - \\" in text
    assert text.startswith(r"\begin{tabular}{lrr}")


def test_latex_underlines_the_second_best_of_three():
    rows = [
        ["a", "9.50", "1.00", "-"],
        ["b", "10.25", "2.00", "-"],
        ["c", "8.00", "2.00", "-"],
        ["d", "9.50", "0.50", "3"],
    ]
    text = latex([["Tracker", "PR", "SR", "FPS"], *rows], [["", "1.2", "", ""], *[["", "", "", ""]] * 3])
    assert r"a & \underline{9.50} {\scriptsize $\pm$ 1.2} & \underline{1.00} & - \\" in text
    assert r"b & \textbf{10.25} & \textbf{2.00} & - \\" in text and r"c & 8.00 & \textbf{2.00} & - \\" in text
    assert r"d & \underline{9.50} & 0.50 & \textbf{3} \\" in text


def test_latex_of_a_report_has_half_of_each_interval(lasher):
    text = headline_latex(lasher)
    low, high = lasher.trackers["MTNet"].intervals["PR"]
    assert rf"MTNet & \textbf{{60.75}} {{\scriptsize $\pm$ {(high - low) / 2:.1f}}} & " in text
    assert r"\underline{50.01} {\scriptsize $\pm$" in text and text.count(r"$\pm$") == 3 * 5


def test_incomplete_reports_are_marked_everywhere(tmp_path):
    annotations = three_sequences()
    for tracker in ("one", "two"):
        for annotation in annotations[: 3 if tracker == "one" else 2]:
            save(tmp_path / tracker, annotation)
    report = evaluate(LASHER, annotations, {t: tmp_path / t for t in ("one", "two")}, allow_missing=True)
    assert "2 of 245 sequences: not comparable" in page(report)
    save_tables(report, tmp_path / "out")
    assert json.loads((tmp_path / "out/report.json").read_text())["missing"]


# --- figures ----------------------------------------------------------------------------------------------------------


def test_the_radar_has_a_ray_for_each_attribute_and_a_line_for_each_tracker(lasher, tmp_path):
    (axes,) = draw_radar(lasher).axes
    assert len(axes.lines) == 3 and len(axes.get_xticklabels()) == 19
    values = axes.lines[0].get_ydata()
    assert values[0] == values[-1] == lasher.trackers["MTNet"].attributes["NO"]["SR"]
    assert {"attributes.png", "attributes.pdf"} <= {path.name for path in draw_plots(lasher, tmp_path)}
    assert not (tmp_path / "x").exists() and make_report(1).attributes == {}


@pytest.mark.parametrize("draw", [lambda report: draw_metric(report, "SR"), draw_radar])
def test_names_of_any_length_and_number_leave_the_axes_their_size(draw):
    """In inches; a legend beside the axes would take a part of their width, and a long name most of it."""
    sizes = []
    for count, name in ((1, "t"), (4, "name"), (20, "a" * 90), (20, "W" * 90)):
        report = make_report(count)
        trackers = {
            f"{name}{place}": replace(
                tracker, attributes={"A": tracker.scores, "B": tracker.scores, "C": tracker.scores}
            )
            for place, tracker in enumerate(report.trackers.values())
        }
        figure = draw(replace(report, trackers=trackers, attributes={"A": 3, "B": 20, "C": 30}))
        figure.draw_without_rendering()
        (axes,) = figure.axes
        box = axes.get_position()
        sizes.append([box.width * figure.get_figwidth(), box.height * figure.get_figheight()])
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(texts) == count and all(len(text) <= LONGEST_NAME + len(" 00.0 ± 00.0  ") for text in texts)
        assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1
    np.testing.assert_allclose(sizes, [sizes[0]] * 4, rtol=0.05)
    assert sizes[0][0] > 4.4 and sizes[0][1] > 3.5


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments):
    return run_tracking("analysis_results.py", *arguments)


def test_one_command_writes_the_whole_report(shared, tmp_path):
    """Needs only annotations and result folders, as they are published."""
    reference = shared / "reference"
    done = run(
        *("--benchmark", "LasHeR", "--annotations", reference / "gt/LasHeR_test"),
        *("--attributes", reference / "gt/LasHeR_attr", "--protocol", "official,pytracking"),
        *("--results", f"MTNet={reference}/results/LasHeR/MTNet", f"APFNet={reference}/results/LasHeR/APFNet"),
        *("--output_dir", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    plots = {f"{n}.{s}" for n in ("success", "precision", "normalised_precision", "attributes") for s in ("png", "pdf")}
    files = {
        "report.json",
        "report.md",
        "report.csv",
        "report.tex",
        "report.html",
        "sequences.csv",
        "attributes.csv",
    } | plots
    assert written == files | {f"pytracking/{name}" for name in files}
    assert "MTNet is better than APFNet" in done.stdout and re.search(r"MTNet +\| 56\.\d to 64\.\d", done.stdout)
    record = json.loads((tmp_path / "out/report.json").read_text())
    assert record["trackers"]["APFNet"]["scores"] == pytest.approx(
        {"PR": 50.0114, "NPR": 43.936, "SR": 36.2417, "OP50": 41.985, "OP75": 14.464}, abs=0.01
    )


def test_an_old_report_leaves_no_file_beside_the_new_one(tmp_path):
    for annotation in three_sequences():
        (tmp_path / "gt").mkdir(exist_ok=True)
        np.savetxt(tmp_path / "gt" / f"{annotation.name}.txt", annotation.boxes_xywh, delimiter=",")
        save(tmp_path / "r", annotation)
    common = ["--benchmark", "LasHeR", "--annotations", tmp_path / "gt", "--output_dir", tmp_path / "out"]
    one, two = (["--results", f"{name}={tmp_path / 'r'}"] for name in "ab")
    done = run(*common, *one, *two, "--protocol", "official,strict")
    assert done.returncode == 0 and (tmp_path / "out/strict/report.html").is_file(), done.stderr
    assert len(Report.from_json(tmp_path / "out/report.json").trackers) == 2, "a repeated option adds"
    for name in ("robustness.png", "mine.txt"):
        (tmp_path / "out" / name).write_text("old")
    assert run(*common, *one).returncode == 0
    assert not (tmp_path / "out/robustness.png").exists() and not list((tmp_path / "out/strict").iterdir())
    assert (tmp_path / "out/mine.txt").is_file() and (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--protocol", "otb"], "unknown protocol 'otb'; known: official, strict, pytracking, pytracking_valid"),
        (["--attributes", "nowhere"], "nowhere: no attributes of these sequences"),
        (["--results", "a=nowhere"], "a: no result folder nowhere"),
        (["--output_dir", ROOT / "tracking/analysis_results.py"], "analysis_results.py: expected a folder, got a file"),
        (["--annotations", "nowhere"], "--annotations nowhere: no such folder"),
        (["--protocol", "official, strictest"], "unknown protocol 'strictest'"),
    ],
)
def test_wrong_arguments_end_the_command_with_one_line(tmp_path, arguments, problem):
    for annotation in three_sequences():
        (tmp_path / "gt").mkdir(exist_ok=True)
        np.savetxt(tmp_path / "gt" / f"{annotation.name}.txt", annotation.boxes_xywh, delimiter=",")
        save(tmp_path / "r", annotation)
    common = ["--benchmark", "LasHeR", "--annotations", tmp_path / "gt", "--output_dir", tmp_path / "out"]
    done = run(*common, *(["--results", f"t={tmp_path / 'r'}"] if arguments[0] != "--results" else []), *arguments)
    assert done.returncode == 1 and problem in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_drop_is_text_in_report_json_and_data_in_memory(tmp_path, lasher):
    name = "MTNet"
    for drop, text in ((None, ""), (Drop("aux"), "aux"), (Drop("aux", 0.3, seed=2), "aux:0.3:random:blackout:2")):
        report = replace(lasher, trackers={name: replace(lasher.trackers[name], drop=drop)})
        report.to_json(tmp_path / "report.json")
        assert json.loads((tmp_path / "report.json").read_text())["trackers"][name]["drop"] == text
        assert Report.from_json(tmp_path / "report.json") == report


def test_short_names_keep_both_ends():
    names = [f"{'a' * 50}_{place}" for place in range(3)]
    short = [short_name(name) for name in names]
    assert len(set(short)) == 3 and {len(name) for name in short} == {LONGEST_NAME}
    assert all(name.startswith("aaa") and name.endswith(f"_{place}") for place, name in enumerate(short))
    assert short_name("transcmd/tiny") == "transcmd/tiny"
