"""Trains the rows of the ladder with several seeds, which can be resumed, and writes the table.

<save_dir>/settings.json                 settings of all runs
<save_dir>/cache/seed1/                  samples and outputs of the teacher, until all rows of the seed are finished
<save_dir>/seed1/checkpoints, logs, …    the runs; logs/transcmd-ablation/<row>.txt is the output of a run
<save_dir>/ladder.json, .md, .png, .pdf  the table of every finished run
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.config.loader import load_config
from lib.data.loader import fill_cache
from lib.study.ladder import ROWS, Row, draw_ladder, to_json, to_markdown
from lib.train.prerequisites import is_finished, newest
from lib.utils.cli import Children, run_child, run_side_by_side, tracking_command
from lib.utils.files import write_text
from lib.utils.paths import epoch_path


@dataclass(frozen=True)
class Ablation:
    """All runs of an ablation below one folder.

    Args:
        rows: keys of ROWS.
        seeds: every row is trained with each seed.
        train_sequences: number of synthetic training sequences of each modality.
        teacher: checkpoint that replaces the one in the YAML files of the rows.
        jobs: number of parallel runs, which share the cores.
        workers: number of processes that draw samples.
        settings: values of --set, for every run.
        show: prints a text; called when a run starts, and with the table.
    """

    save_dir: Path
    rows: Sequence[str]
    seeds: Sequence[int]
    train_sequences: int
    teacher: Path | None
    jobs: int
    workers: int
    device: str
    settings: Sequence[str]
    show: Callable[[str], None]

    def keep_settings(self) -> None:
        """Writes the settings that all runs in `save_dir` share.

        Raises:
            ValueError: earlier runs in `save_dir` have different settings.
            FileNotFoundError: the checkpoint of the teacher is missing.
        """
        if self.teacher and not self.teacher.is_file():
            raise FileNotFoundError(f"--teacher {self.teacher}: no such checkpoint")
        teacher = str(self.teacher.resolve()) if self.teacher else ""
        settings = {"set": list(self.settings), "teacher": teacher, "train_sequences": self.train_sequences}
        path = self.save_dir / "settings.json"
        if path.is_file() and (stored := json.loads(path.read_text(encoding="utf-8"))) != settings:
            raise ValueError(
                f"{path}: expected {settings}, got {stored}; these runs cannot be compared, use a different --save_dir"
            )
        write_text(path, json.dumps(settings))

    def make_data(self) -> int:
        """Makes missing synthetic data sets; returns the exit status of the command, 0 for success.

        Raises:
            ConfigError: a setting is invalid.
        """
        root = load_config("transcmd", "ablation/scratch", self.settings).DATA.ROOT
        sizes = ["--train_sequences", self.train_sequences, "--test_sequences", 1, "--workers", self.workers]
        return run_child(tracking_command("make_demo_data.py", "--output", root, *sizes))

    def train(self) -> Iterator[str]:
        """Trains all unfinished runs; yields a line for each failed run. Raises ValueError as `train_seed`."""
        for seed in self.seeds:
            for config in self.train_seed(seed):
                yield f"failed: {config}, seed {seed}: see {self.log(config, seed)}"

    def train_seed(self, seed: int) -> list[str]:
        """Trains all rows of a seed and their prerequisites. Returns the names of the failed ones.

        Raises:
            ConfigError: an experiment or a setting is invalid.
        """
        if all(self.is_finished(row, seed) for row in self.rows):
            return []
        self.fill_caches(seed)
        needed = {row: load_config("transcmd", f"ablation/{row}").MODEL.PRETRAIN_CONFIG for row in self.rows}
        first = sorted({config.removeprefix("ablation/") for config in needed.values() if config})
        first += [row for row in self.rows if not needed[row]]  # these have no prerequisite
        failed = []
        for configs in (first, [row for row in self.rows if needed[row]]):
            succeeded = run_side_by_side(partial(self.train_run, seed), configs, self.jobs)
            failed += [config for config, good in zip(configs, succeeded, strict=True) if not good]
            self.report()
        if all(self.is_finished(row, seed) for row in ROWS):
            shutil.rmtree(self.cache(seed))
        return failed

    def train_run(self, seed: int, children: Children, config: str) -> bool:
        """Trains one run, unless it is finished, and stores its output. Returns whether it succeeded."""
        if self.is_finished(config, seed):
            return True
        self.show(f"seed {seed}, {config}")
        arguments = ["--config", f"ablation/{config}", "--resume", "--save_dir", self.folder(seed)]
        command = tracking_command("train.py", *arguments, "--device", self.device, settings=self.overrides(seed))
        environment = dict(os.environ)
        if self.jobs > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        log = self.log(config, seed)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as output:
            return children.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode == 0

    def fill_caches(self, seed: int) -> None:
        """Draws the samples of a seed for all rows, for the number of epochs of the longest row.

        Raises:
            ConfigError: an experiment or a setting is invalid.
            ValueError: the cache has different settings, or a data set is invalid.
        """
        configs = [load_config("transcmd", f"ablation/{row}", self.overrides(seed)) for row in self.rows]
        fill_cache(max(configs, key=lambda cfg: cfg.TRAIN.EPOCH), self.workers)

    def report(self) -> None:
        """Writes table and plot of all finished runs of all rows and seeds, and shows the table.

        Raises:
            OSError: a file cannot be written.
        """
        rows = []
        for name, (title, reference) in ROWS.items():
            row = Row(name, title, reference)
            for seed in sorted(int(folder.name[4:]) for folder in self.save_dir.glob("seed*")):
                if self.is_finished(name, seed):
                    path = self.newest(name, seed).with_name("validation.json")
                    row.add(seed, json.loads(path.read_text(encoding="utf-8")))
            rows.append(row)
        write_text(self.save_dir / "ladder.json", to_json(rows))
        write_text(self.save_dir / "ladder.md", to_markdown(rows))
        draw_ladder(rows, self.save_dir / "ladder")
        self.show(to_markdown(rows))

    def is_finished(self, config: str, seed: int) -> bool:
        """Returns whether a run has its last checkpoint and the validation of its last epoch."""
        path = self.newest(config, seed)
        if path is None or not is_finished(path) or not (record := path.with_name("validation.json")).is_file():
            return False
        return path == epoch_path(path.parent, json.loads(record.read_text(encoding="utf-8"))["epoch"])

    def newest(self, config: str, seed: int) -> Path | None:
        """Returns the newest checkpoint of a run, or None."""
        return newest("transcmd", f"ablation/{config}", self.folder(seed))

    def folder(self, seed: int) -> Path:
        """Returns the folder of the runs of a seed."""
        return self.save_dir / f"seed{seed}"

    def log(self, config: str, seed: int) -> Path:
        """Returns the file with the output of a run."""
        return self.folder(seed) / "logs" / "transcmd-ablation" / f"{config}.txt"

    def cache(self, seed: int) -> Path:
        """Returns the folder of the cached samples of a seed."""
        return (self.save_dir / "cache" / f"seed{seed}").resolve()

    def overrides(self, seed: int) -> list[str]:
        """Returns the values of --set for the runs of a seed."""
        cache = self.cache(seed)
        teacher = [f"TRAIN.TEACHER.CHECKPOINT={self.teacher.resolve()}"] if self.teacher else []
        caches = [f"DATA.CACHE={cache}", f"TRAIN.TEACHER.CACHE={cache}/teacher"]
        return [f"TRAIN.SEED={seed}", *caches, *teacher, *self.settings]
