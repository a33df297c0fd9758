"""benchmarks/compare_runs.py on two small output folders."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from lib.evaluation.report import Curve, Report, TrackerScores
from lib.report.save import save_tables
from tests.conftest import ROOT
from tests.helpers import write_file

PATH = ROOT / "benchmarks/compare_runs.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_runs", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_output(folder, fps=30.0, note="First frame: replaced."):
    """Writes small examples of the files of a training, a test and an analysis."""
    checkpoint = folder / "checkpoints/train/transcmd/demo/TransCMD_ep0001.pth.tar"
    checkpoint.parent.mkdir(parents=True)
    torch.save({"net": {"a": torch.tensor([1.0, -0.0, float("nan")]), "b": torch.arange(3)}, "epoch": 1}, checkpoint)
    results = folder / "test/tracking_results/transcmd/demo/LasHeR"
    write_file(results / "car.txt", "1.0000\t2.0000\t3.0000\t4.0000\n")
    write_file(results / "car_score.txt", "0.5\n")
    write_file(results / "car_time.txt", f"{1 / fps}\n")
    write_file(results / "run.json", json.dumps({"car": {"fingerprint": str(fps)}}))
    write_file(folder / "logs/x.log", f"{fps} frames per second")
    tracker = TrackerScores({"SR": 50.0}, {"car": {"SR": 50.0}}, {"SR": Curve([0.0], [50.0])}, fps)
    save_tables(
        Report("LasHeR", "", ("SR",), 1, 245, True, (note,), (), {"t": tracker}), folder / "test/reports/LasHeR"
    )


def compare(before, after, *options):
    done = subprocess.run([sys.executable, PATH, before, after, *options], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folders(tmp_path):
    for name, fps in (("before", 30.0), ("after", 25.0)):
        write_output(tmp_path / name, fps)
    return tmp_path / "before", tmp_path / "after"


def test_runs_that_differ_only_in_speed_are_equal(folders):
    code, text, _ = compare(*folders)
    assert code == 0 and text.split("\n")[1].split() == ["networks", "1", "1", "0"]
    assert [line.split()[:3] for line in text.splitlines()[2:5]] == [
        ["results", "2", "2"],
        ["reports", "1", "1"],
        ["tables", "2", "2"],
    ]
    code, text, _ = compare(*folders, "--strict")
    assert code == 1 and "run.json" in text
    assert "error: " in compare(folders[0], folders[0] / "none")[2]


def test_the_wording_of_notes_is_shown_but_is_no_difference(script, tmp_path):
    write_output(tmp_path / "before")
    write_output(tmp_path / "after", note="First frame: replaced by the annotation.")
    rows, lines = script.compare_folders(tmp_path / "before", tmp_path / "after")
    assert all(row[1] == row[2] for row in rows)
    report = "test/reports/LasHeR/report.json"
    assert lines == [
        f"{report}, note: - First frame: replaced.",
        f"{report}, note: + First frame: replaced by the annotation.",
    ]


@pytest.mark.parametrize(
    ("value", "size"), [([1.0, 0.0, float("nan")], "0"), ([1.5, -0.0, float("nan")], "0.5"), ([1.0, -0.0, 1.0], "inf")]
)
def test_tensors_are_compared_bit_by_bit(script, folders, value, size):
    (path,) = folders[1].rglob("*.pth.tar")
    torch.save({"net": {"a": torch.tensor(value), "b": torch.arange(3)}}, path)
    rows, (line,) = script.compare_folders(*folders)
    assert rows[0] == ["networks", "1", "0", size] and "1 differences, the first: a" in line


def test_a_different_shape_and_a_missing_tensor_are_differences(script, folders):
    (path,) = folders[1].rglob("*.pth.tar")
    torch.save({"net": {"a": torch.zeros(4), "c": torch.zeros(1)}}, path)
    found = [difference.where for difference in script.compare_nets(next(folders[0].rglob("*.pth.tar")), path)]
    assert found == ["a: another type or shape", "b: only before", "c: only after"]


def test_results_reports_and_tables_name_what_differs(script, folders):
    folder = folders[1] / "test"
    write_file(folder / "tracking_results/transcmd/demo/LasHeR/car.txt", "1.0000\t2.0000\t3.0000\t4.0625\n")
    report = folder / "reports/LasHeR/report.json"
    record = json.loads(report.read_text())
    record["trackers"]["t"]["scores"]["SR"] += 0.125
    report.write_text(json.dumps(record))
    table = folder / "reports/LasHeR/report.csv"
    table.write_text(table.read_text().replace("50.00", "50.25"))
    rows, lines = script.compare_folders(*folders)
    assert rows[1:] == [["results", "2", "1", "0.0625"], ["reports", "1", "0", "0.125"], ["tables", "2", "1", "0.25"]]
    assert any("report.json: 1 differences, the first: /trackers/t/scores/SR (0.125)" in line for line in lines)


def test_a_file_that_only_one_run_has_is_a_difference(script, folders):
    (folders[0] / "test/tracking_results/transcmd/demo/LasHeR/car_score.txt").unlink()
    rows, (line,) = script.compare_folders(*folders)
    assert rows[1] == ["results", "2", "1", "0"] and line.endswith(f"car_score.txt: only in {folders[1]}")
