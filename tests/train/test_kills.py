"""A training that is killed again and again ends with the same network."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from lib.config.loader import load_config
from lib.train.checkpoint import CheckpointFolder
from lib.train.run import train
from lib.utils.paths import epoch_path

EPOCHS, KILLS = 6, 20


def train_on(folder: Path, data: str) -> None:
    torch.set_num_threads(1)
    settings = [
        f"DATA.ROOT={data}",
        f"TRAIN.EPOCH={EPOCHS}",
        "TRAIN.DROP_PATH_RATE=0.2",
        "TRAIN.SAVE_EPOCH_INTERVAL=10",
    ]
    train(load_config("transcmd", "debug", settings), "transcmd", "debug", folder, resume=True, device_name="cpu")


def start(folder: Path, data: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("forkserver").Process(target=train_on, args=(folder, str(data)))
    process.start()
    return process


def is_written(folder: Path) -> bool:
    return any(True for _ in folder.glob(".*.part*"))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_kills_at_random_moments_end_in_the_same_network(demo_data, tmp_path):
    """Every other one while a file is written, if that happens in time; the others at random."""
    start(tmp_path / "whole", demo_data).join(300)
    folders = [CheckpointFolder(tmp_path / name, "transcmd", "debug") for name in ("whole", "killed")]
    chance, during, number = random.Random(1), 0, 0
    while number < KILLS:
        process, begin = start(tmp_path / "killed", demo_data), time.monotonic()
        limit = chance.uniform(0.5, 6)
        while process.is_alive() and time.monotonic() - begin < limit:
            if number % 2 and is_written(folders[1].path):
                during += 1
                break
            time.sleep(0 if number % 2 else 0.01)
        if not process.is_alive():  # it has reached the end: again from the first epoch that is left
            for path in folders[1].candidates()[:-1]:
                path.unlink()
            folders[1].validation.unlink(missing_ok=True)
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        number += 1
    process = start(tmp_path / "killed", demo_data)
    process.join(300)
    assert process.exitcode == 0 and during >= 3
    states = [torch.load(epoch_path(folder.path, EPOCHS), weights_only=True) for folder in folders]
    for part in ("net", "task"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name
    assert folders[0].validation.read_text() == folders[1].validation.read_text()
    assert not is_written(folders[1].path)
