"""docs/extending.md: every example runs as it stands, against an unchanged lib."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lib.config.loader import ConfigError, load_config
from lib.data.datasets import DATASETS, build_store, load_dataset
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import LASHER
from lib.evaluation.evaluate import evaluate
from lib.running.run import track_datasets
from lib.tracker.build import TRACKERS, Request, build_tracker
from lib.train.run import train
from lib.utils.paths import checkpoint_folder, epoch_path, results_folder
from tests.helpers import encode, numbered_picture, read_number, write_file

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


def run_example(title: str) -> dict:
    """Runs the Python blocks of one section of docs/extending.md, one after the other, in one namespace."""
    (section,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    names: dict = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, f"docs/extending.md, {title}", "exec"), names)
    return names


# a tracker


@pytest.fixture
def matching(monkeypatch) -> type:
    """The class of the tracker in the text, which has its row in TRACKERS."""
    names = run_example("A tracker")
    monkeypatch.setitem(TRACKERS, "matching", names["ROW"]["matching"])
    return names["TemplateMatching"]


def write_weights(path: Path, *channels: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, channels=np.array(channels))
    return path


def matching_settings(weights: Path, *more: str) -> Request:
    return Request("matching", settings=(f"TRACKER.WEIGHTS={weights}", *more))


def test_a_tracker_of_somebody_else_runs_and_is_scored(matching, tmp_path, demo_data):
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"])
    datasets = {name: load_dataset(name, build_store(cfg, name)) for name in ("LasHeR", "DepthTrack")}
    weights, scores = write_weights(tmp_path / "a.npz", 1, 1, 1, 1, 1, 1), {}
    for request in (matching_settings(weights), Request("static")):
        folders = {name: results_folder(tmp_path, request.tracker, "x", name) for name in datasets}
        assert track_datasets(build_tracker(request), datasets, lambda name, drop, f=folders: f[name]) == {}
        report = evaluate(LASHER, annotations_from_sequences(datasets["LasHeR"]), {"it": folders["LasHeR"]})
        scores[request.tracker] = report.trackers["it"].scores["SR"]
    assert scores["matching"] > scores["static"] + 5


def test_results_of_other_weights_are_tracked_again_and_those_of_the_same_kept(
    matching, monkeypatch, tmp_path, demo_data
):
    """A fingerprint covers the contents of the files and the arguments, not where the files lie."""
    cfg, started = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"]), []
    datasets = {"LasHeR": load_dataset("LasHeR", build_store(cfg, "LasHeR"))}
    initialize = matching.initialize
    monkeypatch.setattr(matching, "initialize", lambda *given: (started.append(1), initialize(*given))[1])

    def run(request: Request) -> int:
        started.clear()
        assert track_datasets(build_tracker(request), datasets, lambda name, drop: tmp_path / "results") == {}
        return len(started)

    first = write_weights(tmp_path / "a.npz", 1, 1, 1, 0, 0, 0)
    assert run(matching_settings(first)) == 2
    assert run(matching_settings(first)) == 0
    (tmp_path / "moved.npz").write_bytes(first.read_bytes())
    assert run(matching_settings(tmp_path / "moved.npz")) == 0
    assert run(matching_settings(first, "TRACKER.RADIUS=9")) == 2
    assert run(matching_settings(first)) == 2
    assert run(matching_settings(write_weights(first, 0, 0, 0, 1, 1, 1))) == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["TRACKER.WEIGTHS=a.npz"], ConfigError, "no such argument; did you mean TRACKER.WEIGHTS"),
        (["TRACKER.RADIUS=far"], ConfigError, "--set TRACKER.RADIUS=far: expected int, got str 'far'"),
        (["TRACKER.RADIUS"], ConfigError, "expected TRACKER.NAME=VALUE"),
        (["TRACKER.WEIGHTS="], ConfigError, "expected a path"),
        (["TRACKER.WEIGHTS=gone.npz"], FileNotFoundError, "gone.npz: no such file, matching needs it; set TRACKER.WEI"),
        ([], FileNotFoundError, "pretrained_models/matching.npz: no such file"),
    ],
)
def test_wrong_arguments_of_a_tracker_are_named(matching, settings, error, message):
    with pytest.raises(error, match=message):
        build_tracker(Request("matching", settings=tuple(settings)))


def test_a_wrong_weights_file_is_named_before_old_results_are_removed(matching, tmp_path, demo_data):
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"])
    datasets = {"LasHeR": load_dataset("LasHeR", build_store(cfg, "LasHeR"))}
    weights = write_weights(tmp_path / "a.npz", 1, 1, 1, 1, 1, 1)
    run = partial(track_datasets, datasets=datasets, folders=lambda name, drop: tmp_path / "results")
    run(build_tracker(matching_settings(weights)))
    with pytest.raises(ValueError, match=r"a\.npz: expected an \.npz file with channels"):
        run(build_tracker(matching_settings(write_weights(weights, 1, 1))))
    assert (tmp_path / f"results/{datasets['LasHeR'][0].name}.txt").is_file()


# a data set


def write_antiuav(root: Path, split: str, name: str, frames: int = 6) -> Path:
    """A small sequence in Anti-UAV's layout; the drone is out of sight of the visible camera in the third frame."""
    folder = root / "AntiUAV" / split / name
    for camera, shift in (("visible", 0), ("infrared", 2)):
        boxes = [[4 + t + shift, 3, 8, 7] for t in range(frames)]
        exist = [1] * frames
        if camera == "visible":
            boxes[2], exist[2] = [], 0
        for t in range(frames):
            write_file(folder / camera / f"{camera}I{t:04d}.jpg", encode(numbered_picture(t), ".jpg"))
        write_file(folder / f"{camera}.json", json.dumps({"exist": exist, "gt_rect": boxes}))
    return folder


@pytest.fixture
def antiuav(monkeypatch, tmp_path) -> Path:
    """A folder of data sets with a small Anti-UAV, which has its row in DATASETS."""
    monkeypatch.setitem(DATASETS, "AntiUAV", run_example("A data set")["ROW"]["AntiUAV"])
    for split in ("train", "val", "test"):
        for number in range(2):
            write_antiuav(tmp_path / "data", split, f"{split}{number}")
    return tmp_path / "data"


def load_antiuav(root: Path, name: str) -> list:
    return load_dataset(name, build_store(load_config("transcmd", "debug", [f"DATA.ROOT={root}"]), name))


def test_a_data_set_is_read_with_absent_frames(antiuav):
    for name, split in (("AntiUAV", "test"), ("AntiUAV_train", "train"), ("AntiUAV_val", "val")):
        sequences = load_antiuav(antiuav, name)
        assert [s.name for s in sequences] == [f"{split}0", f"{split}1"]
        assert sequences[0].visible.tolist() == [True, True, False, True, True, True]
        assert sequences[0].boxes_xywh[3].tolist() == [7, 3, 8, 7] and np.isnan(sequences[0].boxes_xywh[2]).all()
        assert sequences[0].aux_boxes_xywh[2].tolist() == [8, 3, 8, 7]
        assert [read_number(image) for image in sequences[0].frame(4)] == [4, 4]


def test_missing_and_broken_files_of_a_data_set_are_named(antiuav):
    folder = antiuav / "AntiUAV/test/test1"
    (folder / "infrared/infraredI0003.jpg").unlink()
    with pytest.raises(ValueError, match="AntiUAV/test1: 6 RGB images but 5 of the other modality"):
        load_antiuav(antiuav, "AntiUAV")
    (folder / "infrared.json").write_text('{"gt_rect": []}')
    with pytest.raises(ValueError, match=r"AntiUAV/test/test1/infrared\.json: expected gt_rect and exist .*'exist'"):
        load_antiuav(antiuav, "AntiUAV")
    (folder / "infrared.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"test/test1/infrared\.json"):
        load_antiuav(antiuav, "AntiUAV")
    with pytest.raises(ValueError, match="unknown data set 'AntiUAV_all'; did you mean AntiUAV_val"):
        load_antiuav(antiuav, "AntiUAV_all")


def test_a_network_trains_and_is_tested_on_a_data_set(antiuav, tmp_path):
    names = ["DATASETS_NAME=[AntiUAV_{}]", "DATASETS_RATIO=[1]"]
    settings = [f"DATA.{split.upper()}.{text.format(split)}" for split in ("train", "val") for text in names]
    settings += [f"DATA.ROOT={antiuav}", "TRAIN.EPOCH=1"]
    train(load_config("transcmd", "debug", settings), "transcmd", "debug", tmp_path, device_name="cpu")
    checkpoint = epoch_path(checkpoint_folder(tmp_path, "transcmd", "debug"), 1)
    built = build_tracker(Request("transcmd", "debug", checkpoint=checkpoint, device="cpu"))
    sequences = load_antiuav(antiuav, "AntiUAV")
    assert track_datasets(built, {"AntiUAV": sequences}, lambda name, drop: tmp_path / "results") == {}
    report = evaluate(LASHER, annotations_from_sequences(sequences), {"it": tmp_path / "results"})
    assert 0 <= report.trackers["it"].scores["SR"] <= 100
