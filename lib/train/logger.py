"""Text log and TensorBoard curves of a training run, written by the main process only."""

from __future__ import annotations

import logging
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class RunLogger:
    """Writes output/logs/<script>-<config>.log and output/tensorboard/train/<script>/<config>/.

    The text log contains all log messages until `close`.

    Args:
        enabled: True in the main process only; other processes log warnings only.
    """

    def __init__(self, save_dir: str | Path, script: str, config: str, enabled: bool):
        self.writer: SummaryWriter | None = None
        self.handler: logging.Handler | None = None
        if not enabled:
            logging.getLogger().setLevel(logging.WARNING)
            return
        log = Path(save_dir) / "logs" / f"{script}-{config}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.handler = logging.FileHandler(log, encoding="utf-8")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(self.handler)
        self.writer = SummaryWriter(str(Path(save_dir) / "tensorboard" / "train" / script / config))

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Adds the value at `step`, the number of optimizer steps, to each curve. Names are e.g. 'train/focal'."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def clear_curves(self) -> None:
        """Removes the curves of earlier runs; the text log keeps its lines."""
        if self.writer is None:
            return
        folder = Path(self.writer.log_dir)
        self.writer.close()
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        self.writer = SummaryWriter(str(folder))

    def close(self) -> None:
        """Closes both files and removes the log handler."""
        if self.writer is not None:
            self.writer.close()
        if self.handler is not None:
            logging.getLogger().removeHandler(self.handler)
            self.handler.close()
