"""Starting a training: on several machines, with plain torchrun, again after a crash; settings along a chain."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from lib.config.loader import load_config
from lib.models.build import build_model
from lib.train.build import RunInfo, load_teacher
from lib.utils import distributed
from lib.utils.paths import checkpoint_folder, epoch_path
from lib.utils.trees import to_plain
from tests.processes import ROOT, started
from tests.test_commands import training_processes, wait_for

SHORT = ["--config", "debug", "--device", "cpu", "--set", "TRAIN.EPOCH=1", "--set", "DATA.VAL.SAMPLE_PER_EPOCH=4"]


def training(folder, data, *arguments, launcher=()):
    command = [sys.executable, *launcher, ROOT / "tracking/train.py", *arguments]
    environment = {**os.environ, "TRANSCMD_DATA": str(data), "OMP_NUM_THREADS": "1"}
    return started(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def log_of(folder) -> str:
    return (folder / "output/logs/transcmd-debug.log").read_text()


def test_two_machines_train_together(demo_data, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = ["--mode", "multi_node", "--nnodes", 2, "--master_addr", "localhost", "--master_port", port]
    with (
        training(tmp_path, demo_data, *SHORT, *place, "--node_rank", 0) as first,
        training(tmp_path, demo_data, *SHORT, *place, "--node_rank", 1) as second,
    ):
        outputs = [process.communicate(timeout=150)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "4 samples per step = 2 processes x 2 per micro batch" in log_of(tmp_path)
    state = torch.load(epoch_path(checkpoint_folder(tmp_path / "output", "transcmd", "debug"), 1), weights_only=True)
    assert state["world_size"] == 2


def test_plain_torchrun_trains_as_the_command_does(demo_data, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
    with training(tmp_path, demo_data, *SHORT, launcher=launcher) as process:
        output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    assert "4 samples per step = 2 processes x 2 per micro batch" in log_of(tmp_path)


@pytest.mark.slow  # torchrun waits for the processes that are left
def test_processes_that_are_started_again_resume(demo_data, tmp_path):
    arguments = ["--config", "debug", "--device", "cpu", "--nproc_per_node", 2, "--max_restarts", 1, "--overwrite"]
    settings = ["TRAIN.EPOCH=2", "DATA.TRAIN.SAMPLE_PER_EPOCH=160", "DATA.VAL.DATASETS_NAME=[]"]
    words = [word for text in (*settings, "DATA.VAL.DATASETS_RATIO=[]") for word in ("--set", text)]
    with training(tmp_path, demo_data, *arguments, *words) as process:
        wait_for(tmp_path / "output/logs/transcmd-debug.log", "epoch 2/2 step 2/40", process)
        os.kill(training_processes(process.pid)[1], signal.SIGKILL)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    log = log_of(tmp_path)
    assert "ep0001.pth.tar: epoch 2, step 0" in log and "epoch 2/2 step 40/40" in log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nnodes", 2], "--mode multi_node needs --node_rank and --master_addr"),
        (["--nnodes", 2, "--node_rank", 2, "--master_addr", "a"], "--node_rank 2: expected 0 to 1 for --nnodes 2"),
        (["--nnodes", 2, "--mode", "multiple"], "--mode multiple contradicts --nnodes 2; remove one of them"),
        (["--mode", "multi_node", "--chain"], "--chain starts its runs on one machine"),
        (["--dry-run", "--chain"], "--dry-run and --overfit-one-batch keep nothing; remove --resume, --overwrite"),
    ],
)
def test_options_that_contradict_each_other_are_named(run_command, arguments, message):
    done = run_command("train.py", "--config", "debug", *arguments)
    assert done.returncode == 2 and f"error: {message}" in done.stderr


def test_the_process_group_waits_as_long_as_the_key_says(monkeypatch):
    given = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **options: given.update(options))
    distributed.start(
        torch.device("cpu"), load_config("transcmd", "debug", ["TRAIN.PROCESS_TIMEOUT=7"]).TRAIN.PROCESS_TIMEOUT
    )
    assert given["timeout"].total_seconds() == 420


def test_a_teacher_is_built_from_the_configuration_in_its_checkpoint(tmp_path):
    cfg = load_config("transcmd", "debug_teacher", ["MODEL.FUSION.RANK=16", "MODEL.HEAD.NUM_CHANNELS=8"])
    path = tmp_path / "teacher.pth.tar"
    torch.save({"net": build_model(cfg).state_dict(), "config": to_plain(cfg)}, path)
    student = load_config("transcmd", "debug_distill", [f"TRAIN.TEACHER.CHECKPOINT={path}"])
    teacher = load_teacher(student, RunInfo("transcmd", tmp_path, 1))
    assert teacher.head.score[0].out_channels == 8
    torch.save({"net": build_model(cfg).state_dict()}, path)  # the file of the experiment describes another one
    with pytest.raises(ValueError, match="teacher.pth.tar"):
        load_teacher(student, RunInfo("transcmd", tmp_path, 1))


@pytest.mark.slow  # three trainings
def test_settings_of_a_chain_fit_teacher_and_student(run_command, tmp_path):
    """The rank of both fusions is set once. At the last stage, the teacher must be built with it."""
    done = run_command(
        *("train.py", "--config", "debug_distill", "--chain", "--device", "cpu"),
        *("--set", "MODEL.FUSION.RANK=16", "--set", "TRAIN.EPOCH=1"),
    )
    assert done.returncode == 0, done.stderr
    for name in ("debug_pretrain", "debug_teacher", "debug_distill"):
        path = epoch_path(checkpoint_folder(tmp_path / "output", "transcmd", name), 1)
        state = torch.load(path, weights_only=True)
        assert state["config"]["MODEL"]["FUSION"]["RANK"] == 16
        if name != "debug_pretrain":
            assert any(16 in tensor.shape for key, tensor in state["net"].items() if "fusion" in key)
