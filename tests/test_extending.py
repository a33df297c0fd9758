"""docs/extending.md: its examples work as they stand, in the files that the text names and in no other."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.benchmarks import BENCHMARKS
from lib.evaluation.evaluate import evaluate, evaluate_protocols
from lib.evaluation.report import Report
from lib.evaluation.truth import truth_from_folder
from lib.report.save import save_evaluations
from lib.report.tables import page
from tests.helpers import write_rows

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


def run_example(title: str) -> dict:
    """Runs the Python blocks of one section of docs/extending.md, one after the other, in one namespace."""
    (section,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    names: dict = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, f"docs/extending.md, {title}", "exec"), names)
    return names


def run_tracking(monkeypatch, command: str, *arguments: object) -> None:
    """Runs a command in this process, where the tables are patched."""
    monkeypatch.syspath_prepend(ROOT / "tracking")
    monkeypatch.setattr("sys.argv", [command, *map(str, arguments)])
    runpy.run_path(str(ROOT / "tracking" / command), run_name="command")["main"]()


# --- benchmarks -------------------------------------------------------------------------------------------------------

BOX, HALF_OFF, NO_BOX = [10, 10, 20, 20], [20, 10, 20, 20], [0, 0, 0, 0]  # HALF_OFF overlaps BOX by 1/3


def write_truth(folder: Path, **sequences: tuple[list, list]) -> Path:
    """Boxes and labels (1: absent), in the folders that annotations without images have."""
    for name, (boxes, absent) in sequences.items():
        write_rows(folder / "gt_rect" / f"{name}.txt", boxes)
        write_rows(folder / "absent" / f"{name}.txt", [[label] for label in absent])
    return folder


def test_a_benchmark_of_a_known_kind_is_a_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(BENCHMARKS, "Night", run_example("A benchmark of a known kind")["NIGHT"])
    gt = write_truth(tmp_path / "gt", car=([BOX, BOX, NO_BOX], [0, 0, 1]), dog=([BOX, BOX], [0, 0]))
    write_rows(tmp_path / "t/car.txt", [BOX, [500, 500, 9, 9], BOX])
    write_rows(tmp_path / "t/dog.txt", [BOX, BOX])
    arguments = ["--annotations", gt, "--results", f"t={tmp_path / 't'}", "--output_dir", tmp_path / "out"]
    run_tracking(monkeypatch, "analysis_results.py", "--benchmark", "Night", *arguments)
    report = Report.from_json(tmp_path / "out/report.json")
    assert report.trackers["t"].scores["PR"] == pytest.approx((50 + 100) / 2), "the absent frame does not count"
    assert "# Night (not verified)" in capsys.readouterr().out and (tmp_path / "out/report.html").is_file()
    arguments = ["--results", tmp_path / "t", "--output", tmp_path / "t.zip"]
    run_tracking(monkeypatch, "pack_results.py", "--benchmark", "Night", "--annotations", gt, *arguments)
    assert "t.zip: 2 files of t on Night" in capsys.readouterr().out


@pytest.fixture
def anti_uav(tmp_path, monkeypatch):
    """The example's row in the table, annotations of two sequences, and results of two trackers."""
    example = run_example("A benchmark of a new kind")
    monkeypatch.setitem(BENCHMARKS, "Anti-UAV", example["ANTI_UAV"])
    truth = {"a": ([BOX, BOX, NO_BOX, NO_BOX, NO_BOX], [0, 0, 1, 1, 1]), "b": ([BOX, NO_BOX], [0, 0])}
    write_truth(tmp_path / "gt", **truth)
    write_rows(tmp_path / "t/a.txt", [BOX, HALF_OFF, NO_BOX, ["nan"] * 4, BOX])
    write_rows(tmp_path / "t/b.txt", [BOX, BOX])
    write_rows(tmp_path / "silent/a.txt", [NO_BOX] * 5)
    write_rows(tmp_path / "silent/b.txt", [NO_BOX] * 2)
    return BENCHMARKS["Anti-UAV"]


def test_a_benchmark_of_a_new_kind_is_a_rule_and_a_row(tmp_path, anti_uav):
    report = evaluate(anti_uav, annotations_from_folder(tmp_path / "gt"), {"t": tmp_path / "t"})
    # Sequence a: overlaps 1 and 1/3, twice no box where the target is absent, once a box. Sequence b: its second frame
    # is labelled visible and has no annotated box.
    first = 100 * (1 + 1 / 3 + 1 + 1 + 0) / 5
    assert report.trackers["t"].per_sequence == {"a": {"SA": pytest.approx(first)}, "b": {"SA": 50}}
    assert report.trackers["t"].scores == {"SA": pytest.approx((first + 50) / 2)}
    assert report.title == "Anti-UAV, 2 of 318 sequences (not verified)"
    assert "Absent frames: 1 where the tracker reports no box, else 0." in report.notes
    low, high = report.trackers["t"].intervals["SA"]
    assert low <= report.trackers["t"].scores["SA"] <= high


def test_a_rule_of_a_new_kind_has_a_strict_protocol(tmp_path, anti_uav):
    annotations, strict = annotations_from_folder(tmp_path / "gt"), anti_uav.under("strict")
    report = evaluate(strict, annotations, {"t": tmp_path / "t"})
    assert report.trackers["t"].per_sequence["b"]["SA"] == 100, "the frame without an annotated box does not count"
    write_rows(tmp_path / "t/b.txt", [BOX, BOX, BOX])
    assert evaluate(anti_uav, annotations, {"t": tmp_path / "t"}).trackers["t"].per_sequence["b"]["SA"] == 50
    with pytest.raises(ValueError, match=r"t/b: 3 rows for 2 frames in .*b\.txt \(they differ from frame 3 on\)"):
        evaluate(strict, annotations, {"t": tmp_path / "t"})
    with pytest.raises(ValueError, match="Anti-UAV: state accuracy has the protocols official and strict, got pytrack"):
        anti_uav.under("pytracking")


def test_a_benchmark_of_a_new_kind_has_tables_and_a_page(tmp_path, anti_uav):
    truth = truth_from_folder(anti_uav, tmp_path / "gt")
    folders = {name: tmp_path / name for name in ("silent", "t")}
    evaluations = evaluate_protocols([anti_uav.under(name) for name in ("official", "strict")], truth, folders)
    text = page(evaluations[0].report)
    assert "| Tracker | SA official | SA strict |" in text and "Absent frames: 1 where the tracker" in text
    assert evaluations[0].report.ranked("SA") == ["t", "silent"]
    assert evaluations[0].report.trackers["silent"].scores["SA"] == pytest.approx((60 + 0) / 2)
    names = {
        path.relative_to(tmp_path / "out").as_posix() for path in save_evaluations(evaluations, truth, tmp_path / "out")
    }
    assert {"report.json", "report.html", "report.csv", "strict/report.json", "strict/report.html"} <= names
    assert Report.from_json(tmp_path / "out/strict/report.json") == evaluations[1].report


def test_the_command_knows_a_benchmark_of_a_new_kind(tmp_path, anti_uav, monkeypatch, capsys):
    arguments = ["--annotations", tmp_path / "gt", "--results", f"t={tmp_path / 't'}", "--output_dir", tmp_path / "out"]
    arguments += ["--protocol", "official,strict"]
    run_tracking(monkeypatch, "analysis_results.py", "--benchmark", "Anti-UAV", *arguments)
    assert "| Tracker |    SA |" in capsys.readouterr().out
    scores = Report.from_json(tmp_path / "out/report.json").beside["strict"]["t"]
    assert np.isclose(scores["SA"], (100 * (1 + 1 / 3 + 2) / 5 + 100) / 2)
