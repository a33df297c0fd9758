"""One optimizer step: the loss scale of float16, clipping, the running statistics of batch norms."""

import pytest
import torch

from lib.train.step import OptimizerStep
from tests.train.test_trainer import cfg, make_trainer  # noqa: F401


class Scaler:
    """Scales like GradScaler of a GPU, by a constant."""

    SCALE = 1024.0

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.SCALE

    def scale(self, loss):
        return loss * self.SCALE

    def unscale_(self, optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad /= self.SCALE

    def step(self, optimizer):
        optimizer.step()

    def update(self):
        pass


def trained(trainer, step: OptimizerStep) -> list[torch.Tensor]:
    """The gradients with which the optimizer steps on the first batch."""
    found = []
    trainer.optimizer.step = lambda: found.extend(p.grad.clone() for p in step._trained() if p.grad is not None)
    trainer.task.train()
    step.run([next(iter(trainer.train_loader))], 0, 0.0)
    return found


def test_gradients_are_clipped_after_the_scale_is_taken_off(cfg, tmp_path):  # noqa: F811
    cfg.TRAIN.GRAD_CLIP_NORM = 0.5
    plain, scaled = (make_trainer(cfg, tmp_path / name) for name in ("plain", "scaled"))
    scaled.optimizer_step.scaler = Scaler()
    expected, found = (trained(trainer, trainer.optimizer_step) for trainer in (plain, scaled))
    assert torch.nn.utils.get_total_norm(found).item() == pytest.approx(0.5, rel=1e-3)
    assert scaled.optimizer_step.norm.item() == pytest.approx(plain.optimizer_step.norm.item(), rel=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_an_overflow_of_float16_is_left_to_the_scaler_until_its_scale_is_small(cfg, tmp_path):  # noqa: F811
    trainer = make_trainer(cfg, tmp_path)
    trainer.optimizer_step.scaler = scaler = Scaler()
    scaler.step = lambda optimizer: None  # it leaves the step out
    trainer.task.model.encoder.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    trainer.task.train()
    sample = next(iter(trainer.train_loader))
    assert not trainer.optimizer_step.run([sample], 0, 0.0).problem
    scaler.get_scale = lambda: 1.0
    problem = trainer.optimizer_step.run([sample], 1, 0.0).problem
    assert "the gradient is not finite: model.encoder.norm.weight" in problem


def test_a_step_with_a_problem_leaves_the_statistics_of_batch_norms(cfg, tmp_path):  # noqa: F811
    trainer = make_trainer(cfg, tmp_path)
    trainer.task.model.encoder.norm.weight.register_hook(lambda gradient: gradient * float("nan"))
    trainer.task.train()
    before = {name: value.clone() for name, value in trainer.task.state_dict().items()}
    samples = [sample for _, sample in zip(range(2), trainer.train_loader, strict=False)]
    assert trainer.optimizer_step.run(samples, 0, 0.0).problem
    for name, value in trainer.task.state_dict().items():
        assert torch.equal(value, before[name]), name
