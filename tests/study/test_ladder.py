"""The table of an ablation: means, errors, paired differences; and the order in which experiments are trained."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.config import loader
from lib.config.loader import load_config
from lib.config.schema import build_defaults
from lib.models.build import build_model, network_settings
from lib.models.weights.read import network_of, read_checkpoint
from lib.models.weights.report import load_exact
from lib.study.ablation import Ablation
from lib.study.ladder import ROWS, Row, difference, draw_ladder, from_json, merge, to_json, to_markdown
from lib.train.prerequisites import is_finished, training_order
from lib.utils.paths import find_weights
from tests.processes import ROOT, run


def validation(value: float) -> dict[str, float]:
    return {"rgbt/auc": value, "rgbd/auc": value - 0.1, "rgbe/auc": value + 0.1, "rgbt/iou": 0.0, "epoch": 3}


def rows(**values: list[float]) -> list[Row]:
    made = []
    for name, scores in values.items():
        row = Row(name, *ROWS[name])
        for seed, score in enumerate(scores, start=1):
            row.add(seed, validation(score))
        made.append(row)
    return made


def test_the_ladder_in_the_docs_has_the_intervals_of_its_file():
    """With three seeds the 95 % interval is 4.30 standard errors on each side."""
    done = from_json(ROOT / "docs/ladder.json")
    table = to_markdown(done)
    text = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    assert table.split("\n\n")[0] in text
    by_name = {row.name: row for row in done}
    for name, reference, words in (
        ("response", "cmae", "+3.28 ± 2.62"),
        ("scfd", "cmae", "+2.63 ± 3.88"),
        ("cosine", "cmae", "+2.20 ± 1.85"),
    ):
        mean, half = difference(by_name[name], by_name[reference])
        assert f"{mean:+.2f} ± {half:.2f}" == words and words in " ".join(text.split())


def test_the_second_ladder_in_the_docs_is_that_of_its_file():
    table = to_markdown(from_json(ROOT / "docs/results/second_ladder.json")).split("\n\n")[0]
    assert table in (ROOT / "docs/method.md").read_text(encoding="utf-8")


def test_differences_are_paired_by_seed():
    scratch, joint = rows(scratch=[0.2, 0.5, 0.8], joint=[0.3, 0.6, 0.9])
    mean, error = difference(joint, scratch)
    assert mean == pytest.approx(10) and error == pytest.approx(0, abs=1e-9)  # seeds differ, their difference does not
    assert joint.mean()[1] > 10
    later = Row("joint", *ROWS["joint"])
    later.add(9, validation(0.4))
    with pytest.raises(ValueError, match="joint and scratch have no seed in common"):
        difference(later, scratch)


def test_table_plot_and_file_are_written(tmp_path):
    done = rows(scratch=[0.2, 0.4], joint=[0.3, 0.6], cosine=[0.5])
    done.insert(2, Row("cmae", *ROWS["cmae"]))  # without a run
    text = to_markdown(done)
    assert "| + joint attention | 45.00 ± 190.59 | 45.0 | 35.0 | 55.0 | from scratch | +15.00 ± 63.53 | 2 |" in text
    assert "+ CMAE" not in text
    assert "| plain cosine for SCFD | 50.00 | 50.0 | 40.0 | 60.0 |  |  | 1 |" in text
    (tmp_path / "ladder.json").write_text(to_json(done))
    again = from_json(tmp_path / "ladder.json")
    assert to_markdown(again) == text
    assert all(path.stat().st_size > 5000 for path in draw_ladder(again, tmp_path / "ladder"))


def test_the_success_rate_of_tracking_has_its_own_column_and_difference():
    made = []
    for name, rates in (("cmae", [30.0, 40.0]), ("scfd", [32.0, 46.0]), ("response", [33.0, 47.0])):
        row = Row(name, *ROWS[name])
        for seed, rate in enumerate(rates, start=1):
            row.add(seed, validation(0.5), {"sr": rate})
        made.append(row)
    lines = to_markdown(made).splitlines()
    assert lines[0].endswith("| RGB-E | SR | against | difference | difference in SR | seeds |")
    half = 12.706 * 2 / np.sqrt(2) * np.sqrt(2)  # t of one degree of freedom, times the standard error of 2 and 6
    assert lines[3].startswith("| + SCFD | 50.00 ± 0.00 |")
    assert lines[3].endswith(f"| + CMAE | +0.00 ± 0.00 | +4.00 ± {half:.2f} | 2 |")
    assert lines[-1] == f"+ response (all) against + CMAE: +0.00 ± 0.00; SR +5.00 ± {half:.2f}"
    assert len({line.count("|") for line in lines[:-2]}) == 1


def study(tmp_path, **changes) -> Ablation:
    known = {"save_dir": tmp_path, "rows": ["joint"], "seeds": [1], "train_sequences": 6, "textures": None}
    known |= {"teacher": None, "jobs": 1, "workers": 0, "device": "", "settings": [], "show": print}
    return Ablation(**{**known, **changes})


def test_rows_are_trained_after_the_runs_that_they_start_from(tmp_path):
    levels = study(tmp_path, rows=["scratch", "cmae", "without_cmae", "response"]).levels()
    assert levels == [["scratch", "joint"], ["pretrain_complementarity", "joint_more"]] + [
        ["cmae", "without_cmae", "response"]
    ]


def test_all_compared_rows_have_the_same_number_of_steps():
    """A row without CMAE has a supervised stage in its place."""
    for name, (_, reference) in ROWS.items():
        if not reference:
            continue
        steps = []
        for row in (name, reference):
            order = training_order("transcmd", f"ablation/{row}", [])
            cfgs = [load_config("transcmd", config) for config in order]
            steps.append(sum(cfg.TRAIN.EPOCH * cfg.DATA.TRAIN.SAMPLE_PER_EPOCH for cfg in cfgs))
        assert steps[0] == steps[1], name


def test_a_later_run_has_other_samples_and_rows_of_a_level_share_theirs(tmp_path):
    ablation = study(tmp_path, textures=Path("/pictures"))

    def data(config):
        cfg = load_config("transcmd", f"ablation/{config}", ablation.overrides(config, 3))
        assert cfg.DATA.TRAIN.DATASETS_NAME == ["Synthetic_train"] and cfg.DATA.ROOTS.Synthetic == "/pictures"
        return cfg.TRAIN.SEED, cfg.DATA.CACHE

    assert data("cmae") == data("response") == data("without_cmae")
    assert len({data(config)[0] for config in ("joint", "joint_more", "joint_longer")}) == 3
    assert data("joint_more")[0] == data("pretrain_random")[0]
    assert data("joint_more")[1] != data("pretrain_random")[1]  # no image of its samples is dropped


def test_the_complete_distillation_is_compared_with_training_without_a_teacher():
    text = to_markdown(rows(cmae=[0.2, 0.4], response=[0.3, 0.6]))
    assert text.splitlines()[-1] == "+ response (all) against + CMAE: +15.00 ± 63.53"
    assert "against + CMAE:" not in to_markdown(rows(cmae=[0.2, 0.4]))
    text = to_markdown(rows(joint_longer=[0.3, 0.5], without_cmae=[0.4, 0.7]))
    assert text.splitlines()[-1] == "all without CMAE against joint attention, three times as long: +15.00 ± 63.53"


def test_every_row_has_an_experiment_and_a_reference():
    for name, (_, reference) in ROWS.items():
        cfg = load_config("transcmd", f"ablation/{name}")
        assert reference in ("", *ROWS)
        assert cfg.TEST.EPOCH == 0 and cfg.TRAIN.EPOCH * cfg.DATA.TRAIN.SAMPLE_PER_EPOCH >= 1500 * cfg.TRAIN.BATCH_SIZE


def test_each_row_differs_from_its_reference_only_in_the_added_part():
    def flat(name):
        cfg = load_config("transcmd", f"ablation/{name}")
        return dict(loader.flatten(cfg))

    changed = {
        "joint": {"MODEL.BACKBONE.INTERACTION_LAYERS"},
        "cmae": {"MODEL.PRETRAIN_CONFIG"},
        "scfd": {"TRAIN.STAGE", "TRAIN.DISTILL.SCFD"},
        "mpsd": {"TRAIN.DISTILL.MPSD"},
        "response": {"TRAIN.DISTILL.RESPONSE"},
        "without_cmae": {"MODEL.PRETRAIN_CONFIG"},
        "without_scfd": {"TRAIN.DISTILL.SCFD"},
        "without_mpsd": {"TRAIN.DISTILL.MPSD"},
        "cmae_random": {"MODEL.PRETRAIN_CONFIG"},
        "cmae_redundancy": {"MODEL.PRETRAIN_CONFIG"},
        "cosine": {"TRAIN.DISTILL.SCFD", "TRAIN.DISTILL.COSINE"},
        "content_style": {"TRAIN.DISTILL.SCFD", "TRAIN.DISTILL.CONTENT_STYLE"},
        "mpsd_uniform": {"TRAIN.DISTILL.MPSD", "TRAIN.DISTILL.MPSD_UNIFORM"},
        "fused": {"TRAIN.DISTILL.MPSD", "TRAIN.DISTILL.FUSED"},
    }
    for name, keys in changed.items():
        own, other = flat(name), flat(ROWS[name][1])
        assert {key for key in own if own[key] != other[key]} == keys, name


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/transcmd").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_and_its_prerequisites_can_be_read(path):
    name = str(path.relative_to(ROOT / "experiments/transcmd").with_suffix(""))
    order = training_order("transcmd", name, [])
    assert order[-1] == name and len(order) == len(set(order))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#") and "# command:" in text


def test_a_chain_trains_prerequisites_first():
    order = ["rgb_tiny", "pretrain_tiny", "pretrain_teacher_base", "teacher_base", "tiny"]
    assert training_order("transcmd", "tiny", []) == order


def test_a_chain_ignores_the_prerequisites_of_a_finished_run():
    done = {"pretrain_tiny", "teacher_base"}
    order = training_order("transcmd", "tiny", [], done.__contains__)
    assert order == ["pretrain_tiny", "teacher_base", "tiny"]


@pytest.mark.parametrize("kind", ["rgbt", "rgbd", "rgbe"])
def test_students_of_a_task_have_the_teacher_of_this_task(kind):
    student = load_config("transcmd", f"tiny_{kind}")
    teacher = load_config("transcmd", student.TRAIN.TEACHER.CONFIG)
    assert student.TRAIN.TEACHER.CONFIG == f"teacher_base_{kind}"
    assert teacher.DATA == student.DATA and len(teacher.DATA.TRAIN.DATASETS_NAME) == 1


def test_the_teacher_in_the_repository_is_that_of_its_experiment():
    content = read_checkpoint(ROOT / "pretrained_models/teacher_nano.safetensors")
    cfg = load_config("transcmd", "teacher_nano")
    load_exact(build_model(cfg), network_of(content, "teacher_nano").tensors, "teacher_nano")
    made, now = (dict(loader.flatten(config)) for config in (content["config"], cfg))
    assert {key for key in made if made[key] != now[key]} == set()
    # Of the options that came after these weights, the experiment sets these alone.
    default = dict(loader.flatten(build_defaults()))
    assert {key for key in now if key not in made and now[key] != default[key]} <= {
        *("DATA.ROOT", "DATA.SYNTHETIC", "TRAIN.TEACHER.CONFIG", "TRAIN.TEACHER.CHECKPOINT"),
    }
    assert (ROOT / "pretrained_models/teacher_nano.safetensors").stat().st_size < 8e6


def test_the_teacher_in_the_repository_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_weights("teacher_nano.safetensors") == ROOT / "pretrained_models/teacher_nano.safetensors"


def test_rows_with_different_settings_are_not_mixed(run_command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/settings.json").write_text('{"set": ["TRAIN.LR=1"], "teacher": "", "train_sequences": 200}')
    done = run_command("ablation.py", "--save_dir", "out", "--rows", "scratch")
    assert done.returncode == 1 and "out/settings.json: expected" in done.stderr and "--save_dir" in done.stderr
    done = run_command("ablation.py", "--save_dir", "new", "--teacher", "no.pth")
    assert done.returncode == 1 and "--teacher no.pth: no such checkpoint" in done.stderr


def test_seeds_that_ran_elsewhere_are_merged(tmp_path):
    both = rows(scratch=[0.3, 0.5, 0.4], joint=[0.6, 0.7, 0.8])
    parts = [rows(scratch=[], joint=[]) for _ in range(2)]
    for row, *halves in zip(both, *parts, strict=True):
        for place, seed in enumerate(row.seeds):
            validation = {f"{kind}/auc": row.scores[kind][place] / 100 for kind in ("rgbt", "rgbd", "rgbe")}
            halves[seed == 2].add(seed, validation)
    path = tmp_path / "ladder.json"
    path.write_text(to_json(parts[0]))
    merged = merge(parts[1], from_json(path))  # seeds 1 and 3 are added to 2
    assert to_markdown(merged) == to_markdown(both) and [row.seeds for row in merged] == [[1, 2, 3]] * 2
    assert [row.name for row in merge(rows(scratch=[0.1], cmae=[0.2]), both[1:])] == ["scratch", "cmae"]
    with pytest.raises(ValueError, match="scratch: seed 2 is in two of the tables"):
        merge(both, parts[1])
    parts[1][0].scores["sr"] = [50.0]
    with pytest.raises(ValueError, match=r"scratch: scores \['mean', 'rgbd', 'rgbe', 'rgbt'\], expected .*'sr'"):
        merge(parts[1], from_json(path))


ROW = '"title": "", "reference": "", "seeds": [1, 2]'


@pytest.mark.parametrize(
    "text",
    [
        *("[1]", "{", '[{"name": "scratch"}]', '[{"name": "other", "title": "", "reference": "", "scores": {}}]'),
        f'[{{"name": "scratch", {ROW}, "scores": []}}]',
        f'[{{"name": "scratch", {ROW}}}]',
        f'[{{"name": "scratch", {ROW}, "scores": {{"rgbt": [1], "rgbd": [1], "rgbe": [1], "mean": [1]}}}}]',
    ],
)
def test_a_damaged_table_is_named(run_command, tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    done = run_command("ablation.py", "--report", "--save_dir", "out", "--merge", "other.json")
    assert done.returncode == 1 and "other.json: expected a ladder.json of tracking/ablation.py" in done.stderr


def test_a_seed_that_ran_elsewhere_is_not_trained_again(run_command, tmp_path):
    (tmp_path / "other.json").write_text(to_json(rows(joint=[0.5, 0.6])))
    command = ("ablation.py", "--save_dir", "out", "--merge", "other.json", "--rows", "joint")
    done = run_command(*command, "--seeds", 2)
    assert (
        done.returncode == 1 and "--merge: seed 2 of joint is in the table to add, and also a run of out" in done.stderr
    )
    done = run_command(*command, "--report")
    assert done.returncode == 0 and json.loads((tmp_path / "out/ladder.json").read_text())[0]["seeds"] == [1, 2]


def test_the_network_that_tracks_is_the_one_that_was_trained(tmp_path, monkeypatch):
    ablation = study(tmp_path, textures=Path("/pictures"), settings=["MODEL.HEAD.NUM_CHANNELS=16", "TRAIN.LR=1"])
    monkeypatch.setattr(Ablation, "newest", lambda *_: tmp_path / "TransCMD_ep0001.pth.tar")
    command = [str(part) for part in ablation.tracking_command("joint", 1)]
    settings = [value for key, value in zip(command, command[1:], strict=False) if key == "--set"]
    trained, tracking = (
        network_settings(load_config("transcmd", "ablation/joint", values))
        for values in (ablation.overrides("joint", 1), settings)
    )
    assert trained == tracking and trained["MODEL.FUSION.TYPE"] == "match" and "TRAIN.LR=1" not in settings


def test_an_experiment_cannot_be_its_own_prerequisite(monkeypatch):
    with pytest.raises(ValueError, match="debug needs debug: an experiment cannot be its own prerequisite"):
        training_order("transcmd", "debug", ["MODEL.PRETRAIN_CONFIG=debug"])


def test_a_run_is_finished_after_its_last_configured_epoch(tmp_path):
    last, earlier = tmp_path / "TransCMD_ep0003.pth.tar", tmp_path / "TransCMD_ep0002.pth.tar"
    assert not is_finished(last)
    (tmp_path / "config.yaml").write_text("TRAIN: {EPOCH: 3}\n")
    assert is_finished(last) and not is_finished(earlier)


def test_a_run_with_validation_data_is_finished_when_its_last_epoch_is_validated(tmp_path):
    last = tmp_path / "TransCMD_ep0003.pth.tar"
    (tmp_path / "config.yaml").write_text("TRAIN: {EPOCH: 3}\nDATA: {VAL: {DATASETS_NAME: [LasHeR_val]}}\n")
    for content, finished in (("", False), ('{"epoch": 2}', False), ('{"epoch": 3}', True)):
        (tmp_path / "validation.json").write_text(content)
        assert is_finished(last) is finished


@pytest.mark.slow
def test_the_command_runs_resumes_and_reports(tmp_path):
    """Two very short rows: finished runs are kept, missing runs are trained."""
    small = ["DATA.ROOT=" + str(tmp_path / "data"), "DATA.TRAIN.SAMPLE_PER_EPOCH=64", "DATA.VAL.SAMPLE_PER_EPOCH=48"]
    command = [sys.executable, str(ROOT / "tracking/ablation.py"), "--save_dir", str(tmp_path / "out"), "--seeds", "1"]
    command += ["--jobs", "2", "--train_sequences", "6", *(word for pair in small for word in ("--set", pair))]
    for names, ran in (
        (["scratch"], {"scratch"}),
        (["scratch", "response"], {"joint", "pretrain_complementarity", "response"}),
    ):
        done = run([*command, "--rows", *names], timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {line.split()[-1] for line in done.stdout.splitlines() if line.startswith("seed 1,")} == ran
    table = (tmp_path / "out/ladder.md").read_text()
    assert "| from scratch |" in table and "| + response (all) |" in table
    assert (tmp_path / "out/ladder.png").stat().st_size > 5000
    scores = from_json(tmp_path / "out/ladder.json")[0].scores
    assert scores["mean"][0] == pytest.approx(np.mean([scores[m][0] for m in ("rgbt", "rgbd", "rgbe")]))


@pytest.mark.slow
def test_rows_on_textures_track_held_out_sequences(tmp_path, shared):
    if not (shared / "textures").is_dir():
        pytest.skip(f"no {shared / 'textures'}")
    small = ["DATA.TRAIN.SAMPLE_PER_EPOCH=64", "DATA.VAL.SAMPLE_PER_EPOCH=48", "TRAIN.EPOCH=1"]
    command = [sys.executable, str(ROOT / "tracking/ablation.py"), "--save_dir", str(tmp_path), "--seeds", "1"]
    command += ["--textures", str(shared), "--rows", "joint_longer", "response"]
    done = run([*command, *(word for pair in small for word in ("--set", pair))], timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row.name: row for row in from_json(tmp_path / "ladder.json")}
    assert rows.keys() == {"joint", "joint_longer", "response"}
    assert all(0 < row.scores["sr"][0] < 100 for row in rows.values())
    assert "difference in SR" in (tmp_path / "ladder.md").read_text()
    assert not (tmp_path / "cache/seed1").exists()
