"""Data shared between protocols, scores and page: files are read once, overlaps are computed once."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation import loading
from lib.evaluation.annotations import Annotation
from lib.evaluation.benchmarks import DEPTHTRACK, GTOT, LASHER, RGBT234, VISEVENT
from lib.evaluation.evaluate import evaluate, evaluate_protocols, overlap_traces
from lib.evaluation.rules import one_pass
from lib.evaluation.rules.base import PROTOCOLS
from lib.evaluation.rules.curves import OVERLAP
from lib.evaluation.selection import load_results
from lib.evaluation.truth import Truth
from lib.report.tables import protocols
from lib.results.folder import ResultFolder
from lib.utils.boxes import iou_xywh, is_valid
from tests.evaluation.test_evaluation import GT, annotate, save


def make_results(folder: Path, seed: int) -> list[Annotation]:
    """Writes results with shifted, empty and missing boxes, some as corners; two annotations, some frames absent."""
    rng, annotations = np.random.default_rng(seed), []
    for index in range(3):
        frames = int(rng.integers(3, 40))
        truth = np.concatenate([rng.uniform(-5, 60, (frames, 2)), rng.uniform(5, 40, (frames, 2))], axis=1)
        truth[1:][rng.random(frames - 1) < 0.2] = rng.choice([0.0, np.nan])
        boxes = np.nan_to_num(truth) + rng.normal(0, 8, truth.shape)
        boxes[rng.random(frames) < 0.2] = np.nan
        aux = truth + rng.normal(0, 3, truth.shape)
        annotations.append(Annotation(f"s{index}", truth, is_valid(truth) & (rng.random(frames) < 0.9), aux))
        if index == 0:
            boxes = np.nan_to_num(boxes)
            left, top, right, bottom = (*boxes[:, :2].T, *(boxes[:, :2] + boxes[:, 2:]).T)
            boxes = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)
        np.savetxt(folder / f"s{index}.txt", boxes[: frames - int(index > 0 and rng.integers(0, 2))], fmt="%.6f")
    return annotations


def slow_trace(annotation, boxes):
    """The definition, frame by frame."""
    trace = np.full(len(annotation.boxes_xywh), np.nan, np.float32)
    for frame, box in enumerate(boxes):
        if annotation.visible[frame]:
            truths = (annotation.boxes_xywh[frame], annotation.aux_boxes_xywh[frame])
            trace[frame] = max(float(iou_xywh(box, truth)) for truth in truths)
    return trace


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("protocol", ["official", "pytracking"])
@pytest.mark.parametrize("benchmark", [RGBT234, GTOT, LASHER, VISEVENT], ids=lambda row: row.name)
def test_shared_overlaps_are_identical_to_recomputed_overlaps(tmp_path_factory, benchmark, protocol, seed):
    folder, benchmark = tmp_path_factory.mktemp("results"), benchmark.under(protocol)
    annotations = make_results(folder, seed)
    loaded = load_results(benchmark, annotations, {"t": ResultFolder("t", folder)}, allow_missing=True)
    traces = overlap_traces(loaded)["t"]
    for annotation, output in zip(loaded.annotations, loaded.outputs["t"], strict=True):
        found = one_pass.frame_quantities(benchmark.rule, annotation, output)[OVERLAP]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one_pass, "repaired_overlaps", lambda given, overlaps, boxes, truth: iou_xywh(boxes, truth))
            again = one_pass.frame_quantities(benchmark.rule, annotation, output)[OVERLAP]
        assert found.tobytes() == again.tobytes()
        np.testing.assert_array_equal(traces[annotation.name], slow_trace(annotation, output.boxes_xywh))


def test_overlaps_are_computed_once_for_all_protocols_and_the_page(tmp_path, monkeypatch):
    save(tmp_path, annotate(GT), [GT[0], [0] * 4, GT[2], GT[3]])
    rows = Counter()

    def counted(module):
        return lambda a, b: rows.update({module.__name__: len(a)}) or iou_xywh(a, b)

    for module in (loading, one_pass):
        monkeypatch.setattr(module, "iou_xywh", counted(module))
    truth = Truth([annotate(GT)], {}, "", None)
    for evaluation in evaluate_protocols([LASHER.under(name) for name in PROTOCOLS], truth, {"t": tmp_path}):
        assert overlap_traces(evaluation.results)["t"]["a"].tolist() == [1, 0, 1, 1]
    assert rows[loading.__name__] == len(GT)
    assert rows[one_pass.__name__] == 4, "the row that every protocol repairs"


@pytest.mark.parametrize("benchmark", [LASHER, DEPTHTRACK], ids=lambda row: row.name)
def test_every_file_is_read_once_for_all_protocols(tmp_path, monkeypatch, benchmark):
    annotations = [annotate(GT, name=name) for name in ("ant", "bee", "cat")]
    for annotation in annotations:
        save(tmp_path, annotation)
    (tmp_path / "cat.txt").write_text("1,2,x,4\n")  # an invalid file is also read only once
    reads, original = Counter(), Path.read_bytes

    def read_bytes(path):
        reads[path.name] += path.parent == tmp_path
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    benchmarks = [benchmark.under(protocol) for protocol in PROTOCOLS]
    evaluations = evaluate_protocols(benchmarks, Truth(annotations, {}, "", None), {"t": tmp_path}, allow_missing=True)
    monkeypatch.undo()
    needed = ["", "_time"] + ["_score"] * (benchmark is DEPTHTRACK)
    expected = {f"{name}{suffix}.txt" for name in ("ant", "bee") for suffix in needed}
    assert +reads == Counter({"cat.txt", *expected})
    for variant, evaluation in zip(benchmarks, evaluations, strict=True):
        (problem,) = evaluation.report.missing
        assert "t/cat: " in problem and "'x' is not a number" in problem
        alone = evaluate(variant, annotations, {"t": tmp_path}, allow_missing=True)
        assert evaluation.report.trackers == alone.trackers and evaluation.report.notes == alone.notes


def test_each_protocol_checks_lengths_by_its_own_rule(tmp_path):
    annotations = [annotate(GT, name=name) for name in ("ant", "bee")]
    save(tmp_path, annotations[0])
    save(tmp_path, annotations[1], [*GT, *GT])
    truth, benchmarks = Truth(annotations, {}, "", None), [LASHER.under(name) for name in PROTOCOLS]
    with pytest.raises(ValueError, match=r"LasHeR \(protocol strict\): results .*t/bee: 8 rows for 4 frames in"):
        evaluate_protocols(benchmarks[1:2], truth, {"t": tmp_path})
    found = evaluate_protocols(benchmarks, truth, {"t": tmp_path})
    assert [evaluation.report.protocol for evaluation in found] == ["official", "pytracking", "pytracking_valid"]
    assert any(note.startswith("Protocol strict refuses: t/bee: 8 rows for 4") for note in found[0].report.notes)


def test_a_refused_result_costs_its_tracker_one_protocol(tmp_path):
    annotations = [annotate(GT, name=name) for name in ("ant", "bee")]
    for tracker in ("good", "long"):
        for annotation in annotations:
            save(tmp_path / tracker, annotation, GT if tracker == "good" else [*GT, *GT])
    truth, benchmarks = Truth(annotations, {}, "", None), [LASHER, LASHER.under("strict")]
    folders = {name: tmp_path / name for name in ("good", "long")}
    official, strict = (e.report for e in evaluate_protocols(benchmarks, truth, folders))
    assert set(official.trackers) == {"good", "long"} and set(strict.trackers) == {"good"}
    row = {row[0]: row for row in protocols(official)}["long"]
    assert row[1] != "-" and row[2] == "-"
    turned = evaluate_protocols(benchmarks[::-1], truth, folders)
    assert [e.report.protocol for e in turned] == ["official", "strict"], "a protocol that refuses comes last"
    allowed = evaluate_protocols(benchmarks, truth, folders, allow_missing=True)
    assert set(allowed[0].report.trackers) == {"good", "long"} and set(allowed[1].report.trackers) == {"good"}
    assert any(note.startswith("Protocol strict refuses all of long: ") for note in allowed[0].report.notes)


def test_protocols_are_compared_over_the_sequences_that_all_of_them_accept(tmp_path):
    """Without that, the score of strict would stand beside that of one more sequence."""
    annotations = [annotate(GT, name=name) for name in ("ant", "bee", "cat")]
    for annotation in annotations:
        save(tmp_path, annotation, [*GT, *GT] if annotation.name == "bee" else GT)
    (tmp_path / "cat.txt").unlink()
    truth, benchmarks = Truth(annotations, {}, "", None), [LASHER, LASHER.under("strict")]
    official, strict = (e.report for e in evaluate_protocols(benchmarks, truth, {"t": tmp_path}, allow_missing=True))
    assert list(official.trackers["t"].per_sequence) == list(strict.trackers["t"].per_sequence) == ["ant"]
    assert official.missing[-1] == "left out because another protocol refuses it: bee (protocol strict)"
    assert any("t/bee: 8 rows for 4 frames" in text for text in strict.missing)
    assert protocols(official)[0][1:3] == ["PR official (n = 1)", "PR strict (n = 1)"]


def test_shared_arrays_are_read_only(tmp_path):
    save(tmp_path, annotate(GT))
    results = ResultFolder("t", tmp_path)
    for protocol in ("official", "strict"):
        outputs, _ = LASHER.under(protocol).rule.load(LASHER.under(protocol), [annotate(GT)], results)
        with pytest.raises(ValueError, match="read-only"):
            outputs["a"].boxes_xywh[0] = 0
