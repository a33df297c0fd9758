"""Trains the rows of the ladder over several seeds, in pieces that can be resumed, and writes the table.

<save_dir>/settings.json                 what all runs share
<save_dir>/cache/seed1/                  samples and the teacher's answers, until all rows of the seed are finished
<save_dir>/seed1/checkpoints, logs, …    the runs; logs/transcmd-ablation/<row>.txt holds what one printed
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
    """All runs below one folder.

    Args:
        rows: keys of ROWS. seeds: every row is trained with each.
        train_sequences: synthetic training sequences of each kind.
        teacher: a checkpoint in place of the one that the rows' YAML names.
        jobs: runs at a time; they share the cores. workers: processes for drawing samples.
        settings: values of --set, for every run.
        say: is told what begins, and the table.
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
    say: Callable[[str], None]

    def keep_settings(self) -> None:
        """Notes what all runs of a save_dir share. Raises ValueError where earlier ones were made with others."""
        if self.teacher and not self.teacher.is_file():
            raise FileNotFoundError(f"--teacher {self.teacher}: no such checkpoint")
        teacher = str(self.teacher.resolve()) if self.teacher else ""
        asked = {"set": list(self.settings), "teacher": teacher, "train_sequences": self.train_sequences}
        path = self.save_dir / "settings.json"
        if path.is_file() and (made := json.loads(path.read_text(encoding="utf-8"))) != asked:
            raise ValueError(
                f"{path}: made with {made}, asked for {asked}, which do not compare; use another --save_dir"
            )
        write_text(path, json.dumps(asked))

    def make_data(self) -> int:
        """Makes the synthetic data sets that are missing; returns the exit status of the command."""
        root = load_config("transcmd", "ablation/scratch", self.settings).DATA.ROOT
        sizes = ["--train_sequences", self.train_sequences, "--test_sequences", 1, "--workers", self.workers]
        return run_child(tracking_command("make_demo_data.py", "--output", root, *sizes))

    def train(self) -> Iterator[str]:
        """Trains what is not finished; yields a line for each run that failed."""
        for seed in self.seeds:
            for config in self.train_seed(seed):
                yield f"failed: {config}, seed {seed}: see {self.log(config, seed)}"

    def train_seed(self, seed: int) -> list[str]:
        """All rows of a seed, and before them what they start from. Returns those that failed."""
        if all(self.is_finished(row, seed) for row in self.rows):
            return []
        self.fill_caches(seed)
        needed = {row: load_config("transcmd", f"ablation/{row}").MODEL.PRETRAIN_CONFIG for row in self.rows}
        first = sorted({config.removeprefix("ablation/") for config in needed.values() if config})
        first += [row for row in self.rows if not needed[row]]  # they wait for nothing
        failed = []
        for configs in (first, [row for row in self.rows if needed[row]]):
            succeeded = run_side_by_side(partial(self.train_run, seed), configs, self.jobs)
            failed += [config for config, good in zip(configs, succeeded, strict=True) if not good]
            self.report()
        if all(self.is_finished(row, seed) for row in ROWS):
            shutil.rmtree(self.cache(seed))
        return failed

    def train_run(self, seed: int, children: Children, config: str) -> bool:
        """One run, unless it is finished; what it printed is kept. True where it succeeded."""
        if self.is_finished(config, seed):
            return True
        self.say(f"seed {seed}, {config}")
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
        """Draws the samples of a seed, once, for all rows; as many epochs as the longest of them takes."""
        configs = [load_config("transcmd", f"ablation/{row}", self.overrides(seed)) for row in self.rows]
        fill_cache(max(configs, key=lambda cfg: cfg.TRAIN.EPOCH), self.workers)

    def report(self) -> None:
        """Writes the table and the plot of every finished run, of whatever rows and seeds, and says the table."""
        rows = []
        for name, (title, reference) in ROWS.items():
            row = Row(name, title, reference)
            for seed in sorted(int(place.name[4:]) for place in self.save_dir.glob("seed*")):
                if self.is_finished(name, seed):
                    path = self.newest(name, seed).with_name("validation.json")
                    row.add(seed, json.loads(path.read_text(encoding="utf-8")))
            rows.append(row)
        write_text(self.save_dir / "ladder.json", to_json(rows))
        write_text(self.save_dir / "ladder.md", to_markdown(rows))
        draw_ladder(rows, self.save_dir / "ladder")
        self.say(to_markdown(rows))

    def is_finished(self, config: str, seed: int) -> bool:
        """Whether a run has its last checkpoint and was validated after it."""
        path = self.newest(config, seed)
        if path is None or not is_finished(path) or not (record := path.with_name("validation.json")).is_file():
            return False
        return path == epoch_path(path.parent, json.loads(record.read_text(encoding="utf-8"))["epoch"])

    def newest(self, config: str, seed: int) -> Path | None:
        """The newest checkpoint of a run."""
        return newest("transcmd", f"ablation/{config}", self.folder(seed))

    def folder(self, seed: int) -> Path:
        return self.save_dir / f"seed{seed}"

    def log(self, config: str, seed: int) -> Path:
        return self.folder(seed) / "logs" / "transcmd-ablation" / f"{config}.txt"

    def cache(self, seed: int) -> Path:
        return (self.save_dir / "cache" / f"seed{seed}").resolve()

    def overrides(self, seed: int) -> list[str]:
        """The values of --set for the runs of a seed."""
        place = self.cache(seed)
        teacher = [f"TRAIN.TEACHER.CHECKPOINT={self.teacher.resolve()}"] if self.teacher else []
        caches = [f"DATA.CACHE={place}", f"TRAIN.TEACHER.CACHE={place}/teacher"]
        return [f"TRAIN.SEED={seed}", *caches, *teacher, *self.settings]
