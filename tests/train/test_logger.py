"""What a run shows: curves, pictures, other places for them, and the console."""

import sys

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lib.structures import MODALITIES, take_rows
from lib.train.logger import RunLogger
from lib.train.pictures import draw_sample
from lib.utils.draw import PREDICTED, TRUTH
from tests.train.test_trainer import (  # noqa: F401
    assert_same,
    cfg,
    encoder_settings,
    make_trainer,
    stage_cfg,
    teacher,
    weights,
)


def test_curves_show_norm_rates_and_waiting_and_pictures_leave_the_training(stage_cfg, tmp_path):  # noqa: F811
    trained = []
    for interval in (0, 3):
        stage_cfg.TRAIN.PICTURE_INTERVAL = interval
        trainer = make_trainer(stage_cfg, tmp_path / str(interval))
        trainer.fit()
        trainer.run_logger.close()
        trained.append(weights(trainer))
    assert_same(*trained)
    found = EventAccumulator(str(trainer.run_logger.tensorboard.folder), size_guidance={"images": 0}).Reload()
    curves = set(found.Tags()["scalars"])
    groups = {f"lr/{group['name']}" for group in trainer.optimizer.param_groups}
    assert len(groups) > 1
    assert {"train/loss", "train/gradient_norm", "train/lr", "time/data", "time/compute", *groups} <= curves
    assert all(event.value > 0 for name in ("train/gradient_norm", "time/data") for event in found.Scalars(name))
    assert set(found.Tags()["images"]) == {"samples/0", "samples/1"}
    assert [event.step for event in found.Images("samples/1")] == [1, 3, 6]
    panels = 5 if stage_cfg.TRAIN.STAGE in ("track", "distill") else 4
    assert (found.Images("samples/1")[0].width, found.Images("samples/1")[0].height) == (panels * 64, 64)


def test_a_picture_shows_true_and_predicted_boxes_in_both_modalities(cfg, tmp_path):  # noqa: F811
    trainer = make_trainer(cfg, tmp_path)
    sample = take_rows(next(iter(trainer.train_loader)), slice(1))
    box = torch.tensor([[0.5, 0.5, 0.5, 0.25]])
    sample = sample._replace(search_box=box, present=torch.tensor([True]))
    with torch.no_grad():
        output = trainer.task.eval().predict(sample)._replace(boxes=box * torch.tensor([1, 1, 0.5, 0.5]))
    picture = draw_sample(sample, output, 0)
    assert picture.shape == (64, 5 * 64, 3) and picture.dtype == np.uint8
    for panel in (2, 3):
        part = picture[:, 64 * panel : 64 * (panel + 1)]
        assert (part[24, 16:48] == TRUTH).all() and (part[28, 24:40] == PREDICTED).all()
    absent = draw_sample(sample._replace(present=torch.tensor([False])), output, 0)
    assert not (absent[24, 128 + 30 : 128 + 48] == TRUTH).all()
    assert draw_sample(sample, None, 0).shape == (64, 4 * 64, 3) and int(sample.modality[0]) < len(MODALITIES)


class FakeTracking:
    """Stands for the modules wandb and mlflow: writes down the calls with their numbers."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return self

        return call


@pytest.mark.parametrize(
    ("name", "curve", "picture", "end"),
    [
        ("wandb", ("log", ({"train/loss": 2.0},), {"step": 7}), "Image", "finish"),
        ("mlflow", ("log_metrics", ({"train/loss": 2.0},), {"step": 7}), "log_image", "end_run"),
    ],
)
def test_other_places_get_the_same_curves_and_pictures(monkeypatch, tmp_path, name, curve, picture, end):
    fake = FakeTracking()
    monkeypatch.setitem(sys.modules, name, fake)
    image = np.zeros((2, 3, 3), np.uint8)
    with RunLogger(tmp_path, "transcmd", "debug", True, [name], {"TRAIN": {"LR": 1.0}}) as logger:
        logger.scalars({"train/loss": 2.0}, 7)
        logger.pictures([image], 7)
    assert curve in fake.calls and fake.calls[-1][0] == end
    assert any(call[0] == picture and call[1][0] is image for call in fake.calls)
    assert any({"TRAIN": {"LR": 1.0}} in (*call[1], *call[2].values()) for call in fake.calls)
    assert list((tmp_path / "tensorboard/train/transcmd/debug").iterdir())


def test_a_place_whose_package_is_missing_is_named_before_any_file_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"--logger wandb: cannot import wandb .*pip install 'transcmd\[wandb\]'"):
        RunLogger(tmp_path, "transcmd", "debug", True, ["wandb"])
    assert not list(tmp_path.iterdir())
    assert RunLogger(tmp_path, "transcmd", "debug", False, ["wandb"]).sinks == []  # not the main process


def test_the_console_is_readable_in_a_file(run_command):
    done = run_command("train.py", "--config", "debug", "--set", "TRAIN.EPOCH=1", "--set", "TRAIN.NUM_WORKER=0")
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr and "\x1b" not in done.stderr and "it/s" not in done.stderr
    assert "epoch 1/1 step 4/4: loss" in done.stderr and "% waiting for data), 00:00 left" in done.stderr
