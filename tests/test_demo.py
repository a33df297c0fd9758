"""The complete demo on this machine: its time and its results."""

import json
import os
import re
import sys

import pytest

from tests.processes import ROOT, run


@pytest.mark.slow
def test_demo_learns_to_use_both_modalities(tmp_path):
    """SR at least 40 and three times the box that never moves on each set, better with both modalities than with either
    alone, a teacher that is better still, in 15 minutes.
    """
    command = [sys.executable, str(ROOT / "tracking/run_demo.py"), "--set", f"DATA.ROOT={tmp_path}/data"]
    users = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # conftest.py sets it
    command += ["--save_dir", str(tmp_path / "output")]
    done = run(command, env=users, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    sys.stdout.write(done.stdout[done.stdout.index("| per cent") :])  # pytest -rP shows it
    rows = dict(re.findall(r"^\| ([a-zA-Z, ()]+?) +\| ([-0-9.| ]+) \|$", done.stdout, re.MULTILINE))
    scores = {title: [float(cell) for cell in cells.split("|")][1::2] for title, cells in rows.items()}
    still, student = scores["a box that never moves"], scores["student, distilled"]
    for i, rate in enumerate(student):
        assert 8 <= still[i] <= 20, done.stdout
        assert rate >= max(40, 3 * still[i]), done.stdout
        assert rate > scores["student, RGB alone"][i], done.stdout
        assert rate > scores["student, auxiliary alone"][i], done.stdout
    assert sum(scores["teacher"]) > sum(student) and sum(scores["student without distillation"]) > 2 * sum(still)
    for name in ("LasHeR", "DepthTrack", "VisEvent"):
        report = json.loads((tmp_path / f"output/test/reports/{name}/report.json").read_text())
        assert len(report["trackers"]) == 6
    assert int(re.search(r"(\d+) s in all", done.stdout).group(1)) <= 900
