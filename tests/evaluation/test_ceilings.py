"""The annotation, given as the result: the highest score of each benchmark (docs/benchmarks.md, Ceilings)."""

import numpy as np
import pytest

from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.benchmarks import BENCHMARKS, VOT_RGBD2022
from lib.evaluation.evaluate import evaluate
from tests.evaluation.test_evaluation import annotate, save, score
from tests.evaluation.test_multistart import BOX, run
from tests.evaluation.test_multistart import annotate as write_anchors
from tests.processes import ROOT

SUCCESS = 100 * 20 / 21  # an overlap of 1 is not strictly above the threshold 1
ONE_PASS = {"PR": 100, "NPR": 100, "OP50": 100, "OP75": 100, "SR": SUCCESS}
EVENT = {**ONE_PASS, "PR mean": 100}
BOTH = {"MPR": 100, "MSR": SUCCESS}
LONG_TERM = {"Pr": 100, "Re": 100, "F": 100}
CEILINGS = {
    **dict.fromkeys(("LasHeR", "LasHeR_all"), ONE_PASS),
    **dict.fromkeys(("RGBT234", "VTUAV_ST", "VTUAV_LT"), BOTH),
    "RGBT210": {"PR": 100, "SR": SUCCESS},
    "GTOT": {"MPR": 100, "MSR": 99},  # 0:0.02:1 by trapezoids, the last of which is half
    **dict.fromkeys(("DepthTrack", "CDTB", "RGBD1K"), LONG_TERM),
    "STC": {"OP50": 100, "OP75": 100, "SR": SUCCESS},
    **dict.fromkeys(("VisEvent", "COESOT"), EVENT),
    "VOT-RGBD2022": {"A": 100 * 799 / 800, "R": 100, "EAO": 100},  # the given first frame counts in A, as 0
}
# With the real annotations, whose absent and invalid frames count as the toolkits count them.
REAL = {
    "LasHeR": ("LasHeR_test", {"PR": 100, "NPR": 100, "SR": 94.71}),
    "RGBT234": ("RGBT234", {"MPR": 100, "MSR": 95.24}),
    "RGBT210": ("RGBT210", {"PR": 100, "SR": 95.23}),
    "GTOT": ("GTOT", {"MPR": 100, "MSR": 99}),
    "STC": ("STC", {"SR": 95.24}),
    "VisEvent": ("VisEvent", {"PR": 90.17, "NPR": 90.17, "SR": 83.61}),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_annotation_reaches_the_ceiling_of_each_rule(tmp_path, name):
    benchmark = BENCHMARKS[name]
    if benchmark is VOT_RGBD2022:
        write_anchors(tmp_path / "gt", "a", frames=800, anchors={0: 1})
        run(tmp_path / "t", "a", 0, [BOX] * 800)
        annotations = annotations_from_folder(tmp_path / "gt")
    else:
        boxes = [[20 + t, 30, 20, 12] for t in range(40)]
        annotations = [annotate(boxes)]
        rows = np.repeat(boxes, benchmark.rule.every, axis=0)
        save(tmp_path / "t", annotations[0], rows, np.ones(len(rows)))
    found = score(benchmark, tmp_path / "t", annotations).trackers["t"].scores
    assert found == pytest.approx(CEILINGS[name])


@pytest.mark.parametrize("name", REAL)
def test_the_real_annotations_reach_the_documented_ceilings(tmp_path, shared, name):
    folder, expected = REAL[name]
    annotations = annotations_from_folder(shared / "reference/gt" / folder)
    for annotation in annotations:
        save(tmp_path, annotation)
    found = evaluate(BENCHMARKS[name], annotations, {"t": tmp_path}).trackers["t"].scores
    assert {metric: found[metric] for metric in expected} == pytest.approx(expected, abs=0.006)


def test_the_page_documents_each_ceiling():
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    table = text[text.index("## Ceilings") :]
    for name, (_, expected) in REAL.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| `{name}`"))
        assert row.endswith("| " + ", ".join(f"{metric} {value:.2f}" for metric, value in expected.items()) + " |")
    for name in BENCHMARKS:
        assert f"`{name}`" in table
