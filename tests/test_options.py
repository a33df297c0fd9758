"""The options of all commands: wrong numbers are refused by name, and every option has a help text with its default."""

import argparse
import contextlib
import copy
import importlib.util
import io
import sys

import pytest

from lib.utils.cli import Parser
from tests.processes import ROOT

COMMANDS = sorted(
    f"{folder}/{path.name}" for folder in ("tracking", "benchmarks") for path in (ROOT / folder).glob("[a-z]*.py")
)
# Command → option → smallest and, if there is one, largest value.
NUMBERS = {
    "tracking/demo.py": {"fps": (1, 1000), "max_gap": (1, 60000), "threads": (0, None)},
    "tracking/export.py": {"calibration_frames": (16, None), "threads": (1, None)},
    "tracking/ablation.py": {"seeds": (0, None), "train_sequences": (1, None), "jobs": (1, None), "workers": (1, None)},
    "tracking/doctor.py": {"every": (0, None), "workers": (0, None)},
    "tracking/make_demo_data.py": {
        "seed": (0, None),
        "version": (1, 2),
        "train_sequences": (1, 999),
        "test_sequences": (1, 999),
        "train_frames": (12, 2000),
        "test_frames": (12, 2000),
        "absence": (0, None),
        "workers": (0, None),
    },
    "tracking/profile_model.py": {"threads": (1, None), "rounds": (1, None), "frames": (2, None)},
    "tracking/pack_lmdb.py": {"psnr": (20, 60)},
    "tracking/run_demo.py": {"workers": (1, None)},
    "tracking/test.py": {
        "threads": (0, None),
        "batch_sequences": (1, None),
        "runtime_threads": (0, None),
        "num_gpus": (0, None),
        "drop_seed": (0, None),
    },
    "tracking/train.py": {
        "nproc_per_node": (1, None),
        "nnodes": (1, None),
        "node_rank": (0, None),
        "master_port": (1, 65535),
        "max_restarts": (0, None),
        "overfit_one_batch": (1, None),
    },
    "tracking/visualise.py": {"samples": (1, None)},
    "benchmarks/feature_matching.py": {"layers": (1, None), "samples": (1, None)},
    "benchmarks/data_loading.py": {"samples": (1, None), "width": (16, 4096), "target": (1, 4096)},
    "benchmarks/tracked_gif.py": {"every": (1, None), "colours": (8, 256)},
    "benchmarks/scoring.py": {"rounds": (1, None), "many": (0, None)},
    "benchmarks/speed.py": {"threads": (1, None), "rounds": (1, None), "frames": (2, None)},
    "benchmarks/training_step.py": {"steps": (1, None)},
    "benchmarks/vit_savings.py": {"rounds": (1, None), "frames": (2, None)},
}
# Command → options that take any finite number.
DECIMALS = {"tracking/demo.py": {"box", "delay"}}
# Options with a number in a text, which the commands themselves check: test.py's --drop and --shard, --sequence.


class Captured(Exception):
    pass


@pytest.fixture(scope="module")
def parsers():
    """Command → its parser. The commands are loaded in this process, up to the point at which they parse."""
    found, before = {}, list(sys.path)
    sys.path.append(str(ROOT / "tracking"))
    with pytest.MonkeyPatch.context() as patch:
        for command in COMMANDS:

            def capture(parser, *_, command=command, **__):
                found[command] = parser
                raise Captured

            patch.setattr(argparse.ArgumentParser, "parse_args", capture)
            spec = importlib.util.spec_from_file_location(command.replace("/", "_"), ROOT / command)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            with contextlib.suppress(Captured):
                module.main()
    sys.path[:] = before
    sys.modules.pop("_init_paths", None)
    return found


def options(parser: Parser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.dest != "help"]


def refusal(parser: Parser, option: str, value: str) -> str:
    """What a command prints when it refuses the value of an option."""
    stderr, parser = io.StringIO(), without_required(parser)
    with contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as stop:
        parser.parse_args([f"{spelling(parser, option)}={value}"])
    assert stop.value.code == 2
    return stderr.getvalue()


def spelling(parser: Parser, option: str) -> str:
    """The option on the command line, e.g. --print-config for print_config."""
    return next(action.option_strings[0] for action in options(parser) if action.dest == option)


def without_required(parser: Parser) -> Parser:
    """A copy of a parser that accepts a command line with one option."""
    parser = copy.deepcopy(parser)
    for action in parser._actions:
        action.required = False
    for group in parser._mutually_exclusive_groups:
        group.required = False
    return parser


def test_the_table_contains_every_option_with_a_number(parsers):
    assert set(parsers) == set(COMMANDS)
    for command, parser in parsers.items():
        numeric = {a.dest for a in options(parser) if isinstance(a.default, int) and not isinstance(a.default, bool)}
        decimal = {a.dest for a in options(parser) if getattr(a.type, "__qualname__", "").startswith("number.")}
        assert decimal == DECIMALS.get(command, set()), command
        numeric |= {a.dest for a in options(parser) if getattr(a.type, "__qualname__", "").startswith("integer.")}
        assert numeric == set(NUMBERS.get(command, {})), command
        assert not [a.dest for a in options(parser) if a.type in (int, float)], f"{command}: a number without a range"


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, found in NUMBERS.items() for o in found])
def test_a_number_out_of_range_and_a_text_are_refused_by_name(parsers, command, option):
    parser, (least, most) = parsers[command], NUMBERS[command][option]
    refused = {
        str(least - 1),
        "-1",
        "",
        "1.5",
        "many",
        *(["0"] if least > 0 else []),
        *([str(most + 1)] if most else []),
    }
    for value in refused:
        text = refusal(parser, option, value)
        assert text.startswith(f"error: {spelling(parser, option)}: expected an integer ") and f"'{value}'" in text
        assert text.count("\n") == 1
    for value in {least, most or 1000}:
        parsed = getattr(without_required(parser).parse_args([f"{spelling(parser, option)}={value}"]), option)
        assert parsed in (value, [value])


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, found in DECIMALS.items() for o in sorted(found)])
def test_a_number_that_is_not_finite_and_a_text_are_refused_by_name(parsers, command, option):
    parser = without_required(parsers[command])
    (action,) = (action for action in parser._actions if action.dest == option)
    action.nargs = None
    for value in ("nan", "inf", "-inf", "", "1,5", "many"):
        assert refusal(parser, option, value).startswith(f"error: --{option}: expected a number, got '{value}'")
    assert getattr(parser.parse_args([f"--{option}=-1.5"]), option) == -1.5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text_and_shows_its_default(parsers, command):
    for action in options(parsers[command]):
        shown = parsers[command]._get_formatter()._expand_help(action) if action.help else ""
        assert shown, f"{command}: {action.dest} has no help text"
        if action.option_strings and action.nargs != 0 and not action.required:
            assert "default" in shown, f"{command}: {action.dest}: {shown}"


@pytest.mark.parametrize("command", ["make_vot_workspace.py", "pack_results.py", "test.py"])
@pytest.mark.parametrize("name", ["../..", "..", "/tmp/x", "a/b", " "])
def test_a_name_that_leads_out_of_the_output_folder_is_refused(parsers, command, name):
    assert "error: --name: expected a name without '/' and '..'" in refusal(
        parsers[f"tracking/{command}"], "name", name
    )
