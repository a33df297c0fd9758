"""Text log, curves and pictures of a training run, written by the main process only.

TensorBoard files are always written. A row of SINKS is one more place for curves and pictures, chosen with --logger.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch.utils.tensorboard import SummaryWriter


class RunNames(NamedTuple):
    """What a sink knows about the run."""

    script: str
    config: str
    save_dir: Path
    settings: dict[str, Any]  # the configuration, as plain values


class Sink(Protocol):
    """A place for curves and pictures. Steps are optimizer steps since the start of the training."""

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Adds a value at `step` to each curve, by name, e.g. "train/focal"."""
        ...

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """Adds an (H, W, 3) uint8 RGB picture."""
        ...

    def close(self) -> None:
        """Writes what is buffered. Nothing is added after it."""
        ...


class TensorBoard:
    """Writes output/tensorboard/train/<script>/<config>/."""

    def __init__(self, run: RunNames):
        self.folder = run.save_dir / "tensorboard" / "train" / run.script / run.config
        self.writer = SummaryWriter(str(self.folder))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """See `Sink.scalars`."""
        with self._named_errors():
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """See `Sink.picture`."""
        with self._named_errors():
            self.writer.add_image(name, picture, step, dataformats="HWC")

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Adds the folder to an OSError of the writer's thread, which names no file."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder)) from error

    def clear(self) -> None:
        """Removes the files of earlier runs."""
        self.writer.close()
        for path in self.folder.glob("events.out.tfevents.*"):
            path.unlink()
        self.writer = SummaryWriter(str(self.folder))

    def close(self) -> None:
        """See `Sink.close`."""
        self.writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases in the project of the name `script`. A resumed training is a new run of its group."""

    def __init__(self, run: RunNames):
        self.module = _import("wandb")
        self.run = self.module.init(
            project=run.script, name=run.config, group=run.config, dir=str(run.save_dir), config=run.settings
        )

    def scalars(self, values: dict[str, float], step: int) -> None:
        """See `Sink.scalars`."""
        self.run.log(values, step=step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """See `Sink.picture`."""
        self.run.log({name: self.module.Image(picture)}, step=step)

    def close(self) -> None:
        """See `Sink.close`."""
        self.run.finish()


class MLflow:
    """A run of MLflow in the experiment of the name `script`. MLFLOW_TRACKING_URI says where, as usual."""

    def __init__(self, run: RunNames):
        self.module = _import("mlflow")
        self.module.set_experiment(run.script)
        self.module.start_run(run_name=run.config)
        self.module.log_dict(run.settings, "config.yaml")

    def scalars(self, values: dict[str, float], step: int) -> None:
        """See `Sink.scalars`."""
        self.module.log_metrics(values, step=step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """See `Sink.picture`."""
        self.module.log_image(picture, f"{name}/{step:08d}.png")

    def close(self) -> None:
        """See `Sink.close`."""
        self.module.end_run()


# Choices of --logger, beside TensorBoard. The package of each is an extra with the same name.
SINKS: dict[str, Callable[[RunNames], Sink]] = {"wandb": WeightsAndBiases, "mlflow": MLflow}


class RunLogger:
    """Writes output/logs/<script>-<config>.log, TensorBoard's files, and to the chosen sinks.

    The text log contains all log messages until `close`.

    Args:
        enabled: True in the main process only; other processes log warnings only.
        sinks: keys of SINKS.
        settings: the configuration, for the sinks.

    Raises:
        ValueError: the package of a sink is not installed.
    """

    def __init__(
        self,
        save_dir: str | Path,
        script: str,
        config: str,
        enabled: bool,
        sinks: Sequence[str] = (),
        settings: dict[str, Any] | None = None,
    ):
        self.sinks: list[Sink] = []
        self.handler: logging.Handler | None = None
        if not enabled:
            logging.getLogger().setLevel(logging.WARNING)
            return
        run = RunNames(script, config, Path(save_dir), settings or {})
        chosen = [SINKS[name](run) for name in sinks]  # before any file is written
        log = Path(save_dir) / "logs" / f"{script}-{config}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.handler = logging.FileHandler(log, encoding="utf-8")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(self.handler)
        self.tensorboard = TensorBoard(run)
        self.sinks = [self.tensorboard, *chosen]

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Adds the value at `step`, the number of optimizer steps, to each curve. Names are e.g. 'train/focal'."""
        for sink in self.sinks:
            sink.scalars(values, step)

    def pictures(self, pictures: Sequence[np.ndarray], step: int) -> None:
        """Adds pictures of training samples, (H, W, 3) uint8 RGB each."""
        for sink in self.sinks:
            for number, picture in enumerate(pictures):
                sink.picture(f"samples/{number}", picture, step)

    def clear_curves(self) -> None:
        """Removes TensorBoard's files of earlier runs; the text log keeps its lines."""
        if self.sinks:
            self.tensorboard.clear()

    def close(self) -> None:
        """Closes all sinks and the text log, and removes the log handler."""
        for sink in self.sinks:
            sink.close()
        if self.handler is not None:
            logging.getLogger().removeHandler(self.handler)
            self.handler.close()


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"--logger {name}: cannot import {name} ({error}); install it with pip install 'transcmd[{name}]', or "
            "leave the option out"
        ) from error
