"""Trains an experiment after all that it starts from, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lib.config.loader import config_name
from lib.train.prerequisites import is_finished, newest, training_order
from lib.utils.cli import run_child, tracking_command


def train_chain(
    script: str,
    config: str,
    save_dir: str | Path,
    settings: Sequence[str],
    options: Sequence[str],
    last_options: Sequence[str],
    say: Callable[[str], None],
) -> int:
    """Trains everything that the experiment builds on and that is not finished, then the experiment, one by one.

    Args:
        settings: values of --set, for all of them. options: of train.py, for all. last_options: for `config` alone.
        say: is told what begins.

    Returns:
        0, or the exit status of the run that failed.
    """

    def finished(name: str) -> bool:
        path = newest(script, config_name(name), save_dir)
        return path is not None and is_finished(path)

    order = training_order(script, config, list(settings), finished)
    for number, name in enumerate(order, start=1):
        if finished(name):
            say(f"{number}/{len(order)} {name}: finished")
            continue
        say(f"{number}/{len(order)} {name}")
        arguments = ["--script", script, "--config", name, "--save_dir", save_dir, *options, "--resume"]
        arguments += last_options if name == config else []
        if code := run_child(tracking_command("train.py", *arguments, settings=settings)):
            return code
    return 0
