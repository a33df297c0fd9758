"""Workspaces of the VOT toolkit: the files with which `vot evaluate` runs our trackers on an existing data set.

    <workspace>/config.yaml         names stack.yaml          <workspace>/sequences/list.txt         names, in order
    <workspace>/stack.yaml          the experiments           <workspace>/sequences/<name>/color, …  links
    <workspace>/trackers.ini        commands of the trackers  <workspace>/sequences/<name>/sequence  size, length
    <workspace>/results/<tracker>/  results of the toolkit

The data set is not changed, and nothing is downloaded, because our stack contains no address.
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
from lib.utils.cli import Children, tracking_command
from lib.utils.files import write_text
from lib.utils.paths import PROJECT

logger = logging.getLogger(__name__)

TIMEOUT = 300  # largest time to start a tracker or to track one frame, seconds
CHANNELS = ("color", "depth")  # names in the toolkit and of the folders in RGB-D data sets
METADATA = "sequence"  # the file that marks a folder as a sequence
# The toolkit searches for new versions at every start. This proxy does not exist, which disables the search.
OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
OFFLINE |= {"NO_PROXY": "", "no_proxy": ""}


class Stack(NamedTuple):
    """A set of experiments of the toolkit: its name, and the name of the experiment in it."""

    name: str
    experiment: str


LONG_TERM = Stack("vot2021/rgbd", "rgbd-unsupervised")
MULTI_START = Stack("vot2022/rgbd", "baseline")
EXPERIMENTS = {"multistart": "lib.vot.experiment.MultiStart"}  # class in the toolkit → our class
STACKS = {"DepthTrack": LONG_TERM, "CDTB": LONG_TERM, "RGBD1K": LONG_TERM, "VOT-RGBD2022": MULTI_START}


def write_workspace(
    folder: Path, stack: Stack, sequences: SequenceOf[Sequence], trackers: Mapping[str, SequenceOf[str]]
) -> None:
    """Writes or updates a workspace. Results and trackers with other names are kept.

    Args:
        trackers: name → command of a TraX tracker, with absolute paths, because it starts in a different folder.

    Raises:
        ValueError: the toolkit does not accept the name of a tracker or a sequence, or does not have the stack.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    for sequence in sequences:
        link_sequence(folder / "sequences" / sequence.name, sequence)
    write_text(folder / "sequences" / "list.txt", "".join(f"{sequence.name}\n" for sequence in sequences))
    write_text(folder / "trackers.ini", trackers_ini(folder / "trackers.ini", trackers))
    write_text(folder / "stack.yaml", stack_yaml(stack))
    write_text(folder / "config.yaml", "stack: stack.yaml\nregistry:\n- trackers.ini\n")


def stack_yaml(stack: Stack) -> str:
    """Returns the toolkit's stack as YAML, without the address of its data set and with our multistart experiment.

    Raises:
        ValueError: this version of the toolkit does not have the stack.
    """
    from vot.stack import resolve_stack  # here, because scoring does not need the toolkit

    path = resolve_stack(stack.name)
    if path is None:
        raise ValueError(f"stack '{stack.name}': this version of vot-toolkit does not have it; see requirements.txt")
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    experiment = content["experiments"][stack.experiment]
    experiment["type"] = EXPERIMENTS.get(experiment["type"], experiment["type"])
    return yaml.safe_dump({"title": content["title"], "experiments": content["experiments"]}, sort_keys=False)


def trackers_ini(path: Path, trackers: Mapping[str, SequenceOf[str]]) -> str:
    """Returns the text of trackers.ini with these trackers added or replaced.

    Args:
        path: the existing file, if any.

    Raises:
        ValueError: the toolkit does not accept the name of a tracker.
    """
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(path, encoding="utf-8")
    for name, command in trackers.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"tracker '{name}': the VOT toolkit accepts only letters, digits, - and _")
        ini[name] = {
            "label": name,
            "protocol": "trax",
            "command": shlex.join(command).replace("%", "%%"),  # the toolkit interprets % as a reference
            "timeout": str(TIMEOUT),
        }
        if "LD_LIBRARY_PATH" in os.environ:  # the toolkit would clear it, but CUDA may need it
            ini[name]["env_ld_library_path"] = "$LD_LIBRARY_PATH"
    text = io.StringIO()
    ini.write(text)
    return text.getvalue()


def link_sequence(target: Path, sequence: Sequence) -> None:
    """Makes `target` a folder with links to the files of a sequence, and with metadata for the toolkit.

    The metadata, which raw downloads do not have, are the number of frames, the size of the images and the channels.

    Raises:
        ValueError: the data set is an LMDB file, or its images are not numbered as the toolkit expects.
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
    """Returns the folder of a sequence and the patterns of its image names, e.g. color/%08d.jpg."""
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
    """Returns the name of a tracker in the toolkit, which allows only letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{tracker}_{config_name(config)}" if config else tracker)


def tracker_command(request: Request) -> list[str]:
    """Returns the command with which the toolkit starts a tracker from any folder.

    Raises:
        ValueError: the tracker, the experiment or an argument is invalid.
        FileNotFoundError: the checkpoint or a file of the tracker is missing.
    """
    return tracking_command("vot_tracker.py", *command_words(request))


def next_steps(
    folder: Path, stack: Stack, dataset: str, first_sequence: str, name: str, options: list[str]
) -> list[str]:
    """Returns the command lines that test, run and score a tracker in a workspace.

    Args:
        name: name of the tracker in the workspace.
        options: options of the analysis that define the folder of the data set.
    """
    results = f"{name}={(folder / 'results' / name / stack.experiment).absolute()}"
    commands = (
        ["cd", str(folder.absolute())],
        toolkit_command("test", "--sequence", f"sequences/{first_sequence}", name),
        toolkit_command("evaluate", name),
        toolkit_command("analysis", "--name", "scores", name),
        ["cd", str(PROJECT)],
        [sys.executable, "tracking/analysis_results.py", "--benchmark", dataset, *options, "--results", results],
    )
    return [shlex.join(command) for command in commands]


def toolkit_command(*arguments: str) -> list[str]:
    """Returns a command line of the toolkit with this Python interpreter."""
    return [sys.executable, "-m", "vot", *arguments]


def run_toolkit(workspace: Path, *arguments: str, done: str) -> str:
    """Runs a command of the toolkit without the network and returns its output.

    Args:
        done: text that it prints after success. The exit status is not sufficient: it is also 0 if a tracker failed.

    Raises:
        ValueError: the command failed; the message contains its last lines.
    """
    command, environment = toolkit_command(*arguments), {**os.environ, **OFFLINE}
    logger.info("%s", shlex.join(command))
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ran = Children().run(command, cwd=workspace, env=environment, **piped)  # it ends when this process is killed
    output = ran.stdout
    if ran.returncode or done not in output:
        tail = " | ".join(output.strip().splitlines()[-12:])
        raise ValueError(
            f"vot {arguments[0]} failed (exit status {ran.returncode}): {tail or 'no output'}; the tracker's own "
            f"output is in {workspace}/logs; or run its command from trackers.ini directly"
        )
    return output


def read_analysis(path: Path, experiment: str) -> list:
    """Reads the results of an experiment from a file of `vot analysis --format json`, in the order of the stack.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file does not contain such results.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["results"][experiment]["results"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: no results of {experiment} ({error!r})") from error
