"""Missing modalities: specifications, schedules, fills, result files, the command, and robustness curves."""

import dataclasses
import json
import os
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.loader import load_config
from lib.data import drop as drop_module
from lib.data.datasets import build_store, load_dataset
from lib.data.drop import FILLS, MAX_BLOCK, PATTERNS, Drop, Dropper
from lib.evaluation.report import Report, TrackerScores
from lib.report.robustness import RobustnessCurve, robustness_curves
from lib.report.tables import robustness_table
from lib.results.matching import find_results
from lib.results.raw import (
    find_companion,
    read_boxes,
    read_drop,
    read_numbers,
    read_record,
    write_record,
    write_result,
)
from lib.running.group import Job
from lib.running.runner import run_sequences
from lib.structures import Frame
from lib.tracker.baselines import StaticTracker
from tests.processes import ROOT, run

MODALITIES = ("rgb", "aux", "both")
RATES = st.integers(1, 1000).map(lambda n: n / 1000)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@st.composite
def drops(draw) -> Drop:
    pattern = draw(st.sampled_from(sorted(PATTERNS)))
    modality = "both" if pattern == "switched" else draw(st.sampled_from(MODALITIES))
    return Drop(modality, draw(RATES), pattern, draw(st.sampled_from(sorted(FILLS))), draw(st.integers(0, 2**70)))


def runs(codes) -> list[tuple[int, int]]:
    """Returns (code, length) of each run of equal codes."""
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)]
    return [(int(codes[a]), int(b - a)) for a, b in zip(cuts[:-1], cuts[1:], strict=True) if b > a]


# specifications


@pytest.mark.parametrize(
    ("text", "canonical", "label"),
    [
        ("rgb", "rgb", "rgb"),
        ("aux", "aux", "aux"),
        ("both", "both", "both"),
        ("aux:0.3", "aux:0.3:random:blackout:0", "aux-0.3-random-blackout"),
        ("rgb:.50:block", "rgb:0.5:block:blackout:0", "rgb-0.5-block-blackout"),
        ("both:1:switched:freeze", "both:1:switched:freeze:0", "both-1-switched-freeze"),
        ("aux:0.1:random:noise:7", "aux:0.1:random:noise:7", "aux-0.1-random-noise-seed7"),
    ],
)
def test_specifications_have_one_canonical_text(text, canonical, label):
    drop = Drop.parse(text)
    assert str(drop) == canonical and drop.label == label
    assert Drop.parse(canonical, seed=99) == drop, "a seed in the text wins"


@given(drop=drops())
def test_a_drop_is_read_back_from_its_text_and_can_be_pickled(drop):
    assert Drop.parse(str(drop)) == drop == pickle.loads(pickle.dumps(drop))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "modality '', expected one of rgb, aux, both"),
        ("thermal:0.3", "modality 'thermal', expected one of rgb, aux, both .MODALITY"),
        ("aux:", "rate '', expected a number above 0 and at most 1"),
        ("aux:0", "rate '0', expected a number above 0"),
        ("aux:-0.1", "rate '-0.1'"),
        ("aux:30", "rate '30', expected a number above 0 and at most 1"),
        ("aux:nan", "rate 'nan'"),
        ("aux:block", "rate 'block'"),
        ("aux:0.3:bursts", "pattern 'bursts', expected one of random, block, switched"),
        ("aux:0.3:block:black", "fill 'black', expected one of blackout, freeze, noise"),
        ("aux:0.3:block:noise:-1", "seed '-1', expected an integer of at least 0"),
        ("aux:0.3:block:noise:1:2", "6 parts, expected MODALITY"),
        ("aux:0.3:switched", "'switched' alternates the modalities, expected both:0.3:"),
    ],
)
def test_bad_specifications_list_the_known_values(text, message):
    with pytest.raises(ValueError, match=f"^'{text}': .*{message}"):
        Drop.parse(text)


# schedules


@given(drop=drops(), name=NAMES, frames=st.integers(1, 400), data=st.data())
def test_the_first_tracked_frame_is_never_dropped_and_the_rate_refers_to_the_others(drop, name, frames, data):
    start = data.draw(st.integers(0, frames - 1))
    codes = drop.schedule(name, frames, start)
    assert codes.shape == (frames,) and codes.dtype == np.uint8 and not codes[: start + 1].any()
    assert np.count_nonzero(codes) == round(drop.rate * (frames - start - 1))
    expected = {1, 2} if drop.pattern == "switched" else {drop_module.CODES[drop.modality]}
    assert set(codes[codes > 0].tolist()) <= expected


@given(drop=drops(), name=NAMES, frames=st.integers(1, 400), smaller=RATES)
def test_a_larger_rate_drops_the_same_frames_and_more(drop, name, frames, smaller):
    low, high = (Drop(drop.modality, rate, drop.pattern, drop.fill, drop.seed) for rate in sorted((smaller, drop.rate)))
    assert not (low.schedule(name, frames).astype(bool) & ~high.schedule(name, frames).astype(bool)).any()


@given(drop=drops(), frames=st.integers(50, 400))
def test_the_dropped_frames_do_not_depend_on_modality_and_fill(drop, frames):
    other = Drop("both", drop.rate, drop.pattern, "blackout", drop.seed)
    np.testing.assert_array_equal(drop.schedule("car", frames) > 0, other.schedule("car", frames) > 0)


@pytest.mark.parametrize("modality", MODALITIES)
def test_without_a_rate_every_frame_is_dropped(modality):
    codes = Drop(modality).schedule("car", 5, 2)
    assert codes.tolist() == [0, 0, *[drop_module.CODES[modality]] * 3]


def test_the_schedule_depends_on_seed_and_sequence_name():
    schedules = [Drop("aux", 0.5, seed=seed).schedule(name, 100) for seed in (0, 1) for name in ("car", "man")]
    assert len({s.tobytes() for s in schedules}) == 4


def test_schedules_are_the_same_on_every_machine():
    """Published results state a seed, so the schedule of a seed must never change."""
    drop = Drop.parse("aux:0.3:random:blackout:1")
    assert np.flatnonzero(drop.schedule("car", 21)).tolist() == [5, 6, 7, 13, 14, 20]
    drop = Drop.parse("both:0.2:switched:blackout:1")
    assert runs(drop.schedule("car", 201)) == [(0, 151), (1, 20), (2, 20), (0, 10)]
    code = (
        "from lib.data.drop import Drop; import sys;"
        "sys.stdout.write(Drop.parse('both:0.4:switched:noise:5').schedule('a b`c', 300).tobytes().hex())"
    )
    line, seeds = [sys.executable, "-c", code], [{**os.environ, "PYTHONHASHSEED": seed} for seed in "12"]
    told = [run(line, cwd=ROOT, env=env) for env in seeds]
    expected = Drop.parse("both:0.4:switched:noise:5").schedule("a b`c", 300).tobytes().hex()
    assert [t.stdout for t in told] == [expected] * 2, told[0].stderr


@given(seed=st.integers(0, 1000), rate=st.sampled_from([0.1, 0.3, 0.6]))
def test_blocks_are_consecutive_frames(seed, rate):
    lengths = [length for code, length in runs(Drop("aux", rate, "block", seed=seed).schedule("car", 1001)) if code]
    assert sum(lengths) == round(rate * 1000) and len(lengths) <= 2 + rate * 1000 / 10
    if rate == 0.1:
        assert (
            max(lengths) <= 100 and len(lengths) >= 2
        )  # no block is longer than MAX_BLOCK, but adjacent blocks may merge
    assert MAX_BLOCK == 50


@given(seed=st.integers(0, 1000), rate=RATES, frames=st.integers(3, 600))
def test_switched_drops_the_modalities_alternately(seed, rate, frames):
    codes = Drop("both", rate, "switched", seed=seed).schedule("car", frames)
    missing = [code for code, _ in runs(codes) if code]
    assert all(a != b for a, b in zip(missing[:-1], missing[1:], strict=True))
    counts = np.bincount(codes, minlength=3)
    assert abs(int(counts[1]) - int(counts[2])) <= len(missing), "both are missing about equally often"


def test_switched_starts_with_either_modality():
    firsts = {[c for c, _ in runs(Drop("both", 1, "switched", seed=s).schedule("car", 50)) if c][0] for s in range(20)}
    assert firsts == {1, 2}


# fills


def numbered(index: int) -> Frame:
    return Frame(np.full((4, 5, 3), index + 1, np.uint8), np.full((4, 5, 3), index + 101, np.uint8))


def dropped(text: str, frames: int = 60, name: str = "car", start: int = 0) -> tuple[np.ndarray, list[Frame]]:
    dropper = Dropper(Drop.parse(text), name, frames, start)
    return dropper.codes, [dropper.apply(index, numbered(index)) for index in range(start, frames)]


def test_frames_are_unchanged_without_a_drop():
    dropper, frame = Dropper(None, "car", 3), numbered(1)
    delivered = dropper.apply(1, frame)
    assert delivered.rgb is frame.rgb and delivered.aux is frame.aux and not dropper.codes.any()


@pytest.mark.parametrize("modality", MODALITIES)
def test_blackout_blackens_only_the_missing_modality(modality):
    codes, frames = dropped(f"{modality}:0.4")
    for index, frame in enumerate(frames):
        whole = numbered(index)
        assert (frame.rgb == (0 if codes[index] & 1 else whole.rgb)).all()
        assert (frame.aux == (0 if codes[index] & 2 else whole.aux)).all()
    codes, frames = dropped(modality)  # without a rate, the first frame is dropped as well
    assert (frames[0].rgb.max() == 0) == (modality != "aux") and (frames[0].aux.max() == 0) == (modality != "rgb")


@pytest.mark.parametrize("text", ["aux:0.6:random:freeze", "both:0.7:switched:freeze", "rgb:0.5:block:freeze"])
def test_freeze_repeats_the_last_image_that_was_not_dropped(text):
    codes, frames = dropped(text, start=3)
    for place, first in enumerate((1, 101)):
        last = None
        for index, frame in enumerate(frames, start=3):
            if not codes[index] >> place & 1:
                last = index
            assert (frame[place] == last + first).all()


def test_noise_is_seeded_and_differs_in_every_frame():
    codes, frames = dropped("both:1:random:noise:4")
    again = dropped("both:1:random:noise:4")[1]
    pictures = [picture for frame in frames[1:] for picture in frame]
    assert len({p.tobytes() for p in pictures}) == len(pictures) == 2 * 59
    assert all((p == q).all() for p, q in zip(pictures, [p for f in again[1:] for p in f], strict=True))
    assert {p.tobytes() for p in pictures}.isdisjoint(
        p.tobytes() for other in ("both:1:random:noise:5",) for f in dropped(other)[1][1:] for p in f
    )
    values = np.concatenate([p.ravel() for p in pictures])
    assert pictures[0].dtype == np.uint8 and values.min() < 5 and values.max() > 250 and abs(values.mean() - 127.5) < 5
    assert (frames[0].rgb == 1).all()


# files


def test_drops_are_written_beside_the_boxes_and_never_read_as_boxes(tmp_path):
    boxes, numbers = np.ones((3, 4)), np.ones(3)
    write_result(tmp_path, "x", boxes, numbers, numbers, np.array([0, 2, 3], np.uint8))
    assert (tmp_path / "x_drop.txt").read_text() == "0\n2\n3\n"
    path = find_results(tmp_path, ["x"])["x"]
    assert read_numbers(find_companion(path, "_drop")).tolist() == [0, 2, 3]
    assert find_results(tmp_path, ["x_drop", "drop"]) == {"x_drop": None, "drop": None}
    with pytest.raises(
        ValueError, match="x_drop.txt contains numbers of another sequence: the boxes of 'x_drop' would"
    ):
        write_result(tmp_path, "x_drop", boxes, numbers, numbers)
    with pytest.raises(ValueError, match=r"x: \(2,\) drops for 3 frames"):
        write_result(tmp_path, "x", boxes, numbers, numbers, np.zeros(2))
    write_result(tmp_path, "x", boxes, numbers, numbers)
    assert not (tmp_path / "x_drop.txt").exists(), "it would speak of an older result"


def test_a_sequence_name_may_end_like_that_of_a_drop_file(tmp_path):
    boxes, numbers = np.ones((3, 4)), np.ones(3)
    write_result(tmp_path, "x_drop", boxes, numbers, numbers, np.zeros(3, np.uint8))
    assert find_results(tmp_path, ["x_drop"])["x_drop"].name == "x_drop.txt"
    with pytest.raises(ValueError, match="x_drop.txt contains the boxes of sequence 'x_drop'"):
        write_result(tmp_path, "x", boxes, numbers, numbers)
    assert len(read_boxes(tmp_path / "x_drop.txt")) == 3


# runs


class Looking(StaticTracker):
    """Records which images of each frame were black."""

    seen: list[int] = []

    def look(self, frame):
        Looking.seen.append(int(not frame.rgb.any()) + 2 * int(not frame.aux.any()))

    def initialize(self, frame, box_xywh):
        self.look(frame)
        super().initialize(frame, box_xywh)

    def track(self, frame):
        self.look(frame)
        return super().track(frame)


def make_looking(device: str) -> Looking:
    return Looking()


@pytest.fixture(scope="module")
def sequences(demo_data):
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"])
    return load_dataset("LasHeR", build_store(cfg, "LasHeR"))


def looked(sequences, folder, drop: str | None, workers: int = 1) -> list[int]:
    Looking.seen = []
    job = Job(make_looking, folder, "same weights", Drop.parse(drop) if drop else None)
    assert run_sequences(sequences, job, workers) == {}
    return Looking.seen


@pytest.mark.parametrize("text", ["rgb", "aux", "aux:0.3", "both:0.5:block", "both:0.6:switched"])
def test_trackers_get_the_drops_that_the_files_record(tmp_path, sequences, text):
    seen = looked(sequences, tmp_path, text)
    told = [read_numbers(tmp_path / f"{sequence.name}_drop.txt") for sequence in sequences]
    assert seen == np.concatenate(told).tolist() and any(seen)
    record = json.loads((tmp_path / "run.json").read_text())
    assert [record[s.name]["drop"] for s in sequences] == [str(Drop.parse(text))] * 2
    assert read_drop(tmp_path) == Drop.parse(text)


def test_order_and_workers_do_not_change_the_drops(tmp_path, sequences):
    looked(sequences, tmp_path / "a", "both:0.5:switched")
    looked(sequences[::-1], tmp_path / "b", "both:0.5:switched", workers=2)
    for sequence in sequences:
        first, second = ((tmp_path / place / f"{sequence.name}_drop.txt").read_text() for place in ("a", "b"))
        assert first == second


def test_a_sequence_that_starts_without_its_target(tmp_path, sequences):
    visible = sequences[0].visible.copy()
    visible[:3] = False
    late = dataclasses.replace(sequences[0], visible=visible)
    seen = looked([late], tmp_path, "aux:0.5")
    told = read_numbers(tmp_path / f"{late.name}_drop.txt").tolist()
    assert told[:4] == [0] * 4 and sum(code > 0 for code in told) == round(0.5 * (len(late) - 4)) and seen == told[3:]


def test_sequences_are_finished_only_with_the_same_drop(tmp_path, sequences):
    frames = sum(map(len, sequences))
    looked(sequences, tmp_path, "aux:0.3")
    for text in ("aux:0.4", "aux:0.3:random:blackout:1", "aux:0.3:block", "rgb:0.3", "aux", None):
        with pytest.raises(ValueError, match="results with drop aux:0.3:random:blackout:0, got a run with"):
            looked(sequences, tmp_path, text)
        folder = tmp_path / str(text)
        assert len(looked(sequences, folder, text)) == frames and looked(sequences, folder, text) == []
    assert not list((tmp_path / "None").glob("*_drop.txt")) and read_drop(tmp_path / "None") is None
    assert looked(sequences, tmp_path, "aux:0.3") == [], "nothing was overwritten"
    path = tmp_path / f"{sequences[0].name}_drop.txt"
    for damage in (path.unlink, lambda: path.write_text("0\n" * len(sequences[0]))):
        damage()
        assert len(looked(sequences, tmp_path, "aux:0.3")) == len(sequences[0])


def test_results_of_several_drops_are_not_mixed(tmp_path, sequences):
    looked(sequences[:1], tmp_path, "aux:0.3")
    write_record(tmp_path, read_record(tmp_path) | {"other": {"fingerprint": "x", "data": "y"}})
    with pytest.raises(ValueError, match="mixes results with different parts of the input dropped"):
        read_drop(tmp_path)


# the command


def test_the_command_makes_a_folder_for_each_drop_and_resumes(run_command, tmp_path):
    command = ["test.py", "static", "debug", "--dataset_name", "LasHeR", "--drop"]
    specs = ["aux:0.3", "both:0.5:switched:freeze", "rgb", "aux:0.30"]
    done = run_command(*command, *specs, "--drop_seed", 2)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "output/test/tracking_results/static"
    names = ["debug_drop_aux-0.3-random-blackout-seed2", "debug_drop_both-0.5-switched-freeze-seed2", "debug_drop_rgb"]
    assert sorted(p.name for p in root.iterdir()) == names
    canonical = ["aux:0.3:random:blackout:2", "both:0.5:switched:freeze:2", "rgb"]
    assert [str(read_drop(root / name / "LasHeR")) for name in names] == canonical
    assert all(len(list((root / name).glob("LasHeR/*_drop.txt"))) == 2 for name in names)
    done = run_command(*command, *specs, "--drop_seed", 2)
    assert done.returncode == 0 and done.stderr.count("2 of 2 sequences are finished already") == 3
    done = run_command(*command, "aux:0.3", "--name", "mine")
    assert done.returncode == 0 and (root / "mine/LasHeR/run.json").is_file(), done.stderr
    done = run_command(*command, "aux:0.3", "--drop", "rgb", "--name", "mine")
    assert done.returncode == 0 and (root / "mine_drop_rgb/LasHeR/run.json").is_file(), done.stderr
    done = run_command("test.py", "static", "debug", "--dataset_name", "LasHeR", "--name", "mine_drop_rgb")
    assert done.returncode == 1 and "with drop rgb, got a run with no drop" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["aux:2"], 1, "error: --drop 'aux:2': rate '2', expected a number above 0 and at most 1 (MODALITY"),
        (["rgb", "depth"], 1, "error: --drop 'depth': modality 'depth', expected one of rgb, aux, both (MODALITY"),
        (["rgb", "--drop_seed", "-1"], 2, "error: --drop_seed: expected an integer of at least 0, got '-1'"),
    ],
)
def test_bad_specifications_end_the_command_with_one_line(run_command, tmp_path, arguments, code, line):
    done = run_command("test.py", "static", "debug", "--dataset_name", "LasHeR", "--drop", *arguments)
    assert done.returncode == code and done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "output").exists()


# reports


def report(**trackers: tuple[float, str]) -> Report:
    scores = {
        name: TrackerScores({"PR": 0.0, "SR": sr}, {}, {}, drop=Drop.parse(text) if text else None)
        for name, (sr, text) in trackers.items()
    }
    return Report("LasHeR", "", ("PR", "SR"), 2, 245, True, (), (), scores)


def test_curves_join_the_runs_of_one_tracker():
    content = {
        "a/t_drop_aux-0.5-random-blackout": (40.0, "aux:0.5:random:blackout:0"),
        "a/t": (60.0, ""),
        "a/t_drop_aux-0.1-random-blackout": (55.0, "aux:0.1:random:blackout:0"),
        "a/t_drop_aux-0.1-random-blackout-seed3": (54.0, "aux:0.1:random:blackout:3"),
        "a/t_drop_aux": (10.0, "aux"),
        "b": (30.0, "both:1:block:freeze:0"),
        "c": (70.0, ""),
    }
    curves, names = robustness_curves(report(**content)), list(content)
    assert curves == [
        RobustnessCurve(
            "a/t", "aux, random, blackout", [0.0, 0.1, 0.5], [60.0, 55.0, 40.0], ["a/t", names[2], names[0]]
        ),
        RobustnessCurve("a/t", "aux, random, blackout, seed 3", [0.0, 0.1], [60.0, 54.0], ["a/t", names[3]]),
        RobustnessCurve("b", "both, block, freeze", [1.0], [30.0], ["b"]),
    ]
    table = robustness_table(report(**content))
    assert table[0] == ["Tracker", "Missing", "0%", "10%", "50%", "100%", "Loss"]
    assert table[1] == ["a/t", "aux, random, blackout", "60.00", "55.00", "40.00", "-", "20.00"]
    assert table[3] == ["b", "both, block, freeze", "-", "-", "-", "30.00", "-"]


def test_without_drop_rates_there_is_no_curve():
    assert robustness_curves(report(a=(60.0, ""), a_drop_aux=(20.0, "aux"))) == []


def test_two_trackers_at_one_point_make_two_curves():
    same = "aux:0.5:random:blackout:0"
    curves = robustness_curves(report(**{"t_drop_aux-0.5-random-blackout": (40.0, same), "t": (41.0, same)}))
    assert [(c.tracker, c.scores) for c in curves] == [("t", [41.0]), ("t_drop_aux-0.5-random-blackout", [40.0])]
