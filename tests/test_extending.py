"""docs/extending.md: every example runs as it is printed; its row is added to a table, and lib is unchanged."""

import argparse
import json
import logging
import re
import runpy
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config.loader import ConfigError, dump_config, load_config
from lib.data.crop import CropSpec
from lib.data.datasets import DATASETS, build_store, load_dataset
from lib.data.sequence import Sequence
from lib.evaluation.annotations import annotations_from_folder, annotations_from_sequences
from lib.evaluation.benchmarks import BENCHMARKS, LASHER
from lib.evaluation.evaluate import evaluate, evaluate_protocols
from lib.evaluation.report import Report
from lib.evaluation.truth import truth_from_folder
from lib.losses import DISTILL_LOSSES
from lib.models.build import BACKBONES, build_model, load_trained_model
from lib.models.fusion import FUSIONS
from lib.models.weights.read import network_of, read_checkpoint, write_net
from lib.report.save import save_evaluations
from lib.report.tables import page
from lib.running.run import track_datasets
from lib.structures import MODALITIES, modality_index
from lib.tracker.build import TRACKERS, Request, build_tracker
from lib.tracker.transcmd import TransCMDTracker
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer
from lib.train.prerequisites import training_order
from lib.train.run import train
from lib.utils.paths import checkpoint_folder, epoch_path, results_folder
from lib.utils.trees import to_plain
from tests.helpers import MemoryStore, encode, numbered_picture, read_number, write_file, write_rows
from tests.samples import random_sample

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
NANO = ROOT / "pretrained_models/teacher_nano.safetensors"


def run_example(title: str) -> dict:
    """Runs the Python blocks of one section of docs/extending.md, one after the other, in one namespace."""
    (section,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    names: dict = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, f"docs/extending.md, {title}", "exec"), names)
    return names


@pytest.fixture
def add_rows(monkeypatch) -> Callable[[dict, str], dict]:
    """A function (table, section title) → names of the example; it runs the example and adds its ROW to the table."""

    def add(table: dict, title: str) -> dict:
        names = run_example(title)
        for name, row in names["ROW"].items():
            assert name not in table
            monkeypatch.setitem(table, name, row)
        return names

    return add


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Random weights of `debug_teacher`."""
    torch.manual_seed(0)
    cfg, path = load_config("transcmd", "debug_teacher"), tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    write_net(path, build_model(cfg).state_dict(), to_plain(cfg), torch.float32)
    return path


def distill_settings(teacher: Path) -> list[str]:
    return [f"TRAIN.TEACHER.CHECKPOINT={teacher}", "TRAIN.EPOCH=1", "MODEL.PRETRAIN_CONFIG=''"]


def run_in_this_process(monkeypatch, command: str, *arguments: object) -> None:
    """Runs a command in this process, where the tables are patched."""
    monkeypatch.syspath_prepend(ROOT / "tracking")
    monkeypatch.setattr("sys.argv", [command, *map(str, arguments)])
    runpy.run_path(str(ROOT / "tracking" / command), run_name="command")["main"]()


# --- a data set -------------------------------------------------------------------------------------------------------


def write_antiuav(root: Path, split: str, name: str, frames: int = 6) -> Path:
    """A small sequence in Anti-UAV's layout; in the third frame the visible camera does not show the drone."""
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
def antiuav_data(add_rows, tmp_path) -> Path:
    """A folder of data sets that contains a small Anti-UAV; its row is in DATASETS."""
    add_rows(DATASETS, "A data set")
    for split in ("train", "val", "test"):
        for number in range(2):
            write_antiuav(tmp_path / "data", split, f"{split}{number}")
    return tmp_path / "data"


def load_antiuav(root: Path, name: str) -> list:
    return load_dataset(name, build_store(load_config("transcmd", "debug", [f"DATA.ROOT={root}"]), name))


def test_a_data_set_is_read_with_absent_frames(antiuav_data):
    for name, split in (("AntiUAV", "test"), ("AntiUAV_train", "train"), ("AntiUAV_val", "val")):
        sequences = load_antiuav(antiuav_data, name)
        assert [s.name for s in sequences] == [f"{split}0", f"{split}1"]
        assert sequences[0].visible.tolist() == [True, True, False, True, True, True]
        assert sequences[0].boxes_xywh[3].tolist() == [7, 3, 8, 7] and np.isnan(sequences[0].boxes_xywh[2]).all()
        assert sequences[0].aux_boxes_xywh[2].tolist() == [8, 3, 8, 7]
        assert [read_number(image) for image in sequences[0].frame(4)] == [4, 4]


def test_missing_and_broken_files_of_a_data_set_are_named(antiuav_data):
    folder = antiuav_data / "AntiUAV/test/test1"
    (folder / "infrared/infraredI0003.jpg").unlink()
    with pytest.raises(ValueError, match="AntiUAV/test/test1: 6 RGB images but 5 auxiliary images.*I0003.jpg"):
        load_antiuav(antiuav_data, "AntiUAV")
    (folder / "infrared.json").write_text('{"gt_rect": []}')
    with pytest.raises(ValueError, match=r"AntiUAV/test/test1/infrared\.json: expected gt_rect and exist .*'exist'"):
        load_antiuav(antiuav_data, "AntiUAV")
    (folder / "infrared.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"test/test1/infrared\.json"):
        load_antiuav(antiuav_data, "AntiUAV")
    with pytest.raises(ValueError, match="unknown data set 'AntiUAV_all'; did you mean AntiUAV_val"):
        load_antiuav(antiuav_data, "AntiUAV_all")


def test_a_network_trains_and_is_tested_on_a_data_set(antiuav_data, tmp_path):
    names = ["DATASETS_NAME=[AntiUAV_{}]", "DATASETS_RATIO=[1]"]
    settings = [f"DATA.{split.upper()}.{text.format(split)}" for split in ("train", "val") for text in names]
    settings += [f"DATA.ROOT={antiuav_data}", "TRAIN.EPOCH=1"]
    train(load_config("transcmd", "debug", settings), "transcmd", "debug", tmp_path, device_name="cpu")
    checkpoint = epoch_path(checkpoint_folder(tmp_path, "transcmd", "debug"), 1)
    built = build_tracker(Request("transcmd", "debug", checkpoint=checkpoint, device="cpu"))
    sequences = load_antiuav(antiuav_data, "AntiUAV")
    assert track_datasets(built, {"AntiUAV": sequences}, lambda name, drop: tmp_path / "results") == {}
    report = evaluate(LASHER, annotations_from_sequences(sequences), {"it": tmp_path / "results"})
    assert 0 <= report.trackers["it"].scores["SR"] <= 100


# --- a fusion ---------------------------------------------------------------------------------------------------------


def test_a_fusion_trains_and_tracks(add_rows, tmp_path, demo_data):
    with pytest.raises(ConfigError, match="'gated' is not a choice"):
        load_config("transcmd", "debug", ["MODEL.FUSION.TYPE=gated"])
    add_rows(FUSIONS, "A fusion")
    cfg = load_config("transcmd", "debug", ["MODEL.FUSION.TYPE=gated", "TRAIN.EPOCH=1", f"DATA.ROOT={demo_data}"])
    train(cfg, "transcmd", "gated", tmp_path, device_name="cpu")
    model = load_trained_model(cfg, epoch_path(checkpoint_folder(tmp_path, "transcmd", "gated"), 1))
    output = model.eval()(*random_sample()[:2], random_sample().modality)
    assert output.score_map.isfinite().all() and not output.paths
    with pytest.raises(ConfigError, match="gated cannot be used with MODEL.TYPE teacher: expected multi_path"):
        load_config("transcmd", "debug_teacher", ["MODEL.FUSION.TYPE=gated"])


def test_a_parameter_called_gate_has_no_learning_rate_of_its_own(add_rows):
    add_rows(FUSIONS, "A fusion")
    cfg = load_config("transcmd", "debug", ["MODEL.FUSION.TYPE=gated"])
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 1))
    groups = {group["name"]: group for group in build_optimizer(cfg, task).param_groups}
    assert "gates" not in groups
    assert any(parameter is task.model.fusion.mix_gate for parameter in groups["new/no_decay"]["params"])


# --- a distillation loss ----------------------------------------------------------------------------------------------


def test_a_distillation_loss_is_off_until_it_has_a_weight(add_rows, teacher):
    with pytest.raises(ConfigError, match="unknown key TRAIN.DISTILL.RELATION"):
        load_config("transcmd", "debug_distill", ["TRAIN.DISTILL.RELATION=1"])
    add_rows(DISTILL_LOSSES, "A distillation loss")
    cfg = load_config("transcmd", "debug_distill", distill_settings(teacher))
    assert cfg.TRAIN.DISTILL.RELATION == 0.0 and "RELATION: 0.0" in dump_config(cfg)
    with pytest.raises(ConfigError, match="TRAIN.DISTILL.RELATION: expected a value at least 0"):
        load_config("transcmd", "debug_distill", ["TRAIN.DISTILL.RELATION=-1"])


def test_a_distillation_loss_trains(add_rows, teacher):
    add_rows(DISTILL_LOSSES, "A distillation loss")
    only = [f"TRAIN.DISTILL.{name}=0" for name in ("SCFD", "MPSD", "RESPONSE")]
    cfg = load_config(
        "transcmd", "debug_distill", [*distill_settings(teacher), *only, "TRAIN.DISTILL.RELATION=2", "TRAIN.LR=1e-5"]
    )
    torch.manual_seed(0)
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 8)).train()
    optimizer, values = build_optimizer(cfg, task), []
    for _ in range(8):
        terms, logs = task(random_sample(), 0.5)
        optimizer.zero_grad()
        terms["RELATION"].backward()
        optimizer.step()
        values.append(terms["RELATION"].item())
    assert values[-1] < 0.98 * values[0] and "relation/aux" in logs


def test_a_distillation_loss_is_zero_for_equal_networks(add_rows, teacher):
    add_rows(DISTILL_LOSSES, "A distillation loss")
    cfg = load_config("transcmd", "debug_distill", [*distill_settings(teacher), "TRAIN.DISTILL.RELATION=1"])
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 8))
    output = task.teacher(*random_sample()[:2], random_sample().modality)
    assert task.losses["RELATION"](output, output, random_sample(), 0.0)[0] == 0


# --- a backbone -------------------------------------------------------------------------------------------------------


def test_a_convolutional_student_learns_from_a_vit_teacher(add_rows, tmp_path, teacher, demo_data):
    add_rows(BACKBONES, "A backbone")
    settings = [*distill_settings(teacher), "MODEL.BACKBONE.TYPE=mobilenet", f"DATA.ROOT={demo_data}"]
    cfg = load_config("transcmd", "debug_distill", settings)
    assert all(cfg.TRAIN.DISTILL[name] > 0 for name in ("SCFD", "MPSD", "RESPONSE"))
    train(cfg, "transcmd", "conv", tmp_path, device_name="cpu")
    path = epoch_path(checkpoint_folder(tmp_path, "transcmd", "conv"), 1)
    model = load_trained_model(cfg, path).eval()
    assert model(*random_sample()[:2], random_sample().modality).boxes.isfinite().all()
    task = read_checkpoint(path)["task"]
    assert {"losses.SCFD.project.0.weight", "losses.MPSD.project.joint.weight"} <= task.keys()


def test_every_loss_trains_a_convolutional_student(add_rows, monkeypatch, teacher):
    add_rows(BACKBONES, "A backbone")
    cfg = load_config("transcmd", "debug_distill", [*distill_settings(teacher), "MODEL.BACKBONE.TYPE=mobilenet"])
    task = build_task(cfg, RunInfo("transcmd", Path("output"), 8)).train()
    monkeypatch.setattr("lib.losses.mpsd.MIN_TEACHER_IOU", 0.0)
    for name in ("SCFD", "MPSD", "RESPONSE"):
        task.zero_grad()
        terms, _ = task(random_sample(), 0.5)
        terms[name].backward()
        gradient = task.model.encoder.project.weight.grad
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0, name


def test_cmae_refuses_a_convolutional_backbone(add_rows):
    add_rows(BACKBONES, "A backbone")
    cfg = load_config("transcmd", "debug_pretrain", ["MODEL.BACKBONE.TYPE=mobilenet"])
    with pytest.raises(ValueError, match="CMAE cannot mask a MobileNet; set MODEL.BACKBONE.TYPE to a ViT"):
        build_task(cfg, RunInfo("transcmd", Path("output"), 1))


def test_a_backbone_refuses_settings_that_it_cannot_use(add_rows):
    add_rows(BACKBONES, "A backbone")
    cfg = load_config("transcmd", "debug", ["MODEL.BACKBONE.TYPE=mobilenet", "MODEL.BACKBONE.PREFIX_TOKENS=1"])
    with pytest.raises(ValueError, match="mobilenet has STRIDE 16 and PREFIX_TOKENS 0, got 16 and 1"):
        build_model(cfg)


# --- an auxiliary modality --------------------------------------------------------------------------------------------


def test_old_weights_load_with_a_new_modality(add_rows, caplog):
    caplog.set_level(logging.INFO)
    plain = network_of(read_checkpoint(NANO), NANO).tensors
    add_rows(MODALITIES, "An auxiliary modality")
    cfg = load_config("transcmd", "teacher_nano")
    model = load_trained_model(cfg, NANO)
    rows = model.modality_embed
    assert len(rows) == 5 and torch.equal(rows[:4], plain["modality_embed"].float())
    assert torch.equal(rows[modality_index("nir")], rows[modality_index("rgb")])
    assert any("row of nir copied from rgb" in message for message in caplog.messages)


def test_a_new_modality_is_read_tracked_and_stored_by_name(add_rows, monkeypatch, tmp_path):
    before = list(MODALITIES)
    add_rows(MODALITIES, "An auxiliary modality")
    pictures = {f"{part}/{t}.png": encode(numbered_picture(t), ".png") for part in ("rgb", "nir") for t in range(3)}
    keys = [[f"{part}/{t}.png" for t in range(3)] for part in ("rgb", "nir")]
    boxes = np.tile([2.0, 3, 8, 9], (3, 1))
    sequence = Sequence("one", "nir", MemoryStore(pictures), *keys, boxes, np.ones(3, bool))
    cfg = load_config("transcmd", "debug")
    model = build_model(cfg)
    tracker = TransCMDTracker(model, CropSpec(32, 2.0), CropSpec(64, 4.0), "nir", torch.device("cpu"))
    tracker.initialize(sequence.frame(0), boxes[0])
    assert np.isfinite(tracker.track(sequence.frame(1)).box_xywh).all()
    path = tmp_path / "nir.safetensors"
    write_net(path, model.state_dict(), to_plain(cfg), torch.float32)
    assert read_checkpoint(path)["modalities"] == [*before, "nir"]
    monkeypatch.undo()
    again = load_trained_model(cfg, path)  # without the row: the others keep their names
    assert torch.equal(again.modality_embed, model.modality_embed[:4])


@pytest.fixture
def modalities():
    """The table MODALITIES; a test may change it, and it is restored in its order."""
    before = dict(MODALITIES)
    yield MODALITIES
    MODALITIES.clear()
    MODALITIES.update(before)


def test_rows_are_matched_by_name_and_not_by_place(tmp_path, modalities):
    cfg = load_config("transcmd", "debug")
    model, path, before = build_model(cfg), tmp_path / "net.safetensors", list(modalities)
    write_net(path, model.state_dict(), to_plain(cfg), torch.float32)
    for name in ("rgb", "rgbd", "rgbt"):  # moved to the end, so that rgbe is the first
        modalities[name] = modalities.pop(name)
    again = load_trained_model(cfg, path)
    for number, name in enumerate(("rgbe", "rgb", "rgbd", "rgbt")):
        assert torch.equal(again.modality_embed[number], model.modality_embed[before.index(name)]), name


# --- a tracker --------------------------------------------------------------------------------------------------------


@pytest.fixture
def matching(add_rows) -> type:
    """The class of the example; its row is in TRACKERS."""
    return add_rows(TRACKERS, "A tracker")["TemplateMatching"]


def write_weights(path: Path, *channels: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, channels=np.array(channels))
    return path


def matching_settings(weights: Path, *more: str) -> Request:
    return Request("matching", settings=(f"TRACKER.WEIGHTS={weights}", *more))


def test_a_new_tracker_runs_and_is_scored(matching, tmp_path, demo_data):
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
    """The fingerprint covers the arguments and the contents of the files, but not their paths."""
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
        (["TRACKER.WEIGHTS=gone.npz"], FileNotFoundError, "gone.npz: no such file; matching needs it, set TRACKER.WEI"),
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


# --- a benchmark of a known kind --------------------------------------------------------------------------------------


BOX, HALF_OFF, NO_BOX = [10, 10, 20, 20], [20, 10, 20, 20], [0, 0, 0, 0]  # HALF_OFF overlaps BOX by 1/3


def write_truth(folder: Path, **sequences: tuple[list, list]) -> Path:
    """Boxes and absence labels (1: absent), in the layout of annotations without images."""
    for name, (boxes, absent) in sequences.items():
        write_rows(folder / "gt_rect" / f"{name}.txt", boxes)
        write_rows(folder / "absent" / f"{name}.txt", [[label] for label in absent])
    return folder


def test_a_benchmark_of_a_known_kind_is_a_row(add_rows, tmp_path, monkeypatch, capsys):
    add_rows(BENCHMARKS, "A benchmark of a known kind")
    gt = write_truth(tmp_path / "gt", car=([BOX, BOX, NO_BOX], [0, 0, 1]), dog=([BOX, BOX], [0, 0]))
    write_rows(tmp_path / "t/car.txt", [BOX, [500, 500, 9, 9], BOX])
    write_rows(tmp_path / "t/dog.txt", [BOX, BOX])
    arguments = ["--annotations", gt, "--results", f"t={tmp_path / 't'}", "--output_dir", tmp_path / "out"]
    run_in_this_process(monkeypatch, "analysis_results.py", "--benchmark", "Night", *arguments)
    report = Report.from_json(tmp_path / "out/report.json")
    assert report.trackers["t"].scores["PR"] == pytest.approx((50 + 100) / 2), "the absent frame does not count"
    assert "# Night (not verified)" in capsys.readouterr().out and (tmp_path / "out/report.html").is_file()
    arguments = ["--results", tmp_path / "t", "--output", tmp_path / "t.zip"]
    run_in_this_process(monkeypatch, "pack_results.py", "--benchmark", "Night", "--annotations", gt, *arguments)
    assert "t.zip: 2 files of t on Night" in capsys.readouterr().out


# --- a benchmark of a new kind ----------------------------------------------------------------------------------------


@pytest.fixture
def antiuav_benchmark(add_rows, tmp_path):
    """The row of the example, in BENCHMARKS, with annotations of two sequences and results of two trackers."""
    add_rows(BENCHMARKS, "A benchmark of a new kind")
    truth = {"a": ([BOX, BOX, NO_BOX, NO_BOX, NO_BOX], [0, 0, 1, 1, 1]), "b": ([BOX, NO_BOX], [0, 0])}
    write_truth(tmp_path / "gt", **truth)
    write_rows(tmp_path / "t/a.txt", [BOX, HALF_OFF, NO_BOX, ["nan"] * 4, BOX])
    write_rows(tmp_path / "t/b.txt", [BOX, BOX])
    write_rows(tmp_path / "silent/a.txt", [NO_BOX] * 5)
    write_rows(tmp_path / "silent/b.txt", [NO_BOX] * 2)
    return BENCHMARKS["Anti-UAV"]


def test_a_benchmark_of_a_new_kind_is_a_rule_and_a_row(tmp_path, antiuav_benchmark):
    report = evaluate(antiuav_benchmark, annotations_from_folder(tmp_path / "gt"), {"t": tmp_path / "t"})
    # Sequence a: overlaps 1 and 1/3, twice no box where the target is absent, once a box. Sequence b: its second frame
    # is labelled visible and has no annotated box.
    first = 100 * (1 + 1 / 3 + 1 + 1 + 0) / 5
    assert report.trackers["t"].per_sequence == {"a": {"SA": pytest.approx(first)}, "b": {"SA": 50}}
    assert report.trackers["t"].scores == {"SA": pytest.approx((first + 50) / 2)}
    assert report.title == "Anti-UAV, 2 of 318 sequences (not verified)"
    assert "Absent frames: 1 where the tracker reports no box, else 0." in report.notes
    low, high = report.trackers["t"].intervals["SA"]
    assert low <= report.trackers["t"].scores["SA"] <= high


def test_a_rule_of_a_new_kind_has_a_strict_protocol(tmp_path, antiuav_benchmark):
    annotations, strict = annotations_from_folder(tmp_path / "gt"), antiuav_benchmark.under("strict")
    report = evaluate(strict, annotations, {"t": tmp_path / "t"})
    assert report.trackers["t"].per_sequence["b"]["SA"] == 100, "the frame without an annotated box does not count"
    write_rows(tmp_path / "t/b.txt", [BOX, BOX, BOX])
    assert evaluate(antiuav_benchmark, annotations, {"t": tmp_path / "t"}).trackers["t"].per_sequence["b"]["SA"] == 50
    with pytest.raises(ValueError, match=r"t/b: 3 rows for 2 frames in .*b\.txt \(they differ from frame 3 on\)"):
        evaluate(strict, annotations, {"t": tmp_path / "t"})
    with pytest.raises(ValueError, match="Anti-UAV: state accuracy has the protocols official and strict, got pytrack"):
        antiuav_benchmark.under("pytracking")


def test_a_benchmark_of_a_new_kind_has_tables_and_a_page(tmp_path, antiuav_benchmark):
    truth = truth_from_folder(antiuav_benchmark, tmp_path / "gt")
    folders = {name: tmp_path / name for name in ("silent", "t")}
    evaluations = evaluate_protocols([antiuav_benchmark.under(name) for name in ("official", "strict")], truth, folders)
    text = page(evaluations[0].report)
    assert (
        "| Tracker | SA official (n = 2) | SA strict (n = 2) |" in text and "Absent frames: 1 where the tracker" in text
    )
    assert evaluations[0].report.ranked("SA") == ["t", "silent"]
    assert evaluations[0].report.trackers["silent"].scores["SA"] == pytest.approx((60 + 0) / 2)
    names = {
        path.relative_to(tmp_path / "out").as_posix() for path in save_evaluations(evaluations, truth, tmp_path / "out")
    }
    assert {"report.json", "report.html", "report.csv", "strict/report.json", "strict/report.html"} <= names
    assert Report.from_json(tmp_path / "out/strict/report.json") == evaluations[1].report


def test_the_command_knows_a_benchmark_of_a_new_kind(tmp_path, antiuav_benchmark, monkeypatch, capsys):
    arguments = ["--annotations", tmp_path / "gt", "--results", f"t={tmp_path / 't'}", "--output_dir", tmp_path / "out"]
    arguments += ["--protocol", "official,strict"]
    run_in_this_process(monkeypatch, "analysis_results.py", "--benchmark", "Anti-UAV", *arguments)
    assert "| Tracker |    SA |" in capsys.readouterr().out
    scores = Report.from_json(tmp_path / "out/report.json").beside["strict"]["t"]
    assert np.isclose(scores["SA"], (100 * (1 + 1 / 3 + 2) / 5 + 100) / 2)


# --- commands in the text ---------------------------------------------------------------------------------------------

TRAINING = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).*\n)*?python tracking/train\.py ([^\n]+)", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("title", "words"), TRAINING, ids=[title for title, _ in TRAINING])
def test_the_training_commands_of_the_text_are_accepted(title, words, add_rows):
    tables = {"A fusion": FUSIONS, "A distillation loss": DISTILL_LOSSES, "A backbone": BACKBONES}
    if title in tables:
        add_rows(tables[title], title)
    parser = argparse.ArgumentParser()
    for option in ("--script", "--config"):
        parser.add_argument(option)
    parser.add_argument("--chain", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args(shlex.split(words))
    cfg = load_config("transcmd", args.config, args.set)
    build_model(cfg)
    if args.chain:  # its settings also fit everything that is trained before
        assert training_order("transcmd", args.config, args.set)[-1] == args.config


def test_all_training_commands_of_the_text_are_tested():
    assert len(TRAINING) == TEXT.count("\npython tracking/train.py ") >= 4
