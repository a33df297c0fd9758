"""Lists of missing images, as published or from a run of ours: read, applied, recorded, reported."""

import json
import pickle

import numpy as np
import pytest

from lib.config.loader import load_config
from lib.data.datasets import build_store, load_dataset
from lib.data.drop import Drop, Dropper, ListedDrop, load_drop, parse_drop
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import BENCHMARKS
from lib.evaluation.evaluate import evaluate
from lib.evaluation.report import Report
from lib.report.robustness import robustness_curves
from lib.report.tables import page
from lib.results.raw import read_drop, read_numbers, write_record
from lib.running.group import Job
from lib.running.run import folder_names, parse_drops
from lib.running.runner import run_sequences
from lib.structures import Frame
from tests.data.test_drop import make_looking

# The first flag says whether the RGB image exists, the second one the auxiliary image.
DATA = [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
CODES = [0, 1, 2, 3, 0]
SPELLED = "blkboy`shead"


def write_json(path, **sequences):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({name: {"frames": len(data), "data": data} for name, data in sequences.items()}))
    return path


@pytest.fixture
def published(tmp_path):
    """A file in the form of those of Modality-missing-RGBT-Tracking."""
    return write_json(tmp_path / "missing_results.json", **{"2girl": DATA, SPELLED: DATA[:2]})


def test_the_published_form_is_read(published):
    drop = load_drop(str(published))
    assert drop.schedule("2girl", 5).tolist() == CODES and drop.schedule(SPELLED, 2).tolist() == [0, 1]
    assert drop.schedule("blkboy'shead", 2).tolist() == [0, 1], "the spelling of the data set may differ"
    assert (drop.label, drop.brief, drop.rate) == ("missing_results", "missing_results", None)
    frozen = load_drop(f"{published}:freeze")
    assert (frozen.fill, frozen.label, frozen.brief) == ("freeze", "missing_results-freeze", "missing_results:freeze")


def test_names_that_differ_in_their_spelling_alone_are_told_apart(tmp_path):
    drop = load_drop(str(write_json(tmp_path / "a.json", ant=DATA, Ant=DATA[:4])))
    assert len(drop.schedule("ant", 5)) == 5 and len(drop.schedule("Ant", 4)) == 4
    with pytest.raises(ValueError, match="without 1 of 1 to track: ANT"):
        drop.check({"ANT": 5})


@pytest.mark.parametrize("text", ["1 1\n0 1\n1 0\n0 0\n1 1\n", "1,1\n0,1\n1,0\n0,0\n1,1", "0\n1\n2\n3\n0\n"])
def test_a_file_per_sequence_gives_the_same_lists(tmp_path, published, text):
    folder = tmp_path / "lists" / "missing_results"
    folder.mkdir(parents=True)
    (folder / "2girl.txt").write_text(text)
    (folder / f"{SPELLED}.txt").write_text("1 1\n0 1\n")
    (folder / "._2girl.txt").write_bytes(b"\x00\x05")
    assert load_drop(str(folder)) == load_drop(f"{folder}/../missing_results/.") == load_drop(str(published))
    one = load_drop(f"{folder / '2girl.txt'}:noise")
    assert (one.name, one.fill, one.schedule("2girl", 5).tolist()) == ("2girl", "noise", CODES)


def test_the_drops_of_an_earlier_run_can_be_repeated(tmp_path):
    (tmp_path / "2girl.txt").write_text("1 2 3 4\n" * 5)  # boxes
    (tmp_path / "2girl_drop.txt").write_text("".join(f"{code}\n" for code in CODES))
    assert load_drop(str(tmp_path)).schedule("2girl", 5).tolist() == CODES


def test_the_initial_frame_is_complete(tmp_path):
    path = write_json(tmp_path / "a.json", x=[[0, 0]] * 4)
    drop = load_drop(str(path))
    assert drop.schedule("x", 4).tolist() == [0, 3, 3, 3]
    assert drop.schedule("x", 4, start=2).tolist() == [0, 0, 0, 3]
    assert drop.codes["x"].tolist() == [3, 3, 3, 3], "the list itself is not changed"
    dropper = Dropper(load_drop(f"{path}:freeze"), "x", 4)
    for index in range(4):
        frame = Frame(*(np.full((2, 2, 3), 10 * index + stream, np.uint8) for stream in (1, 2)))
        assert [image[0, 0, 0] for image in dropper.apply(index, frame)] == [1, 2], "the images of the first frame"


def test_a_list_is_known_by_name_and_content(tmp_path, published):
    drop = load_drop(str(published))
    assert parse_drop(str(drop)) == drop == pickle.loads(pickle.dumps(drop))
    assert str(drop) == f"file:missing_results:{drop.digest}:blackout" and len(drop.digest) == 8
    other = write_json(tmp_path / "other" / published.name, **{"2girl": DATA[::-1], SPELLED: DATA[:2]})
    assert load_drop(str(other)) != drop
    assert isinstance(parse_drop("aux:0.3"), Drop)
    assert len({ListedDrop("a", "b"), ListedDrop("a", "b"), ListedDrop("a", "c")}) == 2
    for text in ("file:a", "file:a:b:c", "file::b:blackout"):
        with pytest.raises(ValueError, match=f"'{text}': expected file:NAME:DIGEST:FILL"):
            parse_drop(text)


def test_lists_whose_results_would_share_a_folder_are_refused(tmp_path, published):
    other = write_json(tmp_path / "other" / published.name, x=DATA)
    with pytest.raises(ValueError, match="--drop: different lists are called missing_results, .* rename a file"):
        parse_drops([str(published), str(other)], 0)
    assert len(parse_drops([str(published), f"{other}:freeze", str(published), "aux:0.3"], 0)) == 3


PAIR = 'expected "data" with two flags per frame'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("[1]", "expected .*, got list"),
        ("{}", "lists no sequence"),
        ('{"x": {"frames": 3}}', f"sequence x: {PAIR}.*, got frames; the published lists are called missing_results_"),
        (
            '{"Group1": {"missing_function": "random", "sequences": []}}',
            "got missing_function, sequences; .* groups_data",
        ),
        ('{"x": {"data": [[1, 0], [1]]}}', f"sequence x: {PAIR}"),
        ('{"x": {"data": [[[1, 0]]]}}', f"sequence x: {PAIR}"),
        ('{"x": {"data": 7}}', f"sequence x: {PAIR}"),
        ('{"x": {"data": []}}', f"sequence x: {PAIR}"),
        ('{"x": {"data": [[1, 1%s]]}}' % ("0" * 400), f"sequence x: {PAIR}"),
        ('{"x": {"data": [[1, 1], [1, 2]]}}', "sequence x: got 2 in frame 2; expected per frame two flags"),
        ('{"x": {"data": [[1, NaN]]}}', "sequence x: got nan in frame 1; expected per frame two flags"),
        ('{"x": [[1, 1, 1]]}', "sequence x: got 1 in frame 1; expected per frame two flags"),
    ],
)
def test_files_that_are_no_list_are_named(tmp_path, content, problem):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=rf"bad\.json.*{problem}") as caught:
        load_drop(str(tmp_path / "bad.json"))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1 2 3 4\n", "line 1: expected 1 or 2 numbers, got 4"),
        ("0\n4\n", "got 4 in frame 2"),
        ("1 1\n0\n", "line 2: expected 2 numbers, got 1"),
        ("", "got no frame"),
    ],
)
def test_a_text_file_that_is_no_list_is_named(tmp_path, content, problem):
    (tmp_path / "x.txt").write_text(content)
    for path in (tmp_path, tmp_path / "x.txt"):
        with pytest.raises(ValueError, match=rf"x\.txt.*{problem}"):
            load_drop(str(path))


def test_missing_files_and_unknown_words_are_named(published, tmp_path):
    for text in ("none.json", "none.json:freeze", "lists/none"):
        with pytest.raises(FileNotFoundError, match=rf"--drop {text.split(':')[0]}: no such file or folder"):
            load_drop(text)
    with pytest.raises(ValueError, match=r"modality 'thermal', expected one of .* or FILE\[:FILL\]"):
        load_drop("thermal:0.3")
    with pytest.raises(ValueError, match="fill 'ice', expected one of blackout, freeze, noise"):
        load_drop(f"{published}:ice")


def test_a_modality_is_not_mistaken_for_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rgb", "list"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text("0\n2\n")
    assert load_drop("rgb") == Drop("rgb")
    assert load_drop("./rgb").name == "rgb" and load_drop("list").schedule("x", 2).tolist() == [0, 2]


def test_lists_that_do_not_fit_the_sequences_are_refused(published):
    drop = load_drop(str(published))
    names = [f"car{index}" for index in range(9)]
    with pytest.raises(ValueError, match=r"lists 2 sequences, without 9 of 10 .*car3, car4 and 4 more; expected"):
        drop.check({"2girl": 5, **dict.fromkeys(names, 5)})
    with pytest.raises(ValueError, match=r"1 of 2 sequences are listed with another .* frames: 2girl \(5 for 6\)"):
        drop.check({"2girl": 6, SPELLED: 2})


def test_a_run_records_the_list_and_the_report_says_which_protocol_holds(tmp_path, demo_data):
    """Every frame counts as usual: a tracker that ignores the images has the same score with and without them."""
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"])
    sequences = load_dataset("LasHeR", build_store(cfg, "LasHeR"))
    path = write_json(tmp_path / "lists.json", **{s.name: [[1, 1], *[[0, 0]] * (len(s) - 1)] for s in sequences})
    drop, folders = load_drop(str(path)), {}
    for name, what in (("all", None), ("listed", drop)):
        folders[name] = folder_names(tmp_path, "static", "default")("LasHeR", what)
        assert run_sequences(sequences, Job(make_looking, folders[name], "same weights", what), 1) == {}
    assert folders["listed"].parent.name == "default_drop_lists"
    assert read_drop(folders["listed"]) == drop
    codes = read_numbers(folders["listed"] / f"{sequences[0].name}_drop.txt")
    assert codes.tolist() == [0, *[3] * (len(sequences[0]) - 1)]
    report = evaluate(BENCHMARKS["LasHeR"], annotations_from_sequences(sequences), folders)
    assert report.trackers["all"].scores == report.trackers["listed"].scores
    note = (
        f"listed: images were missing as lists lists them (digest {drop.digest}), replaced by zeros; the initial frame "
        "was complete. The protocol is that of the complete data: every frame counts as usual, also where both images "
        "were missing."
    )
    assert [text for text in report.notes if "images were missing" in text] == [note] and note in page(report)
    report.to_json(tmp_path / "report.json")
    assert Report.from_json(tmp_path / "report.json").trackers["listed"].drop == drop
    assert robustness_curves(report) == []


def test_a_record_with_an_invalid_drop_is_named(tmp_path):
    write_record(tmp_path, {"x": {"fingerprint": "1", "drop": "file:a:b"}})
    with pytest.raises(ValueError, match=r"run\.json: 'file:a:b': expected file:NAME:DIGEST:FILL"):
        read_drop(tmp_path)


def test_the_command_refuses_a_list_of_other_sequences_before_it_tracks(run_command, published, tmp_path):
    done = run_command("test.py", "static", "--dataset_name", "LasHeR", "--drop", "aux:0.3", published)
    assert done.returncode == 1 and not (tmp_path / "output").exists()
    assert done.stderr.count("error: ") == 1 and "expected the list of this data set" in done.stderr


def test_the_command_tracks_with_a_list_in_worker_processes(run_command, demo_data, tmp_path):
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"])
    sequences = load_dataset("LasHeR", build_store(cfg, "LasHeR"))
    path = write_json(tmp_path / "miss.json", **{s.name: [[1, 1], *[[1, 0]] * (len(s) - 1)] for s in sequences})
    command = ("test.py", "static", "--dataset_name", "LasHeR", "--threads", "2", "--drop", f"{path}:freeze")
    assert run_command(*command).returncode == 0
    folder = tmp_path / "output/test/tracking_results/static/default_drop_miss-freeze/LasHeR"
    assert sorted(path.name for path in folder.glob("*_drop.txt")) == sorted(f"{s.name}_drop.txt" for s in sequences)
    again = run_command(*command)
    assert again.returncode == 0 and "are finished already" in again.stdout + again.stderr
