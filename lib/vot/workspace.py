"""Workspaces of the VOT toolkit: what `vot evaluate` needs to run our trackers on a data set that is there already.

    <workspace>/config.yaml         names stack.yaml          <workspace>/sequences/list.txt         names, in order
    <workspace>/stack.yaml          the experiments           <workspace>/sequences/<name>/color, …  links
    <workspace>/trackers.ini        how trackers are started  <workspace>/sequences/<name>/sequence  size, length
    <workspace>/results/<tracker>/  what the toolkit writes

Nothing is written into the data set, and nothing is fetched: our stack names no address.
"""

from __future__ import annotations

import configparser
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import NamedTuple

import yaml

from lib.config.loader import config_name
from lib.data.sequence import Sequence
from lib.data.storage import DiskStore
from lib.tracker.build import Request, command_words
from lib.utils.cli import tracking_command
from lib.utils.files import write_text
from lib.utils.paths import PROJECT

logger = logging.getLogger(__name__)

TIMEOUT = 300  # seconds that a tracker may take to start, or for one frame
CHANNELS = ("color", "depth")  # the toolkit's names, which data sets of RGB-D give their folders too
METADATA = "sequence"  # the file that makes a folder a sequence
# The toolkit asks for newer versions of itself at every start: at a port where nobody listens.
OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
OFFLINE |= {"NO_PROXY": "", "no_proxy": ""}


class Stack(NamedTuple):
    """A set of experiments that comes with the toolkit: its name there, and the experiment's in it."""

    name: str
    experiment: str


LONG_TERM = Stack("vot2021/rgbd", "rgbd-unsupervised")
MULTI_START = Stack("vot2022/rgbd", "baseline")
EXPERIMENTS = {"multistart": "lib.vot.experiment.MultiStart"}  # the toolkit's kind → ours
STACKS = {"DepthTrack": LONG_TERM, "CDTB": LONG_TERM, "RGBD1K": LONG_TERM, "VOT-RGBD2022": MULTI_START}


def write_workspace(
    folder: Path, stack: Stack, sequences: SequenceOf[Sequence], trackers: Mapping[str, SequenceOf[str]]
) -> None:
    """Writes a workspace, or brings one up to date; results in it stay, and so do trackers with other names.

    Args:
        trackers: name → command line that speaks TraX, with absolute paths, as trackers are started elsewhere.

    Raises:
        ValueError: a tracker's name or a sequence that the toolkit would not take.
    """
    folder = Path(folder)
    for sequence in sequences:
        link_sequence(folder / "sequences" / sequence.name, sequence)
    write_text(folder / "sequences" / "list.txt", "".join(f"{sequence.name}\n" for sequence in sequences))
    write_text(folder / "trackers.ini", trackers_ini(folder / "trackers.ini", trackers))
    write_text(folder / "stack.yaml", stack_yaml(stack))
    write_text(folder / "config.yaml", "stack: stack.yaml\nregistry:\n- trackers.ini\n")


def stack_yaml(stack: Stack) -> str:
    """The toolkit's own stack, without the address of its data set, and with a multistart experiment that runs."""
    from vot.stack import resolve_stack  # here: scoring needs no toolkit

    path = resolve_stack(stack.name)
    if path is None:
        raise ValueError(f"stack '{stack.name}': this version of vot-toolkit does not have it; see requirements.txt")
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    experiment = content["experiments"][stack.experiment]
    experiment["type"] = EXPERIMENTS.get(experiment["type"], experiment["type"])
    return yaml.safe_dump({"title": content["title"], "experiments": content["experiments"]}, sort_keys=False)


def trackers_ini(path: Path, trackers: Mapping[str, SequenceOf[str]]) -> str:
    """The text of trackers.ini: what is in it by now, with these trackers added or replaced."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(path, encoding="utf-8")
    for name, command in trackers.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"tracker '{name}': the VOT toolkit takes letters, digits, - and _ alone")
        ini[name] = {
            "label": name,
            "protocol": "trax",
            "command": shlex.join(command).replace("%", "%%"),  # the toolkit reads % as the start of a reference
            "timeout": str(TIMEOUT),
        }
        if "LD_LIBRARY_PATH" in os.environ:  # the toolkit would empty it, and CUDA may be found by it
            ini[name]["env_ld_library_path"] = "$LD_LIBRARY_PATH"
    text = io.StringIO()
    ini.write(text)
    return text.getvalue()


def link_sequence(target: Path, sequence: Sequence) -> None:
    """Makes `target` a folder of links to all that the sequence's own folder holds, with the metadata that a raw
    download lacks: number of frames, size of the images, channels.

    Raises:
        ValueError: the data set is packed into one file, or its images are not numbered as the toolkit counts.
    """
    source, patterns = _find_source(sequence)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        link = target / path.name
        if not (link.is_symlink() and link.readlink() == path):
            link.unlink(missing_ok=True)
            link.symlink_to(path)
    if (source / METADATA).is_file():
        return
    height, width = sequence.frame(0).rgb.shape[:2]
    metadata = {"name": sequence.name, "format": "default", "fps": 30, "channel.default": CHANNELS[0]}
    metadata |= {f"channels.{channel}": pattern for channel, pattern in zip(CHANNELS, patterns, strict=True)}
    metadata |= {"length": len(sequence), "width": width, "height": height}
    write_text(target / METADATA, "".join(f"{key}={value}\n" for key, value in metadata.items()))


def _find_source(sequence: Sequence) -> tuple[Path, list[str]]:
    """The sequence's own folder, and how its images are named, color/%08d.jpg and the like."""
    where = f"{sequence.store.name}/{sequence.name}"
    if not isinstance(sequence.store, DiskStore):
        raise ValueError(f"{where}: the VOT toolkit reads image files; name the data set's folder, not an LMDB file")
    patterns = []
    for channel, keys in zip(CHANNELS, (sequence.rgb_keys, sequence.aux_keys), strict=True):
        pattern = f"{channel}/%08d{Path(keys[0]).suffix}"
        for number, key in enumerate(keys, start=1):
            if not f"/{key}".endswith(f"/{pattern % number}"):
                raise ValueError(f"{where}: image {number} is {key}, but the VOT toolkit looks for {pattern % number}")
        patterns.append(pattern)
    return (sequence.store.root / sequence.rgb_keys[0]).absolute().parents[1], patterns


def toolkit_name(tracker: str, config: str) -> str:
    """What the toolkit calls a tracker; it allows few characters."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{tracker}_{config_name(config)}" if config else tracker)


def tracker_command(request: Request) -> list[str]:
    """How the toolkit starts a tracker, from any folder. Raises ValueError or FileNotFoundError for a wrong one."""
    return tracking_command("vot_tracker.py", *command_words(request))


def next_steps(
    folder: Path, stack: Stack, dataset: str, first_sequence: str, name: str, options: list[str]
) -> list[str]:
    """The command lines that test, run and score a tracker in a workspace.

    Args:
        name: of the tracker in the workspace. options: for the analysis, which tell where the data set lies.
    """
    results = f"{name}={(folder / 'results' / name / stack.experiment).absolute()}"
    lines = (
        ["cd", str(folder.absolute())],
        toolkit_command("test", "--sequence", f"sequences/{first_sequence}", name),
        toolkit_command("evaluate", name),
        toolkit_command("analysis", "--name", "scores", name),
        ["cd", str(PROJECT)],
        [sys.executable, "tracking/analysis_results.py", "--benchmark", dataset, *options, "--results", results],
    )
    return [shlex.join(line) for line in lines]


def toolkit_command(*arguments: str) -> list[str]:
    """The toolkit's command line in this Python."""
    return [sys.executable, "-m", "vot", *arguments]


def run_toolkit(workspace: Path, *arguments: str, done: str) -> str:
    """Runs a command of the toolkit without the network and returns what it says.

    Args:
        done: words that it says at the end of a success: it also exits with 0 where a tracker failed.

    Raises:
        ValueError: it failed; with its last lines.
    """
    command, environment = toolkit_command(*arguments), {**os.environ, **OFFLINE}
    logger.info("%s", shlex.join(command))
    ran = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True)
    said = ran.stdout + ran.stderr
    if ran.returncode or done not in said:
        tail = " | ".join(said.strip().splitlines()[-12:])
        raise ValueError(
            f"vot {arguments[0]} failed (exit status {ran.returncode}): {tail or 'it said nothing'}; the tracker's own "
            f"words lie in {workspace}/logs, or come when its command in trackers.ini is run by hand"
        )
    return said


def read_analysis(path: Path, experiment: str) -> list:
    """The results of an experiment's analyses as `vot analysis --format json` wrote them, in the stack's order.

    Raises:
        ValueError: the file holds no such results.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["results"][experiment]["results"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: no results of {experiment} ({error!r})") from error
