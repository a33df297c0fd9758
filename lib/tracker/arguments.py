"""Arguments of a single tracker: TRACKER.NAME=VALUE in --set, with the defaults of its row in TRACKERS."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lib.config.loader import ConfigError, as_float
from lib.utils.paths import PROJECT

OWN = "TRACKER."  # prefix of tracker arguments in --set


def is_own(setting: str) -> bool:
    """Returns whether a value of --set is a tracker argument."""
    return f"{setting.partition('=')[0].strip()}.".startswith(OWN)


def read_arguments(tracker: str, defaults: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Returns the arguments of a tracker: the defaults, replaced by TRACKER.<NAME>=VALUE in the settings.

    Args:
        tracker: name of the tracker, for error texts.
        defaults: name → default value. Relative default paths are relative to the project.
        settings: values of --set; those without the prefix are ignored.

    Raises:
        ConfigError: the tracker has no such argument, or the types of the value and the default differ.
    """
    own = {name: PROJECT / value if isinstance(value, Path) else value for name, value in defaults.items()}
    for setting in filter(is_own, settings):
        name, equals, text = setting.strip().removeprefix(OWN).partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected {OWN}NAME=VALUE")
        if name.strip() not in defaults:
            known = f"known: {', '.join(OWN + key for key in defaults)}" if defaults else "it has no arguments"
            raise ConfigError(f"--set {setting}: {tracker} has no such argument; {nearest(name, defaults, OWN)}{known}")
        own[name.strip()] = _typed(text, defaults[name.strip()], setting)
    return own


def absolute_settings(tracker: str, defaults: Mapping[str, Any], settings: Iterable[str]) -> list[str]:
    """Returns the tracker arguments in `settings` with absolute paths, for a command in a different folder.

    Raises:
        ConfigError: as `read_arguments`.
    """
    own = read_arguments(tracker, defaults, settings)
    given = {setting.strip().removeprefix(OWN).partition("=")[0].strip() for setting in filter(is_own, settings)}
    return [f"{OWN}{name}={_absolute(own[name])}" for name in own if name in given]


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns "did you mean …? " with the known name that is most similar to `name`, or ""."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {prefix}{near[0]}? " if near else ""


def _typed(text: str, default: Any, setting: str) -> Any:
    """Converts the text of a --set to the type of the default."""
    if isinstance(default, str):
        return text
    if isinstance(default, Path) and text:
        return Path(os.path.expanduser(text))
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    value = as_float(value) if type(default) is float else value  # YAML 1.1 reads 1e-4 as text
    if type(value) is not type(default):
        kind = "a path" if isinstance(default, Path) else type(default).__name__
        raise ConfigError(f"--set {setting}: expected {kind}, got {type(value).__name__} {value!r}")
    return value


def _absolute(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value
