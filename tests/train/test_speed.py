"""Switches that save time or memory: the training and its result are the same with and without them."""

import contextlib

import pytest
import torch
from torch import nn

from lib.config.loader import ConfigError, load_config
from lib.data.loader import build_loaders
from lib.models.build import build_model, load_trained_model
from lib.models.network import PairNetwork, network_inputs
from lib.train.average import WeightAverage
from lib.train.speed import compile_networks, share_batch_norms, store_in_bfloat16
from lib.train.step import micro_batches
from lib.utils import distributed
from lib.utils.misc import seed_step
from lib.utils.trees import to_plain
from tests.train.processes import run_processes
from tests.train.test_processes import SETTINGS, train_part
from tests.train.test_trainer import (  # noqa: F401
    cfg,
    encoder_settings,
    make_task,
    make_trainer,
    stage_cfg,
    stop_after,
    teacher,
    weights,
)


def one_step(config, folder, prepare=lambda task: None) -> dict[str, torch.Tensor]:
    """The loss and all gradients of the first step."""
    trainer = make_trainer(config, folder)
    prepare(trainer.task)
    trainer.task.train()
    sample = next(iter(trainer.train_loader))
    found = {}

    def step(*_, **__):
        found.update({n: p.grad.clone() for n, p in trainer.task.named_parameters() if p.grad is not None})

    trainer.optimizer.step = step
    outcome = trainer.optimizer_step.run([sample], 0, 0.3)
    return {**found, "loss": outcome.values["loss"]}


def test_activation_checkpointing_has_the_same_gradients_and_keeps_less(stage_cfg, tmp_path):  # noqa: F811
    found, sizes = {}, {}
    for switch in (False, True):
        stage_cfg.TRAIN.CHECKPOINTING = switch
        sizes[switch] = 0

        def pack(tensor, switch=switch):
            sizes[switch] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            found[switch] = one_step(stage_cfg, tmp_path / str(switch))
    torch.testing.assert_close(found[True], found[False], rtol=1e-5, atol=1e-7)
    if stage_cfg.TRAIN.STAGE in ("track", "distill"):
        assert sizes[True] < sizes[False]


def test_compiled_networks_have_the_same_gradients(stage_cfg, tmp_path):  # noqa: F811
    stage_cfg.TRAIN.DROP_PATH_RATE = 0.0  # a compiled network draws other random numbers
    compiled = []

    def prepare(task):
        compile_networks(task, backend="aot_eager")  # all of torch.compile but the generated kernels
        compiled.extend(module for module in task.modules() if module._compiled_call_impl is not None)
        assert not any("_orig_mod" in name for name in task.state_dict())

    plain = one_step(stage_cfg, tmp_path / "plain")
    torch.testing.assert_close(one_step(stage_cfg, tmp_path / "fast", prepare), plain, rtol=1e-4, atol=1e-5)
    networks = {"track": 1, "pretrain": 2, "features": 1, "distill": 2}[stage_cfg.TRAIN.STAGE]
    assert len(compiled) >= 2 * networks + 2  # blocks, fusion, head


def test_the_switch_compiles(cfg, monkeypatch):  # noqa: F811
    called = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: called.append(options["backend"]))
    make_task(cfg)
    assert not called
    cfg.TRAIN.COMPILE = True
    make_task(cfg)
    assert called == ["inductor"] * 4  # two blocks, fusion, head


def test_a_teacher_in_bfloat16_answers_the_same_under_autocast(demo_data):
    config = load_config("transcmd", "debug_teacher", [f"DATA.ROOT={demo_data}"])
    seed_step(1)
    network = build_model(config).eval().requires_grad_(False)
    for parameter in network.parameters():  # also gates, which start at 0
        parameter.add_(torch.randn_like(parameter) * 0.05)
    inputs = network_inputs(next(iter(build_loaders(config)[0])))
    answers, sizes = [], []
    for prepare in (lambda _: None, store_in_bfloat16):
        prepare(network)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(*inputs)
        answers.append([*output[:4], *output.features.values(), *(path.boxes for path in output.paths.values())])
        sizes.append(sum(p.numel() * p.element_size() for p in network.parameters()))
    assert len(answers[0]) > 8 and all(torch.equal(a, b) for a, b in zip(*answers, strict=True))
    assert sizes[1] < 0.6 * sizes[0]


def test_a_distillation_with_a_teacher_in_bfloat16_is_the_same(demo_data, teacher, tmp_path):  # noqa: F811
    found = []
    for dtype in ("float32", "bfloat16"):
        settings = [f"DATA.ROOT={demo_data}", "MODEL.PRETRAIN_CONFIG=''", f"TRAIN.TEACHER.CHECKPOINT={teacher}"]
        config = load_config("transcmd", "debug_distill", [*settings, "TRAIN.AMP=true", f"TRAIN.TEACHER.DTYPE={dtype}"])
        found.append(one_step(config, tmp_path / dtype))
    assert all(torch.equal(found[1][name], value) for name, value in found[0].items())
    with pytest.raises(ConfigError, match="TRAIN.TEACHER.DTYPE bfloat16 needs TRAIN.AMP true"):
        load_config("transcmd", "debug_distill", ["TRAIN.TEACHER.DTYPE=bfloat16"])


def test_only_the_features_that_a_loss_names_are_kept(stage_cfg, tmp_path):  # noqa: F811
    def keep_all(task):
        for network in task.modules():
            if isinstance(network, PairNetwork):
                assert network.kept_layers is not None or stage_cfg.TRAIN.STAGE in ("features", "pretrain")
                network.kept_layers = None

    fewer = one_step(stage_cfg, tmp_path / "fewer")
    every = one_step(stage_cfg, tmp_path / "all", keep_all)
    assert all(torch.equal(every[name], value) for name, value in fewer.items())


def test_a_loss_without_layers_gets_the_features_of_all_blocks(demo_data, teacher, tmp_path):  # noqa: F811
    settings = [f"DATA.ROOT={demo_data}", "MODEL.PRETRAIN_CONFIG=''", f"TRAIN.TEACHER.CHECKPOINT={teacher}"]
    settings += ["TRAIN.DISTILL.SCFD=0"]
    task = make_task(load_config("transcmd", "debug_distill", settings))
    assert task.model.kept_layers == task.teacher.kept_layers == frozenset()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("lib.losses.mpsd.MPSD.layers")
        task = make_task(load_config("transcmd", "debug_distill", settings))
    assert task.model.kept_layers is None and task.teacher.kept_layers is None


def test_batch_norms_of_all_processes_are_those_of_one_process_with_the_whole_batch(demo_data, tmp_path):
    settings = [text for text in SETTINGS if "MICRO" not in text and "DROP_PATH" not in text]
    settings += ["TRAIN.DROP_PATH_RATE=0", "TRAIN.SYNC_BN=true", "TRAIN.EPOCH=1", "TEST.EPOCH=0"]
    (one,) = run_processes(train_part, tmp_path / "one", 1, str(demo_data), settings)
    two = run_processes(train_part, tmp_path / "two", 2, str(demo_data), settings)
    assert two[0]["unclipped"] == pytest.approx(one["unclipped"], rel=1e-3)
    for name, value in one["state"].items():
        if "running" in name:
            torch.testing.assert_close(two[1]["state"][name], value, rtol=1e-3, atol=1e-4)
    apart = run_processes(train_part, tmp_path / "apart", 2, str(demo_data), [*settings, "TRAIN.SYNC_BN=false"])
    assert apart[0]["unclipped"] != pytest.approx(one["unclipped"], rel=1e-2)


def test_shared_batch_norms_keep_names_and_frozen_parameters():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    network[1].weight.requires_grad_(False)
    expected, images = network.state_dict(), torch.randn(2, 3, 5, 5)
    answer = network.eval()(images)
    share_batch_norms(network)
    assert list(network.state_dict()) == list(expected) and not network[1].weight.requires_grad
    assert torch.equal(network.eval()(images), answer)


def mean_of_ranks(folder) -> dict:
    from lib.train.trainer import _Meter

    meter, rank = _Meter(), distributed.rank()
    meter.add({"loss": torch.tensor(1.0 + rank), **({"share/x": torch.tensor(5.0)} if rank else {})})
    meter.add({"loss": torch.tensor(3.0 + rank)})
    return meter.means()


def test_logged_losses_are_means_over_all_processes(tmp_path):
    assert run_processes(mean_of_ranks, tmp_path, 2) == [{"loss": 2.5, "share/x": 5.0}] * 2


def test_a_step_waits_for_the_device_once(cfg, tmp_path, monkeypatch):  # noqa: F811
    trainer = make_trainer(cfg, tmp_path)
    trainer.task.train()
    samples, waits = micro_batches(iter(trainer.train_loader), 2), []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(tensor, *arguments, original=original, name=name):
            waits.append(name)
            return original(tensor, *arguments)

        monkeypatch.setattr(torch.Tensor, name, counted)
    with contextlib.suppress(AttributeError):
        trainer.optimizer_step.run(samples, 0, 0.0)
    assert waits == ["tolist"]


def test_the_average_of_the_weights_follows_its_formula():
    network = nn.BatchNorm1d(2)
    average, expected = WeightAverage(network, 0.5), torch.ones(2)
    for number in range(12):
        with torch.no_grad():
            network.weight.add_(1.0)
            network.num_batches_tracked += 1
        average.update()
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    torch.testing.assert_close(average.tensors["weight"], expected)
    assert average.tensors["num_batches_tracked"] == 12
    with pytest.raises(RuntimeError, match="inside"), average.applied():
        assert torch.equal(network.weight, average.tensors["weight"])
        raise RuntimeError("inside")
    assert torch.equal(network.weight, torch.full((2,), 13.0))


def test_the_average_is_saved_validated_exported_and_resumed_and_leaves_the_training(cfg, tmp_path):  # noqa: F811
    plain = make_trainer(cfg, tmp_path / "plain")
    plain.fit()
    cfg.TRAIN.EMA = 0.9
    whole = make_trainer(cfg, tmp_path / "whole")
    seen, original = [], whole.task.evaluate
    whole.task.evaluate = lambda sample: (
        seen.append(whole.task.model.modality_embed.detach().clone()),
        original(sample),
    )[1]
    whole.fit()
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(whole).items())
    average = whole.optimizer_step.average.tensors
    assert torch.equal(seen[-1], average["modality_embed"])
    assert not torch.equal(seen[-1], whole.task.model.modality_embed)
    first = make_trainer(cfg, tmp_path / "parts")
    stop_after(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = make_trainer(cfg, tmp_path / "parts")
    second.load_state(torch.load(second.checkpoints.latest(), weights_only=True))
    second.fit()
    assert all(torch.equal(second.optimizer_step.average.tensors[name], value) for name, value in average.items())
    second.config = to_plain(cfg)
    exported = load_trained_model(cfg, second.checkpoints.save(second.state(), 2)).state_dict()
    assert all(torch.equal(exported[name], value) for name, value in average.items())


@pytest.mark.parametrize("setting", ["TRAIN.EMA=1", "TRAIN.ONE_STREAM=true", "TRAIN.TEACHER.DTYPE=int8"])
def test_a_switch_that_does_not_fit_is_named(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        load_config("transcmd", "debug_teacher", [setting])
