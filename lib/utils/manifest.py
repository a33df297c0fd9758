"""What a result was made with: commit, versions, hardware, command."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

from lib.utils.paths import PROJECT

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime")
FILE = "manifest.json"  # in the folder of checkpoints or results


def describe_run() -> dict[str, Any]:
    """Returns what this process runs, as plain values.

    Returns:
        "commit": of the project, "" without git; "changed": whether files differ from it; "versions" of Python and
        of packages; "hardware": processor, cores, GPUs; "command"; "started", local time.
    """
    return {
        **_commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": describe_hardware(),
        "command": [os.path.relpath(sys.argv[0], PROJECT) if sys.argv[0].startswith(str(PROJECT)) else sys.argv[0]]
        + sys.argv[1:],
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def describe_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a resolved configuration, as plain values, and its hash, for a manifest."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return {"config": config, "config_hash": digest[:16]}


def describe_hardware() -> dict[str, Any]:
    """Returns the processor, its cores, and the GPUs that torch sees, if torch is in use."""
    torch = sys.modules.get("torch")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch else []
    return {"machine": platform.machine(), "system": platform.platform(), "cores": os.cpu_count() or 1, "gpus": gpus}


@functools.cache
def _commit() -> dict[str, Any]:
    """Returns the commit of the checkout and whether files were changed; the answer of the first call."""
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(PROJECT), *words], capture_output=True, text=True, check=True, timeout=20)
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout
        return {"commit": "", "changed": False}
    return {"commit": commit.stdout.strip(), "changed": bool(changes.stdout.strip())}


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns in words what differs between two manifests: commit, versions, hardware, data."""
    found = []
    for part in ("commit", "versions", "hardware", "data"):
        old, new = before.get(part, {}), now.get(part, {})
        if not isinstance(old, dict) or not isinstance(new, dict):
            old, new = {"": old}, {"": new}
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                found.append(f"{f'{part} {key}'.strip()}: {old.get(key, 'none')} then, {new.get(key, 'none')} now")
    if before.get("changed"):
        found.append("commit: files had been changed then")
    return found
