"""A loss or a gradient that is not finite: nothing is poisoned; the step is kept and can be run again or left out."""

import math

import pytest
import torch

from lib.train.replay import read_replay
from lib.train.run import replay
from tests.train.states import matching_state
from tests.train.test_trainer import assert_same, cfg, make_trainer, weights  # noqa: F401


def break_step(trainer, number: int, what: str = "gradient"):
    """Makes the loss or a gradient of one step, counted from 1, infinite in all processes."""
    original, calls = trainer.task.forward, []

    def forward(sample, progress):
        terms, logs = original(sample, progress)
        calls.append(1)
        if len(calls) == number:
            if what == "gradient":
                terms["l1"].register_hook(lambda gradient: gradient * float("nan"))
            else:
                terms["l1"] = terms["l1"] * float("inf")
        return terms, logs

    trainer.task.forward = forward


@pytest.mark.parametrize("what", ["gradient", "loss"])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_step_that_is_not_finite_poisons_no_checkpoint(cfg, tmp_path, clip, what):  # noqa: F811
    """It is the last step of the second epoch; the state that is kept is that of the first, and training goes on."""
    cfg.TRAIN.GRAD_CLIP_NORM = clip
    trainer = make_trainer(cfg, tmp_path)
    break_step(trainer, 8, what)
    with pytest.raises(FloatingPointError, match=f"epoch 2, step 4: the {what} is not finite.*--replay .*replay.pt"):
        trainer.fit()
    assert trainer.checkpoints.epochs() == [1]
    assert all(value.isfinite().all() for value in trainer.task.state_dict().values())
    again = make_trainer(cfg, tmp_path)
    again.load_state(matching_state(again.checkpoints.latest(), again))
    again.fit()
    whole = make_trainer(cfg, tmp_path / "whole")
    whole.fit()
    assert_same(weights(again), weights(whole))


def test_the_stopped_step_is_kept_with_its_samples_and_runs_again(cfg, tmp_path, monkeypatch):  # noqa: F811
    cfg.TRAIN.MICRO_BATCH = 2
    trainer = make_trainer(cfg, tmp_path)
    with torch.no_grad():
        trainer.task.model.head.size[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="the loss is not finite: micro batch 1 of 2: focal .*giou nan"):
        trainer.fit()
    path = trainer.checkpoints.path / "replay.pt"
    content = read_replay(path)
    assert content["keys"] == [[1, 0], [1, 1], [1, 2], [1, 3]] and content["step"] == 0
    assert len(content["terms"]) == 2 and all(math.isnan(terms["giou"]) for terms in content["terms"])
    dataset = trainer.train_loader.dataset
    for number, key in enumerate(trainer.train_loader.batch_sampler.keys(0, 4)):
        kept = content["samples"][number // 2].search.rgb[number % 2]
        assert torch.equal(kept, dataset[key].search.rgb)
    with pytest.raises(FloatingPointError, match="epoch 1, step 1: the loss is not finite: .*giou nan"):
        replay(path, device_name="cpu")
    state = torch.load(path, weights_only=True)
    state["state"]["net"]["head.size.0.weight"][0, 0, 0, 0] = 0.0
    torch.save(state, path)
    values = replay(path, device_name="cpu")
    assert set(values) >= {"loss", "focal", "giou", "l1", "gradient norm"} and all(map(math.isfinite, values.values()))


def test_the_replay_of_a_good_step_has_the_values_of_training(cfg, tmp_path):  # noqa: F811
    trainer = make_trainer(cfg, tmp_path)
    break_step(trainer, 3, "loss")
    with pytest.raises(FloatingPointError):
        trainer.fit()
    values = replay(trainer.checkpoints.path / "replay.pt", device_name="cpu")  # whose task is whole
    whole, seen = make_trainer(cfg, tmp_path / "whole"), []
    original = whole.optimizer_step.run
    whole.optimizer_step.run = lambda *args: seen.append(original(*args)) or seen[-1]
    whole.fit()
    assert values["loss"] == seen[2].values["loss"].item()


def test_another_file_is_no_replay(tmp_path):
    torch.save({"net": {}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="x.pt: not a file of a stopped step, keys, problem, .* missing"):
        read_replay(tmp_path / "x.pt")


def test_some_steps_may_be_left_out(cfg, tmp_path, caplog):  # noqa: F811
    cfg.TRAIN.SKIP_NONFINITE = 1
    trainer = make_trainer(cfg, tmp_path)
    break_step(trainer, 2)
    before = {}
    original = trainer.optimizer_step.skip

    def skip():
        before.update(weights(trainer))
        original()
        assert_same(weights(trainer), before)

    trainer.optimizer_step.skip = skip
    trainer.fit()
    assert before and trainer.skipped == 1 and trainer.epoch == 2
    assert "epoch 1, step 2: the gradient is not finite: " in caplog.text and "1 of at most 1" in caplog.text
    assert trainer.scheduler.last_epoch == 8  # the schedule goes on
    second = make_trainer(cfg, tmp_path / "second")
    second.load_state({**trainer.state(), "epoch": 1})
    break_step(second, 1)
    with pytest.raises(FloatingPointError, match="epoch 2, step 1"):
        second.fit()  # the number is that of the whole run


def test_a_network_that_is_not_finite_is_not_saved(cfg, tmp_path):  # noqa: F811
    trainer = make_trainer(cfg, tmp_path)
    original, calls = trainer.task.after_step, []

    def after_step():
        original()
        calls.append(1)
        if len(calls) == 8:
            trainer.task.model.head.size[1].running_mean[0] = float("inf")

    trainer.task.after_step = after_step
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 4: 1 tensors contain NaN .*; the epoch is not saved"):
        trainer.fit()
    assert trainer.checkpoints.epochs() == [1]
