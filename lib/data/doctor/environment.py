"""Checks of the machine: versions, devices, cores, memory for data loading processes, folders."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from lib.data.doctor.findings import Finding
from lib.utils.files import check_writable
from lib.utils.paths import PROJECT
from lib.utils.texts import one_line

OLDEST_PYTHON = 3, 10
SHOWN = ("torch", "torchvision", "timm", "numpy", "opencv-python", "lmdb")
SHARED = Path("/dev/shm")
PREFETCH = 2  # batches that torch's DataLoader holds per worker


class Needs(NamedTuple):
    """What a training run asks of the machine."""

    workers: int  # data loading processes
    batch_bytes: int  # size of one batch of samples
    save_dir: str  # folder of its output


def describe_environment() -> list[str]:
    """Returns lines about the machine: versions, GPUs, cores, memory."""
    versions = ", ".join(f"{name} {version}" for name in SHOWN if (version := installed(name)))
    lines = [f"Python {platform.python_version()}, {versions}"]
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        gpus = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in found)
        lines.append(f"CUDA {torch.version.cuda}: {gpus}")
    else:
        built = torch.version.cuda or "none"
        lines.append(f"CUDA: no usable GPU (torch is built for CUDA {built}); training runs on the CPU")
    shared = f", {shutil.disk_usage(SHARED).free / 2**30:.1f} GiB of shared memory free" if SHARED.is_dir() else ""
    lines.append(f"{cores()} CPU cores for this process, of {os.cpu_count()}{shared}")
    return lines


def check_environment(needs: Needs) -> Iterator[Finding]:
    """Yields what is wrong with the versions, the shared memory or the output folder for a training run."""
    if tuple(map(int, platform.python_version_tuple()[:2])) < OLDEST_PYTHON:
        expected = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("environment", f"Python {platform.python_version()}, expected {expected} or newer")
    requirements = PROJECT / "requirements.txt"
    if requirements.is_file():
        yield from check_versions(requirements.read_text(encoding="utf-8"))
    wanted = needs.workers * PREFETCH * needs.batch_bytes
    if needs.workers and SHARED.is_dir() and (free := shutil.disk_usage(SHARED).free) < wanted:
        yield Finding(
            "environment",
            f"{SHARED}: {free / 2**20:.0f} MiB free, TRAIN.NUM_WORKER {needs.workers} needs {wanted / 2**20:.0f} MiB; "
            "set TRAIN.NUM_WORKER=0, or give the container more with --shm-size",
        )
    try:
        check_writable(needs.save_dir)
    except OSError as error:
        yield Finding("environment", f"output folder: {one_line(error)}; choose another with --save_dir")


def check_versions(requirements: str) -> Iterator[Finding]:
    """Yields a finding for each installed package outside the range of a requirement, and for torch if missing.

    Args:
        requirements: text of requirements.txt, with lines such as "timm>=1.0.15,<2".
    """
    for name, rules in re.findall(r"^([A-Za-z][\w.-]*)((?:[<>=]=?[\d.]+,?)+)", requirements, re.MULTILINE):
        version = installed(name)
        if not version:
            continue
        for sign, bound in re.findall(r"([<>=]+)([\d.]+)", rules):
            have, limit = _parts(version), _parts(bound)
            if {">=": have >= limit, "<": have < limit, "==": have == limit}.get(sign, True):
                continue
            yield Finding("environment", f"{name} {version}, expected {rules}; pip install '{name}{rules}'")
            break


def installed(name: str) -> str:
    """Returns the version of an installed package, or ""."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].strip(".").split(".") if part)
