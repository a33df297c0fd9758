"""Trials before a long run: what it needs, and the loss on one batch."""

import re

import pytest

from lib.config.loader import load_config
from lib.train.run import rehearse
from lib.train.trials import kept_checkpoints
from tests.train.test_trainer import cfg  # noqa: F401


def test_a_dry_run_measures_the_whole_run_and_keeps_nothing(cfg, tmp_path):  # noqa: F811
    text = rehearse(cfg, "transcmd", "debug", tmp_path / "out")
    assert [line.split("  ")[0] for line in text.splitlines()] == [
        "parameters",
        "batches",
        "memory",
        "step",
        "whole run",
        "disk",
        "loss",
    ]
    assert "4 samples per step" in text and "= 8 steps, 2 validations of" in text
    memory = re.search(r"memory +([\d.]+) ([MG]B) at most of", text)
    assert float(memory[1]) * {"MB": 1e6, "GB": 1e9}[memory[2]] > 1e8  # torch alone needs more
    size = float(re.search(r"checkpoints of ([\d.]+) MB", text)[1])
    assert 1 < size < 10 and "= 3 checkpoints" in text
    assert not (tmp_path / "out").exists()


def test_the_number_of_kept_checkpoints():
    assert [kept_checkpoints(*case) for case in ((2, 1), (10, 3), (300, 10), (1, 10))] == [2, 4, 31, 1]


def test_one_batch_is_learnt_until_the_loss_is_near_zero(cfg, tmp_path):  # noqa: F811
    # With 16 channels, a branch of the head ends in two, whose ReLUs may die.
    cfg.MODEL.HEAD.NUM_CHANNELS, cfg.TRAIN.GRAD_CLIP_NORM = 128, 0.1
    text = rehearse(cfg, "transcmd", "debug", tmp_path / "out", overfit=300)
    before, after = map(float, re.search(r"loss ([\d.]+) → ([\d.]+) ", text).groups())
    assert after < 0.01 * before and float(re.search(r", iou ([\d.]+)", text)[1]) > 0.95
    assert not (tmp_path / "out").exists()


def test_a_loss_that_does_not_fall_is_an_error(cfg, tmp_path):  # noqa: F811
    cfg.TRAIN.LR = 1e-9
    with pytest.raises(ValueError, match=r"one batch of 4 samples, 2 steps: loss .* expected at most .*TRAIN.LR"):
        rehearse(cfg, "transcmd", "debug", tmp_path / "out", overfit=2)


def test_the_first_stage_encodes_one_stream_in_half_precision():
    train = load_config("transcmd", "rgb_tiny").TRAIN
    assert train.ONE_STREAM and train.AMP and train.AMP_DTYPE == "bfloat16"
