"""docs/benchmarks.md: its commands are run unchanged, and every figure equals their result."""

import json
import re
import shlex

import pytest

from lib.evaluation.benchmarks import BENCHMARKS
from lib.evaluation.rules.base import PROTOCOLS
from tests.processes import ROOT, run_tracking

TEXT = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
COMMANDS = [
    line for line in TEXT.splitlines() if line.startswith("python tracking/analysis_results.py") and "$R" in line
]


@pytest.fixture(scope="module")
def reports(shared, tmp_path_factory):
    """Output folder → report, of all commands."""
    folder = tmp_path_factory.mktemp("docs")
    for line in COMMANDS:
        words = [word.replace("$R", str(shared / "reference")) for word in shlex.split(line)[2:]]
        done = run_tracking("analysis_results.py", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return {path.parent.relative_to(folder / "out").as_posix(): path for path in (folder / "out").rglob("report.json")}


def figures(reports, folder, tracker, *metrics):
    scores = json.loads(reports[folder].read_text())["trackers"][tracker]["scores"]
    return " / ".join(f"{scores[metric]:.2f}" for metric in metrics)


@pytest.mark.slow  # half a minute; tests/evaluation checks the published figures themselves
def test_every_figure_equals_the_result_of_its_command(reports):
    one_pass = ("PR", "NPR", "SR")
    table = TEXT[TEXT.index("## Every figure") :]
    for folder, tracker, metrics in (
        *(("lasher", name, one_pass) for name in ("MTNet", "APFNet", "mfDiMP", "SGT")),
        *(("rgbt234", name, ("MPR", "MSR")) for name in ("MTNet", "ADRNet")),
        *(("gtot", name, ("MPR", "MSR")) for name in ("ADRNet", "APFNet")),
        ("visevent", "CEUTrack", one_pass),
        ("visevent/pytracking", "CEUTrack", one_pass),
        ("visevent/pytracking_valid", "CEUTrack", one_pass),
        ("visevent", "CEUTrack", ("PR mean",)),
    ):
        assert f"| {figures(reports, folder, tracker, *metrics)}" in table, (folder, tracker)
    both = ", ".join(figures(reports, "stc", name, "SR") for name in ("DiMP", "OTR"))
    assert f"| {both} |" in table
    words = " ".join(TEXT.split())
    for folder, tracker in (("apfnet", "APFNet"), ("visevent", "CEUTrack")):
        for protocol in PROTOCOLS:
            place = folder if protocol == "official" else f"{folder}/{protocol}"
            assert f"{protocol} {figures(reports, place, tracker, *one_pass)}" in words, place
    for comparison in json.loads(reports["lasher"].read_text())["comparisons"]:
        if comparison["worse"] == "APFNet" or comparison["better"] == "APFNet" and comparison["worse"] == "mfDiMP":
            half = (comparison["high"] - comparison["low"]) / 2
            assert f"{comparison['difference']:+.2f} ± {half:.2f} (p" in words


def test_every_benchmark_is_in_the_table():
    table = TEXT[TEXT.index("## Benchmarks") : TEXT.index("## Protocols")]
    named = set(re.findall(r"`([^`/]+)`", table))
    assert set(BENCHMARKS) <= named and set(PROTOCOLS) <= set(re.findall(r"`(\w+)`", TEXT))
    for name, benchmark in BENCHMARKS.items():
        (row,) = (line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line)
        assert f"{benchmark.sequences:,}" in row
        assert ("not verified" in row or "independent" in row) == (not benchmark.verified), name


def test_linked_files_exist():
    for path in [ROOT / "docs" / target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]:
        assert path.exists(), path


def test_the_picture_of_the_rooms_has_all_of_them():
    drawn = re.findall(r'font-weight="bold" font-size="16">([a-z]+)<', (ROOT / "docs/architecture.svg").read_text())
    rooms = [path.name for path in (ROOT / "lib").iterdir() if (path / "__init__.py").is_file()]
    assert sorted(drawn) == sorted([*rooms, "structures"])
