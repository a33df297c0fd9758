"""Training in several processes: what every step does in each, and that it is the training of one process."""

import json
import math
import os
import warnings
from pathlib import Path

import pytest
import torch

from lib.config.loader import load_config
from lib.data.loader import build_loaders, build_proxy_loaders
from lib.data.sampler import PairSampler
from lib.models.head import CenterHead
from lib.train.build import RunInfo, build_task
from lib.train.checkpoint import CheckpointFolder
from lib.train.logger import RunLogger
from lib.train.run import build_trainer
from lib.train.start import resume_from
from lib.train.step import _wrap
from lib.utils import distributed
from lib.utils.misc import seed_step
from tests.train.processes import run_processes

CLIP, BASE, WARMUP, DROP = 0.05, 1e-3, 2, 1  # the last two: steps, epochs
SETTINGS = [
    "TRAIN.DROP_PATH_RATE=0.2",
    f"TRAIN.LR={BASE}",
    "TRAIN.BACKBONE_MULTIPLIER=0.5",
    "TRAIN.SCHEDULER.TYPE=step",
    "TRAIN.SCHEDULER.DECAY_RATE=0.1",
    f"TRAIN.SCHEDULER.WARMUP_STEPS={WARMUP}",
    f"TRAIN.LR_DROP_EPOCH={DROP}",
    f"TRAIN.GRAD_CLIP_NORM={CLIP}",
    "TRAIN.MICRO_BATCH=2",
]


class Recorder:
    """Writes down what a training does at every step."""

    def __init__(self, trainer):
        self.found = {
            name: []
            for name in ("rates", "decays", "norms", "unclipped", "progress", "seeds", "keys", "files", "balance")
        }
        self._record_optimizer(trainer.optimizer, trainer.optimizer_step)
        self._record_task(trainer.task)
        self._record_files()

    def _record_optimizer(self, optimizer, optimizer_step) -> None:
        step = optimizer.step

        def recorded(*args, **kwargs):
            groups = optimizer.param_groups
            self.found["rates"].append({group["name"]: group["lr"] for group in groups})
            self.found["decays"].append({group["name"]: group["weight_decay"] for group in groups})
            gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
            self.found["norms"].append(torch.nn.utils.get_total_norm(gradients).item())
            self.found["unclipped"].append(optimizer_step.norm.item())
            return step(*args, **kwargs)

        optimizer.step = recorded

    def _record_task(self, task) -> None:
        forward = task.forward

        def recorded(sample, progress):
            self.found["progress"].append(progress)
            self.found["seeds"].append(torch.initial_seed())
            return forward(sample, progress)

        task.forward = recorded

    def _record_files(self) -> None:
        replace, draw, found = os.replace, PairSampler.__getitem__, self.found

        def recorded(source, target):
            found["files"].append(Path(target).name)
            return replace(source, target)

        def drawn(sampler, key):
            if key.epoch:  # validation draws epoch 0
                found["keys"].append(list(key))
            return draw(sampler, key)

        os.replace, PairSampler.__getitem__ = recorded, drawn
        self.undo = lambda: (setattr(os, "replace", replace), setattr(PairSampler, "__getitem__", draw))


def train_part(folder: Path, data: str, settings: list[str], steps: int = 0) -> dict:
    """Trains, from the newest checkpoint if there is one, until the end or for `steps` steps; returns the record."""
    cfg = load_config("transcmd", "debug", [f"DATA.ROOT={data}", *settings])
    seed_step(cfg.TRAIN.SEED)
    sharing = distributed.rank(), distributed.world_size()
    loaders, checkpoints = build_loaders(cfg, *sharing), CheckpointFolder(folder, "transcmd", "debug")
    task = build_task(cfg, RunInfo("transcmd", folder, cfg.TRAIN.EPOCH * loaders[0].batch_sampler.plan.steps))
    logger = RunLogger(folder, "transcmd", "debug", enabled=distributed.is_main())
    proxies = build_proxy_loaders(cfg, *sharing)
    trainer = build_trainer(cfg, task, loaders, checkpoints, logger, torch.device("cpu"), proxies)
    if checkpoints.latest():
        resume_from(checkpoints.candidates(), trainer)
    recorder, stopped = Recorder(trainer), False
    if steps and distributed.rank() == distributed.world_size() - 1:  # one process alone is told to stop
        after = trainer.task.after_step

        def after_step():
            after()
            trainer.stop.requested = trainer.stop.requested or len(recorder.found["norms"]) >= steps

        trainer.task.after_step = after_step
    try:
        trainer.fit()
    except KeyboardInterrupt:
        stopped = True
    recorder.undo()
    state = {name: value.clone() for name, value in trainer.task.state_dict().items()}
    return {**recorder.found, "state": state, "stopped": stopped, "epoch": trainer.epoch, "step": trainer.step}


@pytest.fixture(scope="module")
def two(demo_data, tmp_path_factory):
    """The folder of a run of two processes, with the records of both."""
    folder = tmp_path_factory.mktemp("two")
    return folder, run_processes(train_part, folder, 2, str(demo_data), SETTINGS)


def test_every_process_has_the_scheduled_learning_rates_and_the_progress_at_every_step(two):
    for record in two[1]:
        assert len(record["rates"]) == 8  # 16 samples, 4 a step, 2 epochs
        for step, rates in enumerate(record["rates"]):
            factor = min(1.0, (step + 1) / WARMUP) * (0.1 if step >= 4 * DROP else 1.0)
            for name, rate in rates.items():
                assert rate == pytest.approx(BASE * factor * (0.5 if name.startswith("backbone") else 1.0)), (
                    step,
                    name,
                )
        assert record["progress"] == [step / 8 for step in range(8)]
        for decays in record["decays"]:
            assert decays == {"new": 1e-4, "new/no_decay": 0, "backbone": 1e-4, "backbone/no_decay": 0}


def test_gradients_are_clipped_and_equal_in_all_processes(two):
    records = two[1]
    for norm, other in zip(*(record["norms"] for record in records), strict=True):
        assert norm == pytest.approx(CLIP, rel=1e-3) and norm == other
    for name, value in records[0]["state"].items():
        assert torch.equal(value, records[1]["state"][name]), name


def test_every_step_and_process_has_its_own_noise_and_samples(two):
    seeds = [seed for record in two[1] for seed in record["seeds"]]
    assert len(set(seeds)) == len(seeds) == 16
    keys = [[tuple(key) for key in record["keys"]] for record in two[1]]
    assert not set(keys[0]) & set(keys[1])
    assert sorted(keys[0] + keys[1]) == [(epoch, index) for epoch in (1, 2) for index in range(16)]


def test_only_one_process_writes_files(two):
    files = [record["files"] for record in two[1]]
    assert {"TransCMD_ep0001.pth.tar", "TransCMD_ep0002.pth.tar", "validation.json"} <= set(files[0])
    assert not files[1]


def assert_close(state: dict, expected: dict) -> None:
    """Equal to rounding: AdamW divides by the size of the gradient, so that rounding can be of the size of a step."""
    assert state.keys() == expected.keys()
    worst = max((state[n].double() - expected[n].double()).abs().max().item() for n in state if state[n].numel())
    assert worst < 2e-4, worst


def test_one_process_with_accumulation_is_the_training_of_two(two, demo_data, tmp_path):
    (one,) = run_processes(train_part, tmp_path, 1, str(demo_data), SETTINGS)
    assert one["norms"] == pytest.approx(two[1][0]["norms"], rel=1e-4)
    assert one["unclipped"] == pytest.approx(two[1][0]["unclipped"], rel=1e-3) and min(one["unclipped"]) > CLIP
    assert len(one["norms"]) == 8 and len(one["seeds"]) == 16
    both = [seed for pair in zip(*(record["seeds"] for record in two[1]), strict=True) for seed in pair]
    assert one["seeds"] == both  # the noise of a micro batch is that of its place in the batch
    assert_close(one["state"], two[1][0]["state"])
    assert not torch.equal(one["state"]["model.modality_embed"], torch.zeros(4, 64))


def test_a_run_goes_on_in_another_number_of_processes_in_the_middle_of_an_epoch(two, demo_data, tmp_path):
    """2 → 1 → 4 processes; one of several is told to stop, and all stop at the same step."""
    keys, settings = [], [*SETTINGS[:-1], "TRAIN.MICRO_BATCH=1"]
    expected = run_processes(train_part, tmp_path / "whole", 1, str(demo_data), settings)[0]
    for processes, steps, reached in ((2, 2, (0, 2)), (1, 3, (1, 1)), (4, 0, (2, 0))):
        records = run_processes(train_part, tmp_path, processes, str(demo_data), settings, steps)
        assert {(record["epoch"], record["step"]) for record in records} == {reached}
        assert all(record["stopped"] == bool(steps) for record in records)
        shares = [record["keys"] for record in records]
        keys += [tuple(key) for together in zip(*shares, strict=True) for key in together]
    order = [(epoch, index) for epoch in (1, 2) for index in range(16)]
    drawn = list(dict.fromkeys(keys))  # a stopped process may have loaded a batch that was not trained
    assert drawn == order
    assert_close(records[0]["state"], expected["state"])


def test_fewer_validation_samples_than_processes_are_all_used(demo_data, tmp_path):
    settings = [
        *SETTINGS,
        "DATA.VAL.SAMPLE_PER_EPOCH=3",
        "TRAIN.EPOCH=1",
        "TRAIN.LR_DROP_EPOCH=1",
        "TRAIN.MICRO_BATCH=1",
    ]
    settings += ["DATA.PROXY.DATASETS_NAME=[LasHeR_val]", "DATA.PROXY.SAMPLE_PER_EPOCH=1"]
    found = {}
    for processes in (1, 4):
        folder = tmp_path / str(processes)
        run_processes(train_part, folder, processes, str(demo_data), settings)
        found[processes] = json.loads(
            (CheckpointFolder(folder, "transcmd", "debug").path / "validation.json").read_text()
        )
    assert found[4].keys() == found[1].keys() and "LasHeR_val/auc" in found[4]
    for name, value in found[1].items():
        assert math.isfinite(value) and found[4][name] == pytest.approx(value, abs=1e-3), name


def head_warnings(folder: Path) -> list[str]:
    """Returns the warnings of a step of a head. In so large a batch, its last weights and gradients differ in order."""
    tokens = torch.randn(16, 144, 64)
    with warnings.catch_warnings(record=True) as warned:
        head = _wrap(CenterHead(64, 64), torch.device("cpu"))
        score, size, offset = head(tokens.transpose(1, 2).unflatten(2, (12, 12)))
        (score.sum() + size.sum() + offset.sum()).backward()
    return [str(warning.message) for warning in warned]


def test_another_memory_order_of_a_few_gradients_is_no_warning_of_each_process(tmp_path):
    assert run_processes(head_warnings, tmp_path, 2) == [[], []]
