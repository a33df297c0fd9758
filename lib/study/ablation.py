"""Trains the rows of the ladder with several seeds, which can be resumed, and writes the table.

<save_dir>/settings.json                 settings of all runs
<save_dir>/heldout/                      sequences that every trained row tracks, with --textures
<save_dir>/cache/seed1/                  samples and outputs of the teacher, until all rows of the seed are finished
<save_dir>/seed1/checkpoints, logs, …    the runs; logs/transcmd-ablation/<row>.txt is the output of a run
<save_dir>/seed1/test/…                  raw results on the held-out sequences
<save_dir>/ladder.json, .md, .png, .pdf  the table of every finished run
"""

from __future__ import annotations

import itertools
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
from lib.study.clips import KINDS, load_clips, score_clips
from lib.study.ladder import ROWS, Row, draw_ladder, merge, to_json, to_markdown
from lib.train.checkpoint import read_record
from lib.train.prerequisites import is_finished, newest, training_order
from lib.utils.cli import Children, run_child, run_side_by_side, tracking_command
from lib.utils.files import write_text
from lib.utils.paths import epoch_path, results_folder

FOLDER = "ablation/"  # of the experiments
SEEDS_APART = 1000  # a run after another one continues with other samples: its seed is so much larger
HELD_OUT_SEED, HELD_OUT_SEQUENCES = 4000, 8  # of the sequences of each modality that every row tracks
# Settings with --textures
TEXTURED_DATA = (
    "DATA.SYNTHETIC=false",
    "DATA.ROOTS.Synthetic={}",
    "DATA.TRAIN.DATASETS_NAME=[Synthetic_train]",
    "DATA.TRAIN.DATASETS_RATIO=[1]",
    "DATA.VAL.DATASETS_NAME=[Synthetic_val]",
    "DATA.VAL.DATASETS_RATIO=[1]",
)
# A student that compares the search crop with the target, as `nano` does; without that, 12,000 pairs of photographs are
# too few for it (docs/method.md).
TEXTURED_MODEL = ("MODEL.FUSION.TYPE=match", "MODEL.TARGET_EMBED=true")


@dataclass(frozen=True)
class Ablation:
    """All runs of an ablation below one folder.

    Args:
        rows: keys of ROWS.
        seeds: every row is trained with each seed.
        train_sequences: number of synthetic training sequences of each modality; not used with textures.
        textures: folder of the data set Synthetic, which replaces the drawn data sets; None: those are used.
        teacher: checkpoint that replaces the one in the YAML files of the rows.
        jobs: number of parallel runs, which share the cores.
        workers: number of processes that draw samples.
        settings: values of --set, for every run.
        others: rows with seeds that ran elsewhere; the table has them as well.
        show: prints a text; called when a run starts, and with the table.
    """

    save_dir: Path
    rows: Sequence[str]
    seeds: Sequence[int]
    train_sequences: int
    textures: Path | None
    teacher: Path | None
    jobs: int
    workers: int
    device: str
    settings: Sequence[str]
    show: Callable[[str], None]
    others: Sequence[Row] = ()

    def keep_settings(self) -> None:
        """Writes the settings that all runs in `save_dir` share.

        Raises:
            ValueError: earlier runs in `save_dir` have different settings.
            FileNotFoundError: the checkpoint of the teacher is missing.
        """
        if self.teacher and not self.teacher.is_file():
            raise FileNotFoundError(f"--teacher {self.teacher}: no such checkpoint")
        teacher = str(self.teacher.resolve()) if self.teacher else ""
        settings = {"set": list(self.settings), "teacher": teacher}
        if self.textures:
            settings |= {"textures": str(self.textures), "student": list(TEXTURED_MODEL)}
        else:
            settings |= {"train_sequences": self.train_sequences}
        path = self.save_dir / "settings.json"
        if path.is_file() and (stored := json.loads(path.read_text(encoding="utf-8"))) != settings:
            raise ValueError(
                f"{path}: expected {settings}, got {stored}; these runs cannot be compared, use a different --save_dir"
            )
        write_text(path, json.dumps(settings))

    def check_others(self) -> None:
        """Raises ValueError if a run of `others` is finished here as well, or is to be trained."""
        for row in self.others:
            for seed in row.seeds:
                if (row.name in self.rows and seed in self.seeds) or self.is_finished(row.name, seed):
                    raise ValueError(
                        f"--merge: seed {seed} of {row.name} is in the table to add, and also a run of "
                        f"{self.save_dir}; expected other seeds in --seeds or another --save_dir"
                    )

    def make_data(self) -> int:
        """Makes missing synthetic data sets; returns the exit status of the command, 0 for success.

        Raises:
            ConfigError: a setting is invalid.
        """
        if self.textures:
            where = ["--output", self.heldout, "--version", 2, "--textures", self.textures, "--seed", HELD_OUT_SEED]
            sizes = ["--train_sequences", 1, "--train_frames", 12, "--test_sequences", HELD_OUT_SEQUENCES]
        else:
            where = ["--output", load_config("transcmd", "ablation/scratch", self.settings).DATA.ROOT]
            sizes = ["--train_sequences", self.train_sequences, "--test_sequences", 1]
        return run_child(tracking_command("make_demo_data.py", *where, *sizes, "--workers", self.workers))

    def train(self) -> Iterator[str]:
        """Trains all unfinished runs; yields a line for each failed run. Raises ValueError as `train_seed`."""
        for seed in self.seeds:
            for config in self.train_seed(seed):
                yield f"failed: {config}, seed {seed}: see {self.log(config, seed)}"

    def train_seed(self, seed: int) -> list[str]:
        """Trains all rows of a seed and their prerequisites. Returns the names of the failed ones.

        Raises:
            ConfigError: an experiment or a setting is invalid.
            OSError, ValueError: as `fill_caches` and `report`.
        """
        if all(self.is_finished(row, seed) for row in self.rows):
            return []
        levels = self.levels()
        self.fill_caches(seed, levels)
        failed = []
        for configs in levels:
            succeeded = run_side_by_side(partial(self.train_run, seed), configs, self.jobs)
            failed += [config for config, good in zip(configs, succeeded, strict=True) if not good]
            self.report()
        if all(self.is_finished(row, seed) for row in self.rows):
            shutil.rmtree(self.cache(seed))
        return failed

    def levels(self) -> list[list[str]]:
        """Returns the rows and their prerequisites: first those without a prerequisite, then those that need these, …

        Raises:
            ConfigError: an experiment is invalid.
        """
        orders = (training_order("transcmd", FOLDER + row, []) for row in self.rows)
        configs = dict.fromkeys(config.removeprefix(FOLDER) for config in itertools.chain.from_iterable(orders))
        depths = {config: depth_of(config) for config in configs}
        return [[config for config in depths if depths[config] == depth] for depth in range(max(depths.values()) + 1)]

    def train_run(self, seed: int, children: Children, config: str) -> bool:
        """Trains one run, unless it is finished, and stores its output. Returns whether it succeeded."""
        if self.is_finished(config, seed):
            return True
        self.show(f"seed {seed}, {config}")
        arguments = ["--config", FOLDER + config, "--resume", "--save_dir", self.folder(seed)]
        settings = self.overrides(config, seed)
        command = tracking_command("train.py", *arguments, "--device", self.device, settings=settings)
        environment = dict(os.environ)
        if self.jobs > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        log = self.log(config, seed)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as output:
            run = partial(children.run, stdout=output, stderr=subprocess.STDOUT, env=environment)
            if run(command).returncode != 0:
                return False
            if self.tracks(config):
                if run(self.tracking_command(config, seed)).returncode != 0:
                    return False
                self.score(config, seed)
        return True

    def tracks(self, config: str) -> bool:
        """Returns whether a run tracks the held-out sequences: the rows do, their prerequisites do not."""
        return self.textures is not None and config in ROWS

    def tracking_command(self, config: str, seed: int) -> list[str]:
        """Returns the command that tracks the held-out sequences with a trained row."""
        where = ["--checkpoint", self.newest(config, seed), "--save_dir", self.folder(seed), "--threads", 1]
        arguments = [FOLDER + config, "--dataset_name", *KINDS, *where]
        model = [setting for setting in (*self.student, *self.settings) if setting.startswith("MODEL.")]
        return tracking_command("test.py", "transcmd", *arguments, settings=[*model, f"DATA.ROOT={self.heldout}"])

    def score(self, config: str, seed: int) -> None:
        """Writes the mean success rate of a row over the held-out sequences.

        Raises:
            ValueError: a result is missing or invalid.
        """
        folders = {name: results_folder(self.folder(seed), "transcmd", FOLDER + config, name) for name in KINDS}
        found = score_clips(load_clips(self.heldout), {config: folders})[config]
        write_text(self.tracked(config, seed), json.dumps({"sr": found["mean"]["SR"]}))

    def fill_caches(self, seed: int, levels: Sequence[Sequence[str]]) -> None:
        """Draws the samples of a seed, for the number of epochs of the longest run that uses them.

        Raises:
            ConfigError: an experiment or a setting is invalid.
            ValueError: the cache has different settings, or a data set is invalid.
        """
        longest = {}
        for config in itertools.chain.from_iterable(levels):
            cfg = load_config("transcmd", FOLDER + config, self.overrides(config, seed))
            if cfg.DATA.CACHE not in longest or longest[cfg.DATA.CACHE].TRAIN.EPOCH < cfg.TRAIN.EPOCH:
                longest[cfg.DATA.CACHE] = cfg
        for cfg in longest.values():
            fill_cache(cfg, self.workers)

    def report(self) -> None:
        """Writes table and plot of all finished runs of all rows and seeds, and shows the table.

        Raises:
            OSError: a file cannot be written.
            ValueError: `others` measured something else, or has a run twice.
        """
        rows = []
        for name, (title, reference) in ROWS.items():
            row = Row(name, title, reference)
            for seed in sorted(int(folder.name[4:]) for folder in self.save_dir.glob("seed*")):
                if self.is_finished(name, seed):
                    validation = read_record(self.newest(name, seed).with_name("validation.json"))
                    row.add(seed, validation, read_record(self.tracked(name, seed)) if self.tracks(name) else None)
            rows.append(row)
        rows = merge(rows, self.others)
        write_text(self.save_dir / "ladder.json", to_json(rows))
        write_text(self.save_dir / "ladder.md", to_markdown(rows))
        draw_ladder(rows, self.save_dir / "ladder")
        self.show(to_markdown(rows))

    def is_finished(self, config: str, seed: int) -> bool:
        """Returns whether a run has its last checkpoint, its validation and, if it tracks, its success rate."""
        path = self.newest(config, seed)
        if path is None or not is_finished(path) or not (record := path.with_name("validation.json")).is_file():
            return False
        if self.tracks(config) and "sr" not in read_record(self.tracked(config, seed)):
            return False
        return path == epoch_path(path.parent, read_record(record)["epoch"])

    def newest(self, config: str, seed: int) -> Path | None:
        """Returns the newest checkpoint of a run, or None."""
        return newest("transcmd", FOLDER + config, self.folder(seed))

    def folder(self, seed: int) -> Path:
        """Returns the folder of the runs of a seed."""
        return self.save_dir / f"seed{seed}"

    @property
    def student(self) -> Sequence[str]:
        """The settings of the network of every row, besides its experiment."""
        return TEXTURED_MODEL if self.textures else ()

    @property
    def heldout(self) -> Path:
        """The folder of the held-out sequences."""
        return (self.save_dir / "heldout").resolve()

    def tracked(self, config: str, seed: int) -> Path:
        """Returns the file with the success rate of a run on the held-out sequences."""
        return self.folder(seed) / "test" / f"{config}.json"

    def log(self, config: str, seed: int) -> Path:
        """Returns the file with the output of a run."""
        return self.folder(seed) / "logs" / "transcmd-ablation" / f"{config}.txt"

    def cache(self, seed: int) -> Path:
        """Returns the folder of the cached samples of a seed."""
        return (self.save_dir / "cache" / f"seed{seed}").resolve()

    def overrides(self, config: str, seed: int) -> list[str]:
        """Returns the values of --set for a run. Runs after the same number of other runs use the same samples."""
        depth = depth_of(config)
        stage = load_config("transcmd", FOLDER + config).TRAIN.STAGE
        cache = self.cache(seed) / f"{depth}{'_pretrain' if stage == 'pretrain' else ''}"
        teacher = [f"TRAIN.TEACHER.CHECKPOINT={self.teacher.resolve()}"] if self.teacher else []
        data = [line.format(self.textures) for line in TEXTURED_DATA] if self.textures else []
        caches = [f"DATA.CACHE={cache}", f"TRAIN.TEACHER.CACHE={cache}/teacher"]
        return [f"TRAIN.SEED={SEEDS_APART * depth + seed}", *caches, *teacher, *data, *self.student, *self.settings]


def depth_of(config: str) -> int:
    """Returns how many other runs a run of the ablation continues. Raises ConfigError if an experiment is invalid."""
    return len(training_order("transcmd", FOLDER + config, [])) - 1
