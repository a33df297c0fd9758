"""The VOT toolkit itself, on made-up trajectories and on our trackers, against our measures and workspaces."""

import shutil
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml

from lib.config.loader import load_config
from lib.data.datasets import load_dataset
from lib.data.storage import DiskStore, open_store
from lib.evaluation import metrics
from lib.evaluation.vot_measures import (
    box_overlaps,
    eao,
    has_box,
    long_term_frames,
    run_overlaps,
    sum_runs,
    weighted_ratio,
)
from lib.models.build import build_model
from lib.results.vot_files import Anchor, anchors_of, find_run, read_anchors, read_confidences, read_trajectory
from lib.tracker import load_tracker
from lib.vot.workspace import (
    LONG_TERM,
    MULTI_START,
    STACKS,
    read_analysis,
    run_toolkit,
    stack_yaml,
    trackers_ini,
    write_workspace,
)
from tests.helpers import pack, write_small
from tests.processes import run

ROOT = Path(__file__).resolve().parents[2]
NAN = [np.nan] * 4


# --- overlaps ---------------------------------------------------------------------------------------------------------


def region(box):
    from vot.region import Rectangle, Special

    return Special(0) if np.isnan(box).any() else Rectangle(*box)


def toolkit_overlaps(first, second, size):
    from vot.region import calculate_overlaps

    return np.array(calculate_overlaps(list(map(region, first)), list(map(region, second)), size))


def random_boxes(rng, kind: str, count: int):
    """Two rows of boxes of one kind of trouble."""
    first = np.column_stack([rng.uniform(-20, 60, (count, 2)), rng.uniform(-3, 30, (count, 2))])
    second = first + rng.normal(0, 4, (count, 4))
    if kind == "halves":  # ties of rounding
        first, second = np.round(first * 2) / 2, np.round(second * 2) / 2
    if kind == "last bit":  # as 32-bit floats they are halves
        first = np.round(first) + 0.5
        second = first + rng.choice([0, 1e-8, -1e-8, 0.5], (count, 4))
    if kind == "thin":  # the rectangle around both is a pixel wide or high
        first[:, 2:] = rng.integers(0, 3, (count, 2))
        second = first + rng.choice([-1, 0, 0, 1], (count, 4))
    if kind == "at the origin":  # which a missing box stretches the rectangle to
        first, second = np.round(first / 20), np.round(second / 20)
    first[rng.random(count) < 0.1] = np.nan
    second[rng.random(count) < 0.1] = np.nan
    return first, second


@pytest.mark.parametrize("kind", ["plain", "halves", "last bit", "thin", "at the origin"])
@pytest.mark.parametrize("seed", range(4))
def test_overlaps_equal_the_toolkit_bit_for_bit(kind, seed):
    rng = np.random.default_rng(seed)
    first, second = random_boxes(rng, kind, 400)
    size = int(rng.integers(2, 60)), int(rng.integers(2, 60))
    np.testing.assert_array_equal(box_overlaps(first, second, size), toolkit_overlaps(first, second, size))
    first, second = np.abs(first), np.abs(second)  # without an image the toolkit draws no negative pixels
    np.testing.assert_array_equal(box_overlaps(first, second), toolkit_overlaps(first, second, None))


def test_overlaps_equal_those_computed_by_hand():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 10, 10], NAN, NAN, [30, 30, 5, 5]])
    truth = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [0.4, 0, 10, 10], [5, 5, 20, 10], NAN, [0, 0, 9, 9], NAN])
    expected = [1, 1 / 3, 1, 0.5, 1, 0, 0]
    assert box_overlaps(boxes, truth, (100, 100)).tolist() == pytest.approx(expected)
    assert box_overlaps(boxes, truth, (15, 100))[3] == 1, "what lies right of the image does not count"
    assert box_overlaps(np.array([[200.0, 0, 9, 9]]), np.array([[200.0, 0, 9, 9]]), (100, 100)) == 0, "nothing drawn"
    assert has_box(truth).tolist() == [True] * 4 + [False, True, False]
    with pytest.raises(ValueError, match="7 results for 6 annotations"):
        box_overlaps(boxes, truth[:6])


def test_overlaps_of_a_whole_benchmark_take_less_than_two_seconds():
    boxes = np.random.default_rng(0).uniform(0, 300, (76_373, 4))
    begin = time.perf_counter()
    box_overlaps(boxes, boxes + 3, (640, 360))
    assert time.perf_counter() - begin < 1.5  # 0.1 s; a loop over frames takes a minute


# --- made-up results, analysed by the toolkit -------------------------------------------------------------------------

SIZE = 160, 120


class Made(NamedTuple):
    """A workspace with results that no tracker made, and what the toolkit says of them."""

    folder: Path
    truth: dict[str, np.ndarray]
    anchors: dict[str, list[Anchor]]

    def analyse(self, name: str, *arguments: str):
        """Analyses of both experiments for one tracker."""
        # The toolkit caches curves of a sequence at thresholds that depend on which sequences were analysed with it.
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        run_toolkit(self.folder, "analysis", "--name", name, *arguments, "made", done="Analysis successful")
        path = self.folder / "analysis" / f"{name}.json"
        return [[result[0] for result in read_analysis(path, s.experiment)] for s in (LONG_TERM, MULTI_START)]


def made_truth(rng, frames: int) -> np.ndarray:
    """A walk that leaves the image, in fractions of pixels, with gaps."""
    centre = np.cumsum(rng.normal(0, 2, (frames, 2)), axis=0) + np.array(SIZE) / 2
    centre = np.clip(centre, -5, np.array(SIZE) + 5)
    size = np.clip(30 + np.cumsum(rng.normal(0, 0.5, (frames, 2)), axis=0), 6, 60)
    boxes = np.concatenate([centre - size / 2, size], axis=1)
    for start in rng.integers(5, frames, 3):
        boxes[start : start + rng.integers(1, 25)] = np.nan
    return boxes


def made_result(rng, truth: np.ndarray, fails_at: int) -> np.ndarray:
    """Follows, then loses the target; now and then it is far off for a few frames, or says nothing."""
    boxes = np.where(np.isnan(truth), 20.0, truth) + rng.normal(0, 3, truth.shape)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    for start in rng.integers(0, len(truth), 1 + len(truth) // 60):
        boxes[start : start + rng.integers(1, 10)] += 300
    boxes[fails_at:, 0] += 500
    boxes[rng.random(len(truth)) < 0.03] = np.nan
    boxes[0] = np.nan
    return boxes


def write_made(path: Path, boxes: np.ndarray, binary: bool) -> None:
    from vot.region.io import write_trajectory

    path.parent.mkdir(parents=True, exist_ok=True)
    write_trajectory(str(path.with_suffix(".bin" if binary else ".txt")), list(map(region, boxes)))


def write_confidences(path: Path, rng, overlaps: np.ndarray) -> None:
    scores = (0.6 * overlaps + 0.4 * rng.random(len(overlaps))).round(2)  # with ties
    words = ["nan" if rng.random() < 0.05 else f"{score:.6f}" for score in scores]
    path.write_text("\n" + "".join(f"{word}\n" for word in words[1:]))  # the toolkit leaves the first line blank


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(8)
    stacks = [yaml.safe_load(stack_yaml(stack)) for stack in (LONG_TERM, MULTI_START)]
    experiments = {name: content for stack in stacks for name, content in stack["experiments"].items()}
    (folder / "stack.yaml").write_text(yaml.safe_dump({"title": "both", "experiments": experiments}))
    (folder / "config.yaml").write_text("stack: stack.yaml\nregistry:\n- trackers.ini\n")
    (folder / "trackers.ini").write_text(trackers_ini(folder / "trackers.ini", {"made": ["none"]}))
    truth, anchors = {}, {}
    for number, frames in enumerate((300, 820, 1000, 130)):
        name = f"walk{number}"
        truth[name] = made_truth(rng, frames)
        shown = np.flatnonzero(has_box(truth[name]))
        values = np.zeros(frames)
        values[shown[0]], values[shown[-1]] = 1, -1
        values[rng.choice(shown[1:-1], 3, replace=False)] = 1, 2, -1
        anchors[name] = anchors_of(values, name)
        sequence = folder / "sequences" / name
        sequence.mkdir(parents=True)
        (sequence / "sequence").write_text(
            f"name={name}\nchannels.color=color/%08d.jpg\nlength={frames}\nwidth={SIZE[0]}\nheight={SIZE[1]}\n"
        )
        (sequence / "anchor.value").write_text("".join(f"{value:g}\n" for value in values[: shown[-1] + 1]))
        (sequence / "groundtruth.txt").write_text("".join(f"{','.join(map(repr, b))}\n" for b in truth[name].tolist()))
        write_made_results(folder / "results" / "made", name, truth[name], anchors[name], rng, binary=number % 2 == 1)
    (folder / "sequences" / "list.txt").write_text("".join(f"{name}\n" for name in truth))
    return Made(folder, truth, anchors)


def write_made_results(folder: Path, name: str, truth, anchors, rng, binary: bool) -> None:
    stem = folder / LONG_TERM.experiment / name / f"{name}_001"
    boxes = made_result(rng, truth, fails_at=len(truth) * 3 // 4)
    write_made(stem, boxes, binary)
    write_confidences(stem.with_name(f"{stem.name}_confidence.value"), rng, box_overlaps(boxes, truth, SIZE))
    for anchor in anchors:
        run = truth[anchor.frames(len(truth))]
        fails_at = int(rng.integers(0, 2 * len(run)))  # every other one never
        stem = folder / MULTI_START.experiment / name / f"{name}_{anchor.frame:08d}"
        write_made(stem, made_result(rng, run, fails_at), binary)


def test_long_term_scores_equal_the_toolkit(made):
    folder, frames, scores = made.folder / "results/made" / LONG_TERM.experiment, [], []
    for name, truth in made.truth.items():
        path = next((folder / name).glob(f"{name}_001.[tb]*"))
        frames.append(long_term_frames(read_trajectory(path), truth, SIZE))
        scores.append(read_confidences(folder / name / f"{name}_001_confidence.value"))
    thresholds = metrics.confidence_thresholds(np.concatenate(scores), 100)
    pairs = [
        metrics.precision_recall(overlap, score, seen, thresholds)
        for (overlap, seen), score in zip(frames, scores, strict=True)
    ]
    precision, recall = np.mean(pairs, axis=0)
    f = metrics.f_measure(precision, recall)
    best = np.argmax(f)
    (scored, (curve, their_thresholds), _), _ = made.analyse("long_term")
    assert [precision[best], recall[best], f[best]] == pytest.approx(scored, abs=1e-12)
    assert 0.1 < f[best] < 0.9 and 2 < best < len(f) - 3, "a threshold in between is the best"
    np.testing.assert_array_equal(thresholds, their_thresholds)
    np.testing.assert_allclose(np.column_stack([recall, precision]), curve, atol=1e-12)


def multi_start_sums(made: Made, names):
    folder, sums = made.folder / "results/made" / MULTI_START.experiment, []
    for name in names:
        truth, runs = made.truth[name], []
        anchors = read_anchors(made.folder / "sequences" / name / "anchor.value", len(truth))
        assert anchors == made.anchors[name]
        for anchor in anchors:
            runs.append(run_overlaps(read_trajectory(find_run(folder, name, anchor)), truth, anchor, SIZE))
        sums.append((sum_runs(runs, len(truth)), runs))
    return sums


def multi_start_scores(sums, weights) -> np.ndarray:
    """(B, 3): EAO, A, R."""
    parts = [s for s, _ in sums]
    accuracy, robustness = (np.array([getattr(s, name) for s in parts]).T for name in ("accuracy", "robustness"))
    found = eao(np.stack([s.eao_numerator for s in parts]), np.stack([s.eao_denominator for s in parts]), weights)
    return np.stack([found, weighted_ratio(*accuracy, weights), weighted_ratio(*robustness, weights)], axis=1)


def test_multi_start_scores_equal_the_toolkit(made):
    sums = multi_start_sums(made, made.truth)
    runs = [run for _, some in sums for run in some]
    failed = [progress < len(overlaps) for overlaps, progress in runs]
    assert 3 < sum(failed) < len(runs) - 3 and max(len(overlaps) for overlaps, _ in runs) > 755
    assert {anchor.backward for anchors in made.anchors.values() for anchor in anchors} == {False, True}
    _, ((score,), (curve,), (accuracy, robustness, *_)) = made.analyse("multi_start")
    found = multi_start_scores(sums, np.ones((1, len(sums))))[0]
    assert found == pytest.approx([score, accuracy, robustness], abs=1e-12) and 0.02 < score < 0.9
    parts = [np.stack([getattr(s, f"eao_{side}") for s, _ in sums]) for side in ("numerator", "denominator")]
    np.testing.assert_allclose(weighted_ratio(*parts, np.ones((1, len(sums))))[0], curve, atol=1e-12)


def test_weights_select_and_repeat_sequences(made):
    """A weight of 0 leaves a sequence out, as the toolkit does when told; whole weights repeat it."""
    names = list(made.truth)
    sums = multi_start_sums(made, names)
    weights = np.array([[0, 1, 1, 0], [2, 1, 0, 3]])
    found = multi_start_scores(sums, weights)
    _, ((score,), _, (accuracy, robustness, *_)) = made.analyse("some", "--sequences", f"{names[1]},{names[2]}")
    assert found[0] == pytest.approx([score, accuracy, robustness], abs=1e-12)
    repeated = [sums[0], sums[0], sums[1], sums[3], sums[3], sums[3]]
    assert found[1] == pytest.approx(multi_start_scores(repeated, np.ones((1, 6)))[0], abs=1e-12)
    assert (multi_start_scores(sums, np.zeros((1, 4))) == 0).all()


def test_failures_by_hand():
    truth = np.tile([10.0, 10, 20, 20], (40, 1))
    result = truth.copy()
    result[0] = np.nan
    result[12:21] += 50  # nine frames: not yet
    result[25:] += 50
    forward = Anchor(0, False)
    assert run_overlaps(result, truth, forward, (100, 100))[1] == 25
    assert run_overlaps(result, truth, forward, (100, 100), grace=9)[1] == 12
    truth[30] = np.nan  # an absent frame begins the count again
    assert run_overlaps(result, truth, forward, (100, 100))[1] == 40
    backward = Anchor(29, True)
    assert run_overlaps(truth[29::-1], truth, backward, (100, 100))[1] == 30
    with pytest.raises(ValueError, match="40 rows for the 30 frames of the run from frame 29"):
        run_overlaps(result, truth, backward)


# --- files ------------------------------------------------------------------------------------------------------------


def test_result_files_are_read_as_the_toolkit_does(tmp_path):
    (tmp_path / "a.txt").write_text("1\n1,2,3,4\n0\n5.5,6,7,8\nnan,nan,nan,nan\n\n")
    expected = np.array([NAN, [1, 2, 3, 4], NAN, [5.5, 6, 7, 8], NAN, NAN])
    np.testing.assert_array_equal(read_trajectory(tmp_path / "a.txt"), expected)
    write_made(tmp_path / "b", expected, binary=True)
    np.testing.assert_array_equal(read_trajectory(tmp_path / "b.bin"), expected)
    (tmp_path / "c.value").write_text("\n0.5\nnan\n1\n\n")
    np.testing.assert_array_equal(read_confidences(tmp_path / "c.value"), [0, 0.5, np.nan, 1, 0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.bin", struct.pack("<hI", 1, 2) + struct.pack("<BI", 0, 1), r"a\.bin: the file is cut off \(11 bytes\)"),
        ("a.bin", struct.pack("<hI", 1, 1) + b"\x03" + bytes(20), "frame 0: region of type 3; only rectangles"),
        ("a.bin", struct.pack("<hI", 7, 1) + bytes(20), "version 7 of the binary format, expected 1"),
        ("a.txt", b"1\n1,2,3,4,5,6,7,8\n1,2,3,4\n", "line 2: expected 4 numbers, got 8"),
        ("a.txt", b"m1,2,3\n", "only rectangles can be scored"),
    ],
)
def test_result_files_that_cannot_be_scored_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / name)


def test_anchors_are_read_with_their_directions(tmp_path):
    path = tmp_path / "anchor.value"
    path.write_text("1\n0\n-1\n1.000\n")
    anchors = read_anchors(path, 6)
    assert anchors == [Anchor(0, False), Anchor(3, False), Anchor(2, True)]
    assert [anchor.frames(6).tolist() for anchor in anchors] == [[0, 1, 2, 3, 4, 5], [3, 4, 5], [2, 1, 0]]
    with pytest.raises(ValueError, match="4 rows for 3 frames"):
        read_anchors(path, 3)
    path.write_text("0\n0\n")
    with pytest.raises(ValueError, match=r"anchor\.value: no anchor"):
        read_anchors(path, 3)
    with pytest.raises(FileNotFoundError, match="needs the anchors of the data set"):
        read_anchors(tmp_path / "other.value", 3)
    (tmp_path / "x").mkdir()
    assert find_run(tmp_path, "x", anchors[1]) is None
    for suffix in (".bin", ".txt"):  # the toolkit takes the text where both are there
        (tmp_path / f"x/x_00000003{suffix}").write_text("")
        assert find_run(tmp_path, "x", anchors[1]).suffix == suffix


# --- workspaces -------------------------------------------------------------------------------------------------------


def depthtrack(root: Path):
    return load_dataset("DepthTrack", DiskStore(root / "DepthTrack"))


def listing(folder: Path) -> dict:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_a_workspace_links_the_data_set_and_does_not_change_it(tmp_path):
    folders = write_small(tmp_path / "data", "DepthTrack", "test", sequences=2)
    (folders[1] / "sequence").write_text("channels.color=color/%08d.jpg\nchannels.depth=depth/%08d.png\nfps=7\n")
    before, work = listing(tmp_path / "data"), tmp_path / "work"
    write_workspace(work, LONG_TERM, depthtrack(tmp_path / "data"), {"first": ["python", "a b.py", "--set", "A=50%"]})
    write_workspace(work, LONG_TERM, depthtrack(tmp_path / "data"), {"second": ["python", "b.py"]})
    assert listing(tmp_path / "data") == before
    assert (work / "sequences/list.txt").read_text() == "depthtrack0\ndepthtrack1\n"
    for folder in folders:
        for name in ("color", "depth", "groundtruth.txt"):
            assert (work / "sequences" / folder.name / name).samefile(folder / name)
    assert not (work / "sequences/depthtrack0/sequence").is_symlink()
    assert "fps=7" in (work / "sequences/depthtrack1/sequence").read_text()
    seen = as_the_toolkit_sees(work)
    assert [(s.name, len(s), s.size, sorted(s.channels())) for s in seen.dataset] == [
        (folder.name, 6, (20, 16), ["color", "depth"]) for folder in folders
    ]
    assert seen.registry.identifiers() == ["first", "second"]
    assert seen.registry["first"]._command == "python 'a b.py' --set A=50%"
    assert [type(a).__name__ for a in seen.stack["rgbd-unsupervised"].analyses][0] == "PrecisionRecall"


def as_the_toolkit_sees(folder: Path):
    from vot.workspace import Workspace

    return Workspace.load(str(folder))


@pytest.mark.parametrize("name", STACKS)
def test_every_benchmark_has_its_experiment(tmp_path, name):
    (folder,) = write_small(tmp_path / "data", "DepthTrack", "test", sequences=1)
    (folder / "anchor.value").write_text("1\n0\n0\n0\n0\n-1\n")
    write_workspace(tmp_path / "work", STACKS[name], depthtrack(tmp_path / "data"), {"x": ["python"]})
    experiment = as_the_toolkit_sees(tmp_path / "work").stack[STACKS[name].experiment]
    (sequence,) = as_the_toolkit_sees(tmp_path / "work").dataset
    assert experiment.identifier == STACKS[name].experiment and "http" not in (tmp_path / "work/stack.yaml").read_text()
    if STACKS[name] is MULTI_START:
        assert (experiment.analyses[0].low, experiment.analyses[0].high) == (115, 755)
        assert (sequence.values(0)["anchor"], sequence.values(5)["anchor"]) == (1, -1)


def test_data_that_the_toolkit_would_not_read_are_refused(tmp_path):
    (folder,) = write_small(tmp_path / "data", "DepthTrack", "test", sequences=1)
    with pytest.raises(ValueError, match="tracker 'a b': the VOT toolkit accepts only letters"):
        write_workspace(tmp_path / "work", LONG_TERM, depthtrack(tmp_path / "data"), {"a b": ["python"]})
    packed = open_store(pack(tmp_path / "data/DepthTrack", tmp_path / "DepthTrack.lmdb"), "DepthTrack")
    with pytest.raises(ValueError, match="DepthTrack/depthtrack0: the VOT toolkit reads image files"):
        write_workspace(tmp_path / "work", LONG_TERM, load_dataset("DepthTrack", packed), {})
    (folder / "depth/00000006.png").rename(folder / "depth/00000009.png")
    with pytest.raises(ValueError, match=r"image 6 is .*00000009\.png, but the VOT toolkit looks for depth/00000006"):
        write_workspace(tmp_path / "work", LONG_TERM, depthtrack(tmp_path / "data"), {})


def test_a_tracker_that_fails_is_an_error_although_the_toolkit_exits_with_0(tmp_path):
    write_small(tmp_path / "data", "DepthTrack", "test", sequences=1)
    dies = "import trax; s = trax.Server(['rectangle'], ['path']); s.status(s.wait().objects); s.wait(); 1 / 0"
    commands = {
        name: [sys.executable, "-c", code] for name, code in (("dies", dies), ("unborn", "raise SystemExit(3)"))
    }
    write_workspace(tmp_path / "work", LONG_TERM, depthtrack(tmp_path / "data"), commands)
    for name, status in (("dies", 0), ("unborn", 1)):
        with pytest.raises(ValueError, match=rf"vot evaluate failed \(exit status {status}\): .* trackers\.ini"):
            run_toolkit(tmp_path / "work", "evaluate", name, done="Evaluation concluded")
    assert "ZeroDivisionError" in next((tmp_path / "work/logs").glob("dies*")).read_text()
    with pytest.raises(ValueError, match=r"x\.json: no results of baseline"):
        (tmp_path / "x.json").write_text("{}")
        read_analysis(tmp_path / "x.json", "baseline")


# --- our trackers under the toolkit -----------------------------------------------------------------------------------


def test_a_network_gives_the_same_boxes_over_trax(tmp_path, demo_data):
    """Real TraX, real multistart, colour and depth, forwards and backwards: the same boxes and confidences."""
    torch.manual_seed(5)  # of these weights the confidence varies
    checkpoint = tmp_path / "debug.pth.tar"
    torch.save({"net": build_model(load_config("transcmd", "debug")).state_dict()}, checkpoint)
    source = sorted((demo_data / "DepthTrack/test").iterdir())[0]
    shutil.copytree(source, tmp_path / "data/DepthTrack/test" / source.name)
    (tmp_path / "data/DepthTrack/test" / source.name / "anchor.value").write_text("1\n" + "0\n" * 7 + "-1\n")
    (sequence,) = depthtrack(tmp_path / "data")
    command = [sys.executable, str(ROOT / "tracking/vot_tracker.py"), "transcmd", "debug", "--device", "cpu"]
    write_workspace(tmp_path / "work", MULTI_START, [sequence], {"net": [*command, "--checkpoint", str(checkpoint)]})
    run_toolkit(tmp_path / "work", "evaluate", "net", done="Evaluation concluded")
    tracker = load_tracker("debug", checkpoint, modality="rgbd", device="cpu")
    for anchor in (Anchor(0, False), Anchor(8, True)):
        path = find_run(tmp_path / "work/results/net/baseline", sequence.name, anchor)
        boxes, scores = read_trajectory(path), read_confidences(path.with_name(f"{path.stem}_confidence.value"))
        first, *others = anchor.frames(len(sequence))
        assert np.isnan(boxes[0]).all() and scores[0] == 0 and len(boxes) == 1 + len(others)
        tracker.initialize(sequence.frame(first), sequence.boxes_xywh[first])
        for index, frame in enumerate(others, start=1):
            expected = tracker.track(sequence.frame(frame))
            assert boxes[index] == pytest.approx(expected.box_xywh, abs=0.01), (anchor, frame)
            assert scores[index] == pytest.approx(expected.score, abs=1e-7)
        assert len(set(scores[1:].tolist())) > 5


@pytest.mark.slow  # tests/test_readme.py runs the same command
def test_the_self_test_passes_as_a_command(run_command):
    done = run_command("make_vot_workspace.py", "--self-test", "static", "debug")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("self-test passed") and "vot analysis --name scores" in done.stderr


@pytest.mark.slow
def test_the_self_test_passes_with_a_network(run_command):
    done = run_command("make_vot_workspace.py", "--self-test")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_commands_print_the_next_steps_and_what_is_wrong(run_command, tmp_path):
    done = run_command("make_vot_workspace.py", "static", "debug", "--dataset", "DepthTrack", "--output", "work")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    script = " && ".join(lines[:4])
    ran = run(["bash", "-c", script], cwd=tmp_path, timeout=600)
    assert ran.returncode == 0 and (tmp_path / "work/analysis/scores.json").is_file(), ran.stdout + ran.stderr
    failed = run_command("make_vot_workspace.py", "transcmd", "debug", "--dataset", "DepthTrack")
    assert failed.returncode == 1 and "no such checkpoint; train it with" in failed.stderr
    alone = run_command("vot_tracker.py", "static", "debug")
    assert alone.returncode == 1 and "start this command with `vot evaluate`" in alone.stderr.splitlines()[-1]
