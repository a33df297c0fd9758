"""Training: the loop, resume, checkpoints, schedules, freezing."""

import json
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import DataLoader

from lib.config.loader import load_config
from lib.config.schema import OPTIMIZERS, OWN_DATA
from lib.data.batches import BatchPlan
from lib.data.loader import batches, build_loaders, is_dead_worker
from lib.models.build import build_model
from lib.structures import MODALITIES
from lib.train.build import TASKS, RunInfo, build_task
from lib.train.checkpoint import CheckpointFolder
from lib.train.logger import RunLogger
from lib.train.manifest import check_textures
from lib.train.optim import build_optimizer, schedule
from lib.train.run import build_trainer, reproduce, train
from lib.train.start import resume_from
from lib.utils.misc import seed_step
from lib.utils.paths import epoch_path
from lib.utils.trees import to_plain
from tests.data.test_synthetic_v2 import write_textures
from tests.processes import ROOT, started
from tests.train.states import matching_state


@pytest.fixture
def cfg(demo_data):
    return load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}", "TRAIN.DROP_PATH_RATE=0.2"])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """An untrained teacher's checkpoint."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth.tar"
    seed_step(1)
    torch.save({"net": build_model(load_config("transcmd", "debug_teacher")).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def encoder_settings(tmp_path_factory):
    """Settings of the features stage with an untrained encoder."""
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    vit = VisionTransformer(img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=0)
    save_file(vit.state_dict(), path)
    return ["STAGE=features", f"FEATURES.FILE={path}", "FEATURES.BACKBONE=vit_micro"]


@pytest.fixture(params=TASKS)
def stage_cfg(request, demo_data, teacher, encoder_settings):
    """The small configuration of every stage."""
    overrides = [f"DATA.ROOT={demo_data}", "TRAIN.DROP_PATH_RATE=0.2", "MODEL.PRETRAIN_CONFIG=''"]
    overrides += [f"TRAIN.TEACHER.CHECKPOINT={teacher}"] if request.param == "distill" else []
    overrides += [f"TRAIN.{key}" for key in encoder_settings] if request.param == "features" else []
    config = {"track": "debug", "pretrain": "debug_pretrain", "features": "debug", "distill": "debug_distill"}
    return load_config("transcmd", config[request.param], overrides)


def make_task(cfg, folder="output", total_steps=8):
    return build_task(cfg, RunInfo("transcmd", folder, total_steps))


def make_trainer(cfg, folder):
    seed_step(cfg.TRAIN.SEED)
    checkpoints, logger = (
        CheckpointFolder(folder, "transcmd", "debug"),
        RunLogger(folder, "transcmd", "debug", enabled=True),
    )
    return build_trainer(cfg, make_task(cfg), build_loaders(cfg), checkpoints, logger, torch.device("cpu"))


def weights(trainer):
    return {name: value.clone() for name, value in trainer.task.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.fixture
def uninterrupted(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path / "whole")
    trainer.fit()
    return weights(trainer)


def stop_after(trainer, steps: int, signal_number=signal.SIGINT):
    """Makes the process signal itself, as Ctrl-C does, in that step of the training."""
    original, done = trainer.task.after_step, []

    def after_step():
        original()
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), signal_number)

    trainer.task.after_step = after_step


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps", [3, 4, 6])  # in the first epoch, at its end, in the second
def test_stopped_and_resumed_equals_uninterrupted_training(cfg, tmp_path, uninterrupted, steps, signal_number):
    first = make_trainer(cfg, tmp_path / "parts")
    stop_after(first, steps, signal_number)
    with pytest.raises(KeyboardInterrupt, match=r"kept .*\.pth\.tar; continue with --resume"):
        first.fit()
    second = make_trainer(cfg, tmp_path / "parts")
    second.load_state(matching_state(second.checkpoints.latest(), second))
    assert (second.epoch, second.step) == divmod(steps, 4)
    second.fit()
    assert_same(weights(second), uninterrupted)
    assert [p.name for p in sorted(second.checkpoints.path.glob("TransCMD_ep*.tar"))] == [
        "TransCMD_ep0001.pth.tar",
        "TransCMD_ep0002.pth.tar",
    ]


def test_cached_teacher_outputs_do_not_change_training(stage_cfg, tmp_path):
    trained = []
    for cache in ("", str(tmp_path / "answers"), str(tmp_path / "answers")):
        stage_cfg.TRAIN.TEACHER.CACHE = cache
        trainer = make_trainer(stage_cfg, tmp_path / f"run{len(trained)}")
        trainer.fit()
        trained.append({n: v for n, v in weights(trainer).items() if not n.startswith("teacher.")})
    for other in trained[1:]:
        assert_same(other, trained[0])
    answers = list((tmp_path / "answers").glob("*.safetensors"))
    assert len(answers) == (8 if stage_cfg.TRAIN.STAGE == "distill" else 0)  # one a step, none for the third run


def test_cache_folders_may_change_before_a_resume(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path / "run")
    stop_after(trainer, 3)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    cfg.TRAIN.TEACHER.CACHE, cfg.TRAIN.NUM_WORKER, cfg.DATA.ROOTS = str(tmp_path / "x"), 1, {"LasHeR": "elsewhere"}
    trainer.config = to_plain(cfg)
    assert matching_state(trainer.checkpoints.latest(), trainer)["step"] == 3
    cfg.TRAIN.TEACHER.CONFIG = "another"
    trainer.config = to_plain(cfg)
    with pytest.raises(ValueError, match="written with TRAIN.TEACHER.CONFIG"):
        matching_state(trainer.checkpoints.latest(), trainer)


def test_places_of_data_may_change_before_a_resume_and_the_data_may_not(cfg, tmp_path, caplog):
    own = {**OWN_DATA, "ROOT": "here/OWN"}
    cfg.DATA.CUSTOM = {"OWN": own}
    trainer = make_trainer(cfg, tmp_path / "run")
    data = {"TRAIN.OWN": "1", "TRAIN.LasHeR_train": "2", "VAL.LasHeR_val": "3"}
    trainer.manifest = {"data": data}
    stop_after(trainer, 3)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    checkpoint, before = trainer.checkpoints.latest(), to_plain(cfg)
    changes = {
        "ROOT": "there",
        "ROOTS": {"LasHeR": "there"},
        "SKIP": "there/skip.txt",
        "CUSTOM": {"OWN": {**own, "ROOT": "there/OWN"}},
    }
    for key, value in changes.items():
        trainer.config = {**before, "DATA": {**before["DATA"], key: value, "PARTIAL_DECODE": True}}
        trainer.manifest = {"data": {**data, "VAL.LasHeR_val": "4"}}
        assert matching_state(checkpoint, trainer)["step"] == 3
        trainer.manifest = {"data": {**data, "TRAIN.OWN": "5"}}
        error = rf"other sequences or annotations of TRAIN\.OWN: set DATA\.{key}[.\w]* to the same data"
        with pytest.raises(ValueError, match=error):
            matching_state(checkpoint, trainer)
    trainer.config = {**before, "DATA": {**before["DATA"], "CUSTOM": {"OWN": {**own, "MODALITY": "rgbd"}}}}
    with pytest.raises(ValueError, match=r"written with DATA\.CUSTOM\.OWN\.MODALITY rgbt"):
        matching_state(checkpoint, trainer)
    trainer.config = before
    assert matching_state(checkpoint, trainer)["step"] == 3
    assert "other sequences or annotations of TRAIN.OWN; the run goes on" in caplog.text


def test_a_run_is_not_resumed_with_weights_that_are_not_finite(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path / "run")
    stop_after(trainer, 1)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    path = trainer.checkpoints.latest()
    state = torch.load(path, weights_only=True)
    name = next(iter(state["net"]))
    state["net"][name].view(-1)[0] = float("nan")
    torch.save(state, path)
    with pytest.raises(ValueError, match=rf"1 tensors contain NaN or infinity \({name}\)"):
        matching_state(path, trainer)


def test_data_loading_processes_do_not_change_training(cfg, tmp_path, uninterrupted):
    cfg.TRAIN.NUM_WORKER = 2
    trainer = make_trainer(cfg, tmp_path / "workers")
    trainer.fit()
    assert_same(weights(trainer), uninterrupted)


def test_a_killed_data_loading_process_ends_training_between_two_steps_and_it_can_be_resumed(
    cfg, tmp_path, uninterrupted
):
    cfg.TRAIN.NUM_WORKER = 1
    first = make_trainer(cfg, tmp_path / "parts")
    original, done = first.task.after_step, []

    def after_step():  # in the middle of a step: the scheduler has moved on, the step is not counted yet
        original()
        done.append(1)
        if len(done) == 2:
            (worker,) = first.train_loader._iterator._workers
            os.kill(worker.pid, signal.SIGKILL)
            os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # torch finds it as it is, not yet waited for

    first.task.after_step = after_step
    with pytest.raises(ChildProcessError, match="a data loading process was killed .*; kept .*interrupted.pth.tar;"):
        first.fit()
    second = make_trainer(cfg, tmp_path / "parts")
    second.load_state(matching_state(second.checkpoints.latest(), second))
    assert second.epoch == 0 and second.step in (2, 3, 4)  # batches that were loaded before are used
    second.fit()
    assert_same(weights(second), uninterrupted)


class Missing(torch.utils.data.Dataset):
    """Each sample is a tensor, but the second is a file that does not exist."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 1:
            raise FileNotFoundError("no such image")
        return torch.zeros(1)


@pytest.mark.parametrize("error", [ConnectionResetError(), ConnectionRefusedError(), EOFError(), FileNotFoundError()])
def test_a_connection_that_breaks_is_a_dead_data_loading_process(error, monkeypatch):
    loader = DataLoader(Missing(), num_workers=1, persistent_workers=True, multiprocessing_context="forkserver")
    loaded = batches(loader)
    next(loaded)
    monkeypatch.setattr(loader._iterator._data_queue, "get", Mock(side_effect=error))
    with pytest.raises(RuntimeError) as caught:  # the process itself is alive
        next(loaded)
    assert is_dead_worker(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_file_is_no_dead_data_loading_process(workers):
    loaded = batches(
        DataLoader(Missing(), num_workers=workers, multiprocessing_context="forkserver" if workers else None)
    )
    next(loaded)
    with pytest.raises(FileNotFoundError, match="no such image"):
        next(loaded)


def test_a_batch_larger_than_an_epoch_is_reported(cfg, caplog):
    cfg.TRAIN.BATCH_SIZE = 100
    loader, _ = build_loaders(cfg, rank=0, world_size=2)
    assert loader.batch_sampler.plan == BatchPlan(batch=16, micro=8, processes=2, steps=1)
    expected = "TRAIN.BATCH_SIZE 100 is more than the 16 samples of an epoch"
    assert expected in caplog.text and caplog.text.count("BATCH_SIZE") == 1


def test_a_second_run_a_finished_one_and_one_that_starts_again(cfg, tmp_path, caplog):
    folder = CheckpointFolder(tmp_path, "transcmd", "debug").path
    code = (
        "import sys, time; from lib.utils.locks import lock_folder\n"
        "with lock_folder(sys.argv[1], 'training'): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, folder]
    with started(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=rf"debug: process {process.pid} on .* is at work here \(training\)"):
            train(cfg, "transcmd", "debug", tmp_path, overwrite=True)
    train(cfg, "transcmd", "debug", tmp_path)  # the holder was killed
    with caplog.at_level("INFO"):
        train(cfg, "transcmd", "debug", tmp_path, resume=True)
    assert "--resume: all 2 epochs are trained, see " in caplog.text and "epoch 3" not in caplog.text
    curves = tmp_path / "tensorboard/train/transcmd/debug"
    assert len(list(curves.iterdir())) == 2
    cfg.DATA.VAL.DATASETS_NAME, cfg.DATA.VAL.DATASETS_RATIO = [], []
    train(cfg, "transcmd", "debug", tmp_path, overwrite=True)
    assert len(list(curves.iterdir())) == 1 and not (folder / "validation.json").exists()
    assert not list(folder.glob(".*"))


def test_training_learns(cfg, tmp_path):
    """The loss on one batch, over and over, falls by half: the gradient reaches what matters."""
    cfg.TRAIN.SCHEDULER.WARMUP_STEPS, cfg.TRAIN.LR = 0, 3e-3
    trainer = make_trainer(cfg, tmp_path)
    trainer.scheduler.step = lambda: None  # keep the learning rate
    sample = next(iter(trainer.train_loader))
    losses = [trainer.optimizer_step.run([sample], step, 0.0).values["loss"].item() for step in range(200)]
    assert losses[-1] < losses[0] / 2


def test_a_non_finite_loss_stops_training_and_names_its_terms(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path)
    with torch.no_grad():
        trainer.task.model.head.size[0].weight.fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"epoch 1, step 1: the loss is not finite: focal [\d.]+, giou nan, l1 nan"
    ):
        trainer.fit()
    assert trainer.checkpoints.latest() is None


def test_validation_reports_each_modality(cfg, tmp_path):
    values = make_trainer(cfg, tmp_path).validate()
    names = ("iou", "auc", "on_distractor", "score", "iou_drop", "score_drop")
    assert set(values) == {f"{m}/{k}" for m in ("rgbt", "rgbd", "rgbe") for k in names}
    assert all(-1 <= value <= 1 for value in values.values())
    assert all(0 <= value <= 1 for name, value in values.items() if not name.endswith("_drop"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_trains(cfg, tmp_path, dtype):
    cfg.TRAIN.AMP, cfg.TRAIN.AMP_DTYPE = True, dtype
    trainer = make_trainer(cfg, tmp_path)
    before = weights(trainer)
    trainer.fit()
    after = weights(trainer)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_every_stage_resumes_exactly(stage_cfg, tmp_path):
    whole = make_trainer(stage_cfg, tmp_path / "whole")
    whole.fit()
    first = make_trainer(stage_cfg, tmp_path / "parts")
    stop_after(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = make_trainer(stage_cfg, tmp_path / "parts")
    second.load_state(matching_state(second.checkpoints.latest(), second))
    second.fit()
    assert_same(weights(second), weights(whole))
    assert not any(name.startswith("teacher.") for name in second.state()["task"])


def test_every_task_returns_terms_with_gradient_and_logs_without(stage_cfg):
    task = make_task(stage_cfg)
    terms, logs = task(next(iter(build_loaders(stage_cfg)[0])), 0.5)
    assert terms and all(term.requires_grad and term.ndim == 0 for term in terms.values())
    assert not any(value.requires_grad for value in logs.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_backbone_has_its_own_learning_rate(cfg, name):
    cfg.TRAIN.OPTIMIZER, cfg.TRAIN.LR, cfg.TRAIN.BACKBONE_MULTIPLIER = name, 1e-3, 0.1
    task = make_task(cfg)
    groups = {group["name"]: group for group in build_optimizer(cfg, task).param_groups}
    assert groups["new"]["lr"] == pytest.approx(1e-3) and groups["backbone"]["lr"] == pytest.approx(1e-4)
    sizes = {name: sum(p.numel() for p in group["params"]) for name, group in groups.items()}
    assert sum(sizes.values()) == sum(p.numel() for p in task.parameters())
    both = sizes["backbone"] + sizes["backbone/no_decay"]
    assert both == sum(p.numel() for p in task.model.encoder.parameters())


def test_gates_have_their_own_learning_rate_and_no_weight_decay(demo_data):
    cfg = load_config("transcmd", "debug_teacher", [f"DATA.ROOT={demo_data}", "TRAIN.GATE_MULTIPLIER=5"])
    groups = {group["name"]: group for group in build_optimizer(cfg, make_task(cfg)).param_groups}
    assert groups["gates"]["weight_decay"] == 0 and groups["gates"]["lr"] == pytest.approx(5 * cfg.TRAIN.LR)
    assert len(groups["gates"]["params"]) == 4  # one stage, two directions, attention and feed-forward


def test_frozen_parameters_do_not_change(cfg, tmp_path):
    cfg.TRAIN.FREEZE = ["encoder.blocks.0.", "head."]
    trainer = make_trainer(cfg, tmp_path)
    before = weights(trainer)
    trainer.fit()
    after = weights(trainer)
    frozen = [name for name in before if name.startswith(("model.encoder.blocks.0.", "model.head."))]
    assert any("running_mean" in name for name in frozen)  # batch statistics stay as well
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(
        before["model.encoder.patch_embed.proj.weight"], after["model.encoder.patch_embed.proj.weight"]
    )


def test_freezing_an_unknown_parameter_is_an_error(cfg):
    cfg.TRAIN.FREEZE = ["backbone."]
    with pytest.raises(
        ValueError,
        match="TRAIN.FREEZE: no parameter starts with 'backbone.'; the model has encoder, fusion, head, modality_emb",
    ):
        make_task(cfg)


def test_learning_rates_follow_their_schedule():
    step = schedule("step", total=100, warmup=0, drop=80, decay=0.1)
    assert [step(0), step(79), step(80), step(99)] == [1, 1, 0.1, 0.1]
    cosine = schedule("cosine", total=100, warmup=10, drop=0, decay=0.02)
    assert cosine(0) == pytest.approx(0.1, rel=1e-2)
    assert cosine(50) == pytest.approx(0.51) and cosine(100) == pytest.approx(0.02)
    values = [cosine(i) for i in range(10, 101)]
    assert values == sorted(values, reverse=True)


def test_a_test_set_is_refused_for_training_and_validation(cfg):
    cfg.DATA.VAL.DATASETS_NAME[0] = "LasHeR"
    with pytest.raises(ValueError, match="DATA.VAL.DATASETS_NAME: LasHeR is a test set; did you mean LasHeR_val"):
        build_loaders(cfg)


def test_only_milestones_and_the_newest_checkpoint_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, "transcmd", "x", keep_every=3)
    for epoch in range(1, 9):
        folder.save({"epoch": epoch}, epoch)
    assert folder.epochs() == [3, 6, 7, 8]  # milestones, and always the last two
    folder.save_interrupted({"epoch": 8, "step": 5})
    assert folder.latest() == folder.interrupted
    folder.save({"epoch": 9}, 9)
    assert folder.latest() == epoch_path(folder.path, 9) and not folder.interrupted.exists()


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, "transcmd", "x")
    folder.save({"epoch": 1}, 1)

    def full_disk(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left.*TransCMD_ep0001.pth.tar"):
        folder.save({"epoch": 1}, 1)
    monkeypatch.undo()
    assert torch.load(epoch_path(folder.path, 1), weights_only=True) == {"epoch": 1}
    assert len(list(folder.path.iterdir())) == 1  # no half file is left


def test_resuming_with_another_model_or_schedule_is_refused(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path)
    path = trainer.checkpoints.save(trainer.state(), 1)
    trainer.config = to_plain(cfg)
    trainer.config["TRAIN"]["LR"] = 0.5
    with pytest.raises(ValueError, match=r"ep0001\.pth\.tar: written with TRAIN.LR 0.001, the config has 0.5"):
        matching_state(path, trainer)
    torch.save({"net": trainer.task.model.state_dict()}, path)
    with pytest.raises(ValueError, match="config, epoch, .* missing; use it with --finetune"):
        matching_state(path, trainer)


def test_a_checkpoint_with_the_names_of_older_versions_resumes_exactly(stage_cfg, tmp_path):
    trainer = make_trainer(stage_cfg, tmp_path)
    path = trainer.checkpoints.save(trainer.state(), 1)
    old = torch.load(path, weights_only=True)
    del old["modalities"]
    old["helpers"] = {name.replace("encoder.", "vit."): value for name, value in old.pop("task").items()}
    old["net"] = {name.replace("encoder.", "vit."): value for name, value in old["net"].items()}
    assert any(name.startswith("vit.") for name in old["net"])
    torch.save(old, path)
    expected, state = trainer.state(), matching_state(path, trainer)
    for part in ("net", "task"):
        assert list(state[part]) == list(expected[part])
        torch.testing.assert_close(state[part], expected[part], atol=0, rtol=0, equal_nan=True)


def test_frozen_parts_with_names_of_older_versions_can_be_resumed(cfg, tmp_path):
    cfg.TRAIN.FREEZE = ["encoder.blocks.0."]
    trainer = make_trainer(cfg, tmp_path)
    path = trainer.checkpoints.save(trainer.state(), 1)
    old = torch.load(path, weights_only=True)
    del old["modalities"]
    old["config"]["TRAIN"]["FREEZE"] = ["vit.blocks.0."]
    torch.save(old, path)
    assert matching_state(path, trainer)["config"]["TRAIN"]["FREEZE"] == ["encoder.blocks.0."]


def test_a_parameter_group_without_a_learning_rate_is_named(cfg, tmp_path, monkeypatch):
    task = make_task(cfg)
    task.model.fusion.parameter_groups = lambda: {"gates": [task.model.fusion.up.bias]}
    groups = {group["name"]: group for group in build_optimizer(cfg, task).param_groups}
    assert groups["gates"]["params"] == [task.model.fusion.up.bias] and groups["gates"]["weight_decay"] == 0
    task.model.fusion.parameter_groups = lambda: {"slow": [task.model.fusion.up.bias]}
    with pytest.raises(ValueError, match="of the model names slow; expected new or backbone or gates"):
        build_optimizer(cfg, task)


def test_resuming_with_other_modalities_is_refused(cfg, tmp_path, monkeypatch):
    trainer = make_trainer(cfg, tmp_path)
    path = trainer.checkpoints.save(trainer.state(), 1)
    monkeypatch.setitem(MODALITIES, "nir", MODALITIES["rgbt"])
    with pytest.raises(ValueError, match="written for the modalities rgb, .*rgbe, expected .*, nir; use --finetune"):
        matching_state(path, trainer)


def test_resuming_with_another_number_of_steps_is_refused(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path)
    state = trainer.state()
    state["steps_per_epoch"] = 8
    path = trainer.checkpoints.save(state, 1)
    with pytest.raises(ValueError, match="written with 8 steps per epoch, this run has 4"):
        matching_state(path, trainer)


def test_non_finite_gradient_stops_before_it_reaches_the_weights(cfg, tmp_path):
    trainer = make_trainer(cfg, tmp_path)
    trainer.task.model.encoder.norm.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = weights(trainer)
    with pytest.raises(FloatingPointError, match="epoch 1, step 1: the gradient is not finite"):
        trainer.fit()
    for name, parameter in trainer.task.named_parameters():
        assert torch.equal(parameter, before[name])


def test_an_earlier_run_is_not_overwritten_by_accident(cfg, tmp_path):
    folder = CheckpointFolder(tmp_path, "transcmd", "debug")
    folder.save({"epoch": 1}, 1)
    with pytest.raises(ValueError, match="--resume.*--overwrite"):
        train(cfg, "transcmd", "debug", tmp_path)
    assert folder.epochs() == [1]


def test_fine_tuning_reports_weights_that_did_not_fit(cfg, tmp_path, caplog):
    net = make_task(cfg).model.state_dict()
    net["modality_embed"] = torch.zeros(2, 64)
    torch.save({"net": {k: v for k, v in net.items() if not k.startswith("head.")}}, tmp_path / "start.pth")
    cfg.TRAIN.EPOCH = cfg.TEST.EPOCH = 1
    with caplog.at_level("INFO"):
        train(cfg, "transcmd", "debug", tmp_path, finetune=str(tmp_path / "start.pth"))
    assert "mismatched: modality_embed (2, 64) in the file, (4, 64) in the model" in caplog.text
    assert "missing: head.score.0.weight" in caplog.text
    log = (tmp_path / "logs" / "transcmd-debug.log").read_text()
    assert "missing: head.score.0.weight" in log and "validation: rgbt/iou" in log
    assert list((tmp_path / "tensorboard" / "train" / "transcmd" / "debug").glob("events*"))


def test_training_works_without_a_validation_set(cfg, tmp_path):
    cfg.DATA.VAL.DATASETS_NAME, cfg.DATA.VAL.DATASETS_RATIO = [], []
    trainer = make_trainer(cfg, tmp_path)
    assert trainer.val_loader is None
    trainer.fit()
    assert isinstance(trainer.train_loader, DataLoader) and trainer.epoch == 2


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(cfg, tmp_path, caplog):
    cfg.TRAIN.SAVE_EPOCH_INTERVAL = 10
    train(cfg, "transcmd", "debug", tmp_path / "whole")
    train(cfg, "transcmd", "debug", tmp_path / "cut")
    first, second = (epoch_path(CheckpointFolder(tmp_path / "cut", "transcmd", "debug").path, n) for n in (1, 2))
    second.write_bytes(second.read_bytes()[:1000])
    train(cfg, "transcmd", "debug", tmp_path / "cut", resume=True)
    assert f"{second}: not a checkpoint, or cut off (1000 bytes); falling back to {first}" in caplog.text
    whole = epoch_path(CheckpointFolder(tmp_path / "whole", "transcmd", "debug").path, 2)
    assert_same(*(torch.load(path, weights_only=True)["net"] for path in (second, whole)))
    for path in (first, second):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="ep0002.pth.tar: not a checkpoint, or cut off"):
        train(cfg, "transcmd", "debug", tmp_path / "cut", resume=True)
    assert "there is no earlier one" in caplog.text


def test_a_validation_that_was_interrupted_is_done_first(cfg, tmp_path, uninterrupted):
    first, calls = make_trainer(cfg, tmp_path / "parts"), []
    original = first.task.evaluate

    def evaluate(sample):
        calls.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        return original(sample)

    first.task.evaluate = evaluate
    with pytest.raises(KeyboardInterrupt, match="kept .*ep0001"):
        first.fit()
    assert len(calls) == 1 and not first.checkpoints.is_validated(1)
    second = make_trainer(cfg, tmp_path / "parts")
    second.load_state(matching_state(second.checkpoints.latest(), second))
    seen = []
    second.validate = lambda: seen.append(second.epoch)
    second.fit()
    assert seen == [1, 2]
    assert_same(weights(second), uninterrupted)
    third = make_trainer(cfg, tmp_path / "parts")  # the last epoch is not validated either
    third.load_state(matching_state(third.checkpoints.latest(), third))
    third.fit()
    assert third.checkpoints.is_validated(2) and third.epoch == 2


def test_the_best_epoch_is_kept_beside_the_last(cfg, tmp_path):
    folder = CheckpointFolder(tmp_path, "transcmd", "debug", keep_every=10)
    for epoch, value in enumerate((0.3, 0.5, float("nan"), 0.4), start=1):
        folder.save({"epoch": epoch}, epoch)
        assert folder.keep_best(epoch, "auc", value, higher_is_better=True) == (epoch < 3)
    assert torch.load(folder.best, weights_only=True) == {"epoch": 2} and folder.epochs() == [3, 4]
    assert folder.keep_best(4, "loss", 0.7, higher_is_better=False)  # another metric
    trainer = make_trainer(cfg, tmp_path / "run")
    trainer.fit()
    record = json.loads(trainer.checkpoints.best_record.read_text())
    values = json.loads(trainer.checkpoints.validation.read_text())
    mean = sum(values[f"{m}/auc"] for m in ("rgbt", "rgbd", "rgbe")) / 3
    assert record["metric"] == "auc" and record["value"] >= mean
    assert torch.load(trainer.checkpoints.best, weights_only=True)["epoch"] == record["epoch"]


def test_a_checkpoint_has_a_manifest_and_can_be_reproduced(cfg, tmp_path, caplog):
    train(cfg, "transcmd", "debug", tmp_path / "first")
    folder = CheckpointFolder(tmp_path / "first", "transcmd", "debug").path
    state = torch.load(epoch_path(folder, 1), weights_only=True)
    manifest = state["manifest"]
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert set(manifest) >= {"commit", "changed", "versions", "hardware", "command", "started", "seeds", "data", "run"}
    assert len(manifest["config_hash"]) == 16
    assert manifest["versions"]["torch"] == torch.__version__.partition("+")[0] or manifest["versions"]["torch"]
    assert set(manifest["data"]) == {
        f"{part}.{name}_{part.lower()}" for part in ("TRAIN", "VAL") for name in ("LasHeR", "DepthTrack", "VisEvent")
    }
    assert reproduce(epoch_path(folder, 1), tmp_path / "again") == "epoch 1: bit-identical"
    again = CheckpointFolder(tmp_path / "again", "transcmd", "debug")
    assert again.epochs() == [1]  # it ends where the checkpoint was written
    with pytest.raises(ValueError, match="the new run would have the same folder; set another --save_dir"):
        reproduce(epoch_path(folder, 1), tmp_path / "first")
    state["manifest"]["data"]["TRAIN.LasHeR_train"] = "0" * 16
    state["manifest"]["versions"]["torch"] = "1.0"
    torch.save(state, epoch_path(folder, 1))
    with pytest.raises(ValueError, match="TRAIN.LasHeR_train: sequences or annotations are not those of the run"):
        reproduce(epoch_path(folder, 1), tmp_path / "third")
    assert "versions torch: 1.0 then, " in caplog.text
    del state["manifest"]
    torch.save(state, epoch_path(folder, 1))
    with pytest.raises(ValueError, match="has no manifest"):
        reproduce(epoch_path(folder, 1), tmp_path / "third")


def test_a_run_goes_on_with_the_same_textures_alone(tmp_path, demo_data):
    """Textures of validation may change; a checkpoint of an older version names none."""
    roots = [write_textures(tmp_path / name) for name in ("first", "second")]
    for path in (roots[1] / "backgrounds").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    settings = ["DATA.TRAIN.DATASETS_NAME=[Synthetic_train]", "DATA.TRAIN.DATASETS_RATIO=[1]", "TRAIN.EPOCH=2"]
    settings += [f"DATA.ROOT={demo_data}", "MODEL.PRETRAIN_CONFIG=''"]
    first, second = (load_config("transcmd", "debug", [*settings, f"DATA.ROOTS.Synthetic={root}"]) for root in roots)
    train(first, "transcmd", "debug", tmp_path / "run", until=1)
    path = epoch_path(CheckpointFolder(tmp_path / "run", "transcmd", "debug").path, 1)
    manifest = torch.load(path, weights_only=True)["manifest"]
    assert list(manifest["textures"]) == ["TRAIN.Synthetic_train"]
    refused = (
        r"ep0001.pth.tar: written with other textures, or by another version of what draws them: Synthetic_train \w{8} "
    )
    with pytest.raises(ValueError, match=refused + r"\(now"):
        train(second, "transcmd", "debug", tmp_path / "run", resume=True)
    train(first, "transcmd", "debug", tmp_path / "run", resume=True)
    assert CheckpointFolder(tmp_path / "run", "transcmd", "debug").epochs() == [1, 2]
    others = {name.replace("TRAIN", "VAL"): "0" * 64 for name in manifest["textures"]}
    check_textures({"textures": others}, {"textures": {name: "1" * 64 for name in others}}, path)
    check_textures({}, manifest, path)


def test_a_checkpoint_of_an_older_version_goes_on(cfg, tmp_path, caplog):
    """No manifest, the batch of one process in the config, two processes: the same batch over all."""
    trainer = make_trainer(cfg, tmp_path)
    stop_after(trainer, 4)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    path = trainer.checkpoints.latest()
    state = torch.load(path, weights_only=True)
    for key in ("manifest", "batch", "skipped"):
        del state[key]
    del state["config"]["TRAIN"]["MICRO_BATCH"], state["config"]["TRAIN"]["SKIP_NONFINITE"]
    state["config"]["TRAIN"]["BATCH_SIZE"], state["world_size"] = 2, 2
    torch.save(state, path)
    second = make_trainer(cfg, tmp_path)
    resume_from([path], second)
    assert second.epoch == 1 and "has no manifest" in caplog.text
    state["world_size"] = 1
    torch.save(state, path)
    with pytest.raises(ValueError, match="written with TRAIN.BATCH_SIZE 2, the config has 4"):
        resume_from([path], second)
