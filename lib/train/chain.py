"""Trains an experiment after all its prerequisites, each in a separate process."""

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
    show: Callable[[str], None],
) -> int:
    """Trains all unfinished prerequisites of an experiment, then the experiment, one after the other.

    Args:
        settings: values of --set, for all experiments.
        options: options of train.py for all experiments.
        last_options: options of train.py for `config` only.
        show: prints a line; called when an experiment starts.

    Returns:
        0, or the exit status of the run that failed.

    Raises:
        ValueError: an experiment is invalid or is its own prerequisite.
    """

    def finished(name: str) -> bool:
        path = newest(script, config_name(name), save_dir)
        return path is not None and is_finished(path)

    order = training_order(script, config, list(settings), finished)
    for number, name in enumerate(order, start=1):
        if finished(name):
            show(f"{number}/{len(order)} {name}: finished")
            continue
        show(f"{number}/{len(order)} {name}")
        arguments = ["--script", script, "--config", name, "--save_dir", save_dir, *options, "--resume"]
        arguments += last_options if name == config else []
        if code := run_child(tracking_command("train.py", *arguments, settings=settings)):
            return code
    return 0
