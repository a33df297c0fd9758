"""Reads an experiment: defaults, then YAML (with at most one BASE), then environment, then --set.

A later source replaces values of an earlier one. Unknown keys are errors.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from lib.utils.paths import PROJECT
from lib.utils.trees import flatten, to_plain

SCRIPTS = ("transcmd",)  # folders in experiments/
OWN_DATA_EXAMPLES = {"RGB": "rgb/*.jpg", "AUX": "ir/*.png", "BOXES": "boxes.csv", "TIMES": "times.csv"}


class ConfigError(ValueError):
    """A wrong key, value or file of the configuration. Commands exit with status 2."""

    exit_code = 2


def load_config(script: str, config: str, overrides: Iterable[str] = ()) -> EasyDict:
    """Returns a new configuration tree for `experiments/<script>/<config>.yaml`, or for a path that ends in .yaml.

    Args:
        script: a name in SCRIPTS.
        config: name of the experiment, or path of a YAML file.
        overrides: values of --set, "KEY.PATH=VALUE" with the value as YAML.

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong type, value out of range, conflicting keys,
            missing or unreadable file. The message names the file or the --set.
    """
    if script not in SCRIPTS:
        raise ConfigError(f"--script {script}: unknown; known: {', '.join(SCRIPTS)}")
    from lib.config import (
        schema,
    )  # here, because it imports torch, which takes seconds

    cfg, defaults = schema.build_defaults(), schema.build_defaults()
    _resolve_paths(cfg, schema, PROJECT)
    path = find_config(script, config)
    for layer_path, layer in _layers(path):
        _merge(cfg, layer, str(layer_path), schema, defaults)
        _resolve_paths(cfg, schema, PROJECT)
    if root := os.environ.get("TRANSCMD_DATA"):
        cfg.DATA.ROOT = root
    overrides = list(overrides)
    for override in overrides:
        _merge(cfg, _parse_override(override), f"--set {override}", schema, defaults)
    _resolve_paths(cfg, schema, Path.cwd())
    problems = (_value_problems, _size_problems, _data_problems, _own_data_problems, _stage_problems, _speed_problems)
    for problem in (text for find in problems for text in find(cfg, schema)):
        raise ConfigError(f"{_source_of(problem, overrides, path)}: {problem}")
    return cfg


def restore_config(tree: dict, source: str, overrides: Iterable[str] = ()) -> EasyDict:
    """Returns the configuration of a checkpoint; keys that are newer than it have their defaults.

    Args:
        tree: the resolved configuration, as plain values.
        source: name of the file, for error texts.
        overrides: values of --set.

    Raises:
        ConfigError: a key is unknown, or a value is not valid.
    """
    from lib.config import schema  # here, because it imports torch, which takes seconds

    cfg = schema.build_defaults()
    for layer, name in ((tree, source), *((_parse_override(text), f"--set {text}") for text in overrides)):
        _merge(cfg, layer, name, schema, schema.build_defaults())
    problems = (_value_problems, _size_problems, _data_problems, _stage_problems, _speed_problems)
    for problem in (text for find in problems for text in find(cfg, schema)):
        raise ConfigError(f"{source}: {problem}")
    return cfg


def _source_of(problem: str, overrides: list[str], path: Path) -> str:
    """Returns what to blame for a problem: the last --set of a key that the text names, else the file."""
    words = set(re.findall(r"[A-Z][A-Z0-9_.]*[A-Z0-9]", problem))
    for override in reversed(overrides):
        key = override.partition("=")[0].strip()
        parent, _, leaf = key.rpartition(".")
        siblings = any(f"{word}.".startswith(f"{parent}.") for word in words)
        if key in words or (leaf in words and siblings):
            return f"--set {override}"
    return str(path)


def find_config(script: str, config: str) -> Path:
    """Returns the path of the YAML file of an experiment.

    Raises:
        ConfigError: the experiment is unknown; the message contains the nearest name and all known names.
    """
    folder = PROJECT / "experiments" / script
    if not config.endswith((".yaml", ".yml")) and (".." in Path(config).parts or Path(config).is_absolute()):
        raise ConfigError(f"--config {config}: expected a name in {folder}, or a path that ends in .yaml")
    path = Path(config) if config.endswith((".yaml", ".yml")) else folder / f"{config}.yaml"
    if path.is_file():
        return path
    known = sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(config, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ConfigError(f"{path}: no such experiment; {hint}known: {', '.join(known)}")


def config_name(config: str) -> str:
    """Returns the name of an experiment's output folders: the experiment's name, or the stem of a YAML file."""
    return (
        Path(config).name.removesuffix(".yaml").removesuffix(".yml") if config.endswith((".yaml", ".yml")) else config
    )


def dump_config(cfg: EasyDict) -> str:
    """Returns the tree as YAML text, from which `load_config` reads an equal tree."""
    return yaml.safe_dump(to_plain(cfg), sort_keys=False, default_flow_style=None, width=120)


def _layers(path: Path) -> Iterator[tuple[Path, dict]]:
    """Yields path and content of the BASE of `path`, if any, then of `path`."""
    layer = _read_yaml(path)
    base = layer.pop("BASE", None)
    if base is not None:
        base_path = path.parent / str(base)
        if not base_path.is_file():
            raise ConfigError(f"{path}: BASE: {base}: no such file in the same folder")
        base_layer = _read_yaml(base_path)
        if "BASE" in base_layer:
            raise ConfigError(f"{path}: BASE: {base} also has a BASE; only one level is allowed")
        yield base_path, base_layer
    yield path, layer


class _StrictLoader(yaml.SafeLoader):
    """Refuses a duplicate key. PyYAML would take the last one and silently drop the first."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value}", key.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an invalid date
        raise ConfigError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: expected KEY: value lines, got {type(content).__name__}")
    return content or {}


def _parse_override(override: str) -> dict:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected KEY=VALUE, e.g. TRAIN.LR=1e-4")
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {override}: value is not readable as YAML") from error
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return value


def _merge(cfg: EasyDict, layer: dict, source: str, schema, defaults: EasyDict, prefix: str = "") -> None:
    for key, value in layer.items():
        name = f"{prefix}{key}"
        if prefix[:-1] in schema.FREE_FORM:
            if not isinstance(key, str):
                raise ConfigError(f"{source}: {name}: expected a name, got {type(key).__name__} {key!r}")
            _merge_entry(cfg, key, value, source, schema, name)
        elif key not in cfg:
            unknown = prefix + next(flatten({key: value}))[0]  # the complete key, e.g. TRIAN.EPOCH
            raise ConfigError(f"{source}: unknown key {unknown}{_nearest(unknown, defaults)}")
        elif isinstance(cfg[key], dict):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {name}: expected keys below it, got {value!r}")
            _merge(cfg[key], value, source, schema, defaults, f"{name}.")
        else:
            cfg[key] = _typed(value, _get(defaults, name), name, source, schema)


def _merge_entry(cfg: EasyDict, key: str, value: Any, source: str, schema, name: str) -> None:
    """Merges one entry of a table whose keys the user chooses."""
    example = schema.FREE_FORM[name.removesuffix(f".{key}")]
    if not isinstance(example, dict):
        cfg[key] = _typed(value, example, name, source, schema)
        return
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: {name}: expected keys below it ({', '.join(example)}), got {value!r}")
    entry = {**example, **(cfg[key] if key in cfg else {})}
    for inner, text in value.items():
        if inner not in example:
            near = difflib.get_close_matches(str(inner), example, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"{source}: unknown key {name}.{inner}; {hint}known: {', '.join(example)}")
        entry[inner] = _typed(text, example[inner], f"{name}.{inner}", source, schema)
    cfg[key] = EasyDict(entry)


def _typed(value: Any, default: Any, name: str, source: str, schema) -> Any:
    """Returns `value` with the type of `default`. Float accepts int, and text because YAML 1.1 reads 1e-4 as text."""
    kind, value = type(default), as_float(value) if type(default) is float else value
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ConfigError(f"{source}: {name}: expected {kind.__name__}, got {type(value).__name__} {value!r}")
    if name in schema.TEXT_LISTS:
        default = [""]
    elif name in schema.NUMBER_LISTS:
        default = [0]
    if kind is list and default and type(default[0]) in (int, float, str):
        return [_typed(item, default[0], f"{name}[{i}]", source, schema) for i, item in enumerate(value)]
    return value


def as_float(value: Any) -> Any:
    """Returns an int, or a text that is a number, as float; other values unchanged."""
    if type(value) in (int, str):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
    return value


def _nearest(name: str, defaults: EasyDict) -> str:
    known = [key for key, _ in flatten(defaults)]
    near = difflib.get_close_matches(name, known + sorted({k.rsplit(".", 1)[0] for k in known if "." in k}), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _resolve_paths(cfg: EasyDict, schema, folder: Path) -> None:
    for key in schema.PATHS:
        parent, _, leaf = key.rpartition(".")
        table = _get(cfg, parent)
        if isinstance(table[leaf], dict):
            for name, entry in table[leaf].items():
                if isinstance(entry, dict):
                    entry["ROOT"] = entry["ROOT"] and str(folder / os.path.expanduser(entry["ROOT"]))
                else:
                    table[leaf][name] = str(folder / os.path.expanduser(entry))
        else:
            table[leaf] = table[leaf] and str(folder / os.path.expanduser(table[leaf]))


def _get(cfg: EasyDict, name: str) -> Any:
    for part in name.split("."):
        cfg = cfg[part]
    return cfg


def _value_problems(cfg: EasyDict, schema) -> Iterator[str]:
    for key, choices in schema.CHOICES.items():
        if (value := _get(cfg, key)) not in choices:
            near = difflib.get_close_matches(value, choices, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            yield f"{key}: {value!r} is not a choice; {hint}choices: {', '.join(choices)}"
    rules = (
        (schema.POSITIVE, "greater than 0", lambda v: v > 0),
        (schema.keys_not_negative(), "at least 0", lambda v: v >= 0),
        (schema.FRACTIONS, "between 0 and 1", lambda v: 0 <= v <= 1),
    )
    for keys, text, is_valid in rules:
        for key in keys:
            if not is_valid(value := _get(cfg, key)):
                yield f"{key}: expected a value {text}, got {value}"


def _size_problems(cfg: EasyDict, schema) -> Iterator[str]:
    stride = cfg.MODEL.BACKBONE.STRIDE
    for part in ("TEMPLATE", "SEARCH"):
        data = cfg.DATA[part]
        if data.SIZE % stride:
            yield f"DATA.{part}.SIZE {data.SIZE} is not a multiple of MODEL.BACKBONE.STRIDE {stride}"
        for key in ("SIZE", "FACTOR"):
            if data[key] != cfg.TEST[f"{part}_{key}"]:
                yield f"TEST.{part}_{key} {cfg.TEST[f'{part}_{key}']} conflicts with DATA.{part}.{key} {data[key]}"
    if cfg.TEST.EPOCH > cfg.TRAIN.EPOCH:
        yield f"TEST.EPOCH {cfg.TEST.EPOCH} is greater than TRAIN.EPOCH {cfg.TRAIN.EPOCH}"
    elif cfg.TEST.EPOCH % cfg.TRAIN.SAVE_EPOCH_INTERVAL and cfg.TEST.EPOCH != cfg.TRAIN.EPOCH:
        yield f"TEST.EPOCH {cfg.TEST.EPOCH} is not saved: TRAIN.SAVE_EPOCH_INTERVAL is {cfg.TRAIN.SAVE_EPOCH_INTERVAL}"
    removal, kind = cfg.MODEL.BACKBONE.ELIMINATION, cfg.MODEL.TYPE
    if removal.LAYERS and kind != "student":
        yield f"MODEL.BACKBONE.ELIMINATION.LAYERS is for students, MODEL.TYPE is {kind}; set []"
    if removal.LAYERS and removal.KEEP == 0:
        yield "MODEL.BACKBONE.ELIMINATION.KEEP 0.0: no token would stay; expected a value above 0"
    if cfg.MODEL.HEAD.NUM_CHANNELS % 8:
        yield f"MODEL.HEAD.NUM_CHANNELS {cfg.MODEL.HEAD.NUM_CHANNELS}: expected a multiple of 8 (halved three times)"


def _data_problems(cfg: EasyDict, schema) -> Iterator[str]:
    data = cfg.DATA
    if not data.TRAIN.DATASETS_NAME:
        yield "DATA.TRAIN.DATASETS_NAME is empty; expected at least one data set"
    for part in ("TRAIN", "VAL"):
        names, ratios = data[part].DATASETS_NAME, data[part].DATASETS_RATIO
        if len(names) != len(ratios):
            yield f"DATA.{part}: {len(names)} DATASETS_NAME but {len(ratios)} DATASETS_RATIO; one ratio per data set"
        if any(ratio < 0 for ratio in ratios) or (ratios and not sum(ratios)):
            yield f"DATA.{part}.DATASETS_RATIO {ratios}: expected numbers of at least 0 with a sum above 0"
    for key in ("MEAN", "STD"):
        if len(data[key]) != 3 or (key == "STD" and min(data[key]) <= 0):
            yield f"DATA.{key}: expected 3 numbers{' above 0' if key == 'STD' else ''}, got {data[key]}"
    if len(levels := data.INPUT.THERMAL_RANGE) != 2 or not levels[0] < levels[1]:
        yield f"DATA.INPUT.THERMAL_RANGE: expected two numbers, the smaller first, got {levels}"
    if data.AUGMENT.DROP_RGB + data.AUGMENT.DROP_AUX > 1:
        yield "DATA.AUGMENT.DROP_RGB + DROP_AUX exceed 1: both modalities are never dropped at once"


def _own_data_problems(cfg: EasyDict, schema) -> Iterator[str]:
    for name, entry in cfg.DATA.CUSTOM.items():
        for key, choices in schema.OWN_DATA_CHOICES.items():
            if entry[key] not in choices:
                yield f"DATA.CUSTOM.{name}.{key}: {entry[key]!r} is not a choice; choices: {', '.join(choices)}"
        if (entry.AUX == "") != (entry.MODALITY == "rgb"):
            expected = "no AUX" if entry.AUX else "AUX, the pattern of the auxiliary images"
            yield f"DATA.CUSTOM.{name}: MODALITY {entry.MODALITY} needs {expected}, got AUX '{entry.AUX}'"
        for key in ("RGB", "AUX", "BOXES", "TIMES"):
            *folders, file = entry[key].split("/")
            plain = "".join(folders) + (file if key in ("BOXES", "TIMES") else "")  # the part without wildcards
            if set("*?[") & set(plain) or {"", ".."} & set(folders) or (not file and key not in ("AUX", "TIMES")):
                expected = f"a path in the folder of a sequence, e.g. {OWN_DATA_EXAMPLES[key]}"
                yield f"DATA.CUSTOM.{name}.{key}: expected {expected}, got '{entry[key]}'"


def _stage_problems(cfg: EasyDict, schema) -> Iterator[str]:
    model, train = cfg.MODEL, cfg.TRAIN
    fitting = [name for name, entry in schema.FUSIONS.items() if model.TYPE in entry.models]
    if model.FUSION.TYPE not in fitting:
        expected = " or ".join(fitting)
        yield f"MODEL.FUSION.TYPE {model.FUSION.TYPE} cannot be used with MODEL.TYPE {model.TYPE}: expected {expected}"
    if model.BACKBONE.ATTENTION == "asymmetric" and model.TYPE != "student":
        yield f"MODEL.BACKBONE.ATTENTION asymmetric is for students, MODEL.TYPE is {model.TYPE}: set joint"
    if model.BACKBONE.ATTENTION == "asymmetric" and train.STAGE == "pretrain":  # its masks come from this attention
        yield (
            "MODEL.BACKBONE.ATTENTION asymmetric: TRAIN.STAGE pretrain needs the attention of template to search "
            "tokens; set joint there, its weights fit"
        )
    if model.PRETRAIN_FILE and model.PRETRAIN_CONFIG:
        yield "MODEL.PRETRAIN_FILE and MODEL.PRETRAIN_CONFIG are both set; set only one of them"
    if train.STAGE == "distill":
        if model.TYPE != "student":
            yield f"TRAIN.STAGE distill trains a student, MODEL.TYPE is {model.TYPE}"
        if not train.TEACHER.CONFIG:
            yield "TRAIN.STAGE distill needs TRAIN.TEACHER.CONFIG, the experiment that describes the teacher"
        if not any(train.DISTILL[name] for name in schema.DISTILL_LOSSES):
            yield "TRAIN.STAGE distill: every weight in TRAIN.DISTILL is 0; use TRAIN.STAGE track"
    decoder = train.PRETRAIN.DECODER
    if decoder.WIDTH % (4 * decoder.HEADS):
        yield f"TRAIN.PRETRAIN.DECODER.WIDTH {decoder.WIDTH}: expected a multiple of 4 * HEADS, {4 * decoder.HEADS}"


def _speed_problems(cfg: EasyDict, schema) -> Iterator[str]:
    model, train = cfg.MODEL, cfg.TRAIN
    if train.ONE_STREAM and model.TYPE != "student":
        yield f"TRAIN.ONE_STREAM needs a network with one backbone for both images, MODEL.TYPE is {model.TYPE}"
    if train.EMA >= 1:
        yield f"TRAIN.EMA {train.EMA}: expected a value below 1; with 1, the average never changes"
    if train.TEACHER.DTYPE == "bfloat16" and not (train.AMP and train.AMP_DTYPE == "bfloat16"):
        yield "TRAIN.TEACHER.DTYPE bfloat16 needs TRAIN.AMP true and TRAIN.AMP_DTYPE bfloat16"
