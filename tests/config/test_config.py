"""The configuration: every declared key is read, every key that is read is declared, and error texts name the cause."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config import schema
from lib.config.loader import PROJECT, ConfigError, dump_config, load_config
from lib.losses import DISTILL_LOSSES
from lib.models.build import BACKBONES
from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.masking import STRATEGIES
from lib.train.prerequisites import training_order
from lib.utils.trees import flatten, to_plain

LEAVES = dict(flatten(schema.build_defaults()))
TABLES = {key.rsplit(".", depth)[0] for key in LEAVES for depth in range(1, key.count(".") + 1)} | set(schema.FREE_FORM)
RANGES = {"POSITIVE": schema.POSITIVE, "NOT_NEGATIVE": schema.keys_not_negative(), "FRACTIONS": schema.FRACTIONS}
SOURCES = [
    path
    for folder in ("lib", "tracking")
    for path in sorted((PROJECT / folder).rglob("*.py"))
    if not path.is_relative_to(PROJECT / "lib" / "config")
]
EXPERIMENTS = sorted((PROJECT / "experiments").rglob("*.yaml"))


@pytest.fixture(autouse=True)
def without_environment(monkeypatch):
    monkeypatch.delenv("TRANSCMD_DATA", raising=False)


@pytest.fixture
def load(tmp_path):
    """Loads a YAML text, with --set texts."""

    def load_text(text="", *overrides, name="mine.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load_config("transcmd", str(tmp_path / name), overrides)

    return load_text


def refusal(load, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as raised:
        load(*args, **kwargs)
    assert raised.value.exit_code == 2 and isinstance(raised.value, ValueError)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- source and declaration -----------------------------------------------------------------------------------------


def test_every_key_that_is_read_is_declared():
    for path in SOURCES:
        for key in re.findall(r"\bcfg((?:\.[A-Z][A-Z_0-9]*)+)", path.read_text(encoding="utf-8")):
            assert key[1:] in LEAVES or key[1:] in TABLES, f"{path} reads cfg{key}"


def test_every_declared_key_is_read():
    """Its name occurs in the code, after a dot or in quotes."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    for key in set(LEAVES) - {f"TRAIN.DISTILL.{name}" for name in DISTILL_LOSSES}:  # read by a loop over the table
        name = key.rpartition(".")[2]
        assert re.search(rf"\.{name}\b|[\"']{name}[\"']", code), f"nothing reads {key}"


def test_lists_in_the_schema_name_keys_of_the_right_type():
    for key, choices in schema.CHOICES.items():
        assert LEAVES[key] in choices and all(isinstance(choice, str) for choice in choices)
    for name, keys in RANGES.items():
        assert all(type(LEAVES[key]) in (int, float) for key in keys), name
        assert len(set(keys)) == len(keys), name
    assert all(type(LEAVES[key]) is float for key in schema.FRACTIONS)
    assert set(schema.FREE_FORM) <= TABLES and set(schema.PATHS) <= TABLES | set(LEAVES)


def test_every_number_has_one_range_or_must_equal_a_key_with_a_range():
    numbers = {key for key, value in LEAVES.items() if type(value) in (int, float)}
    ranged = [key for keys in RANGES.values() for key in keys]
    assert len(ranged) == len(set(ranged))
    assert numbers - set(ranged) == {
        f"TEST.{part}_{key}" for part in ("TEMPLATE", "SEARCH") for key in ("SIZE", "FACTOR")
    }


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("MODEL.BACKBONE.TYPE", BACKBONES),
        ("MODEL.FUSION.TYPE", FUSIONS),
        ("MODEL.HEAD.TYPE", HEADS),
        ("TRAIN.PRETRAIN.STRATEGY", STRATEGIES),
    ],
)
def test_a_new_row_of_a_table_is_a_choice(key, table, monkeypatch):
    """Of a student's configuration; its fusion says that it may be used there."""
    names = {"MODEL.BACKBONE.TYPE": "vit_tiny", "MODEL.FUSION.TYPE": "simple", "MODEL.HEAD.TYPE": "center"}
    names["TRAIN.PRETRAIN.STRATEGY"] = "random"
    row = table[names[key]]
    with pytest.raises(ConfigError, match="'another' is not a choice"):
        load_config("transcmd", "debug", [f"{key}=another"])
    monkeypatch.setitem(table, "another", row)
    assert load_config("transcmd", "debug", [f"{key}=another"]) != load_config("transcmd", "debug")


# --- experiments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_opens_with_its_command(path):
    name = str(path.relative_to(PROJECT / "experiments" / "transcmd").with_suffix(""))
    assert load_config("transcmd", name) == load_config("transcmd", str(path))
    assert path.read_text(encoding="utf-8").startswith("#")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_dumped_experiment_is_read_back_unchanged(load, path):
    cfg = load_config("transcmd", str(path), ["DATA.ROOTS.LasHeR=/ssd/LasHeR", "TRAIN.LR=1e-5", "TRAIN.FREEZE=[a., b]"])
    again = load(dump_config(cfg))
    assert again == cfg and to_plain(again) == to_plain(cfg)
    assert [key for key, _ in flatten(again)] == [key for key, _ in flatten(cfg)]


def test_a_dump_contains_plain_types_and_is_a_copy():
    cfg = load_config("transcmd", "tiny")
    plain = to_plain(cfg)
    assert type(plain) is type(plain["DATA"]["TRAIN"]) is dict and yaml.safe_load(dump_config(cfg)) == plain
    plain["DATA"]["MEAN"][0] = 9
    assert cfg.DATA.MEAN[0] != 9


def test_an_empty_file_gives_the_defaults(load):
    assert [key for key, _ in flatten(load())] == list(LEAVES)
    assert {key for key, value in flatten(load("# nothing\n")) if value != LEAVES[key]} == {
        "DATA.ROOT"
    }  # made absolute


def test_loading_twice_gives_independent_configs(load):
    before = copy.deepcopy(to_plain(schema.build_defaults()))
    first = load("DATA: {TRAIN: {DATASETS_RATIO: [2]}}")
    first.DATA.TRAIN.DATASETS_NAME.append("x")
    first.DATA.TRAIN.DATASETS_RATIO[0] = 9.0
    first.DATA.ROOTS["LasHeR"] = "/x"
    first.TRAIN.LR = 7.0
    second = load("DATA: {TRAIN: {DATASETS_RATIO: [2]}}")
    assert second.DATA.TRAIN.DATASETS_NAME == ["LasHeR_train"] and second.DATA.TRAIN.DATASETS_RATIO == [2.0]
    assert second.DATA.ROOTS == {} and second.TRAIN.LR == 4e-4
    assert to_plain(schema.build_defaults()) == before


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("TRIAN: {EPOCH: 3}", "unknown key TRIAN.EPOCH; did you mean TRAIN.EPOCH?"),
        ("TRAIN: {EPOCHS: 3}", "unknown key TRAIN.EPOCHS; did you mean TRAIN.EPOCH?"),
        ("TRAIN: {SCHEDULER: {TIPE: step}}", "unknown key TRAIN.SCHEDULER.TIPE; did you mean TRAIN.SCHEDULER.TYPE?"),
        ("TRAIN: {EPOCH: 3.5}", "TRAIN.EPOCH: expected int, got float 3.5"),
        ("TRAIN: {EPOCH: 3.0}", "TRAIN.EPOCH: expected int, got float 3.0"),
        ("TRAIN: {EPOCH: true}", "TRAIN.EPOCH: expected int, got bool True"),
        ("TRAIN: {EPOCH: '3'}", "TRAIN.EPOCH: expected int, got str '3'"),
        ("TRAIN: {LR: true}", "TRAIN.LR: expected float, got bool True"),
        ("TRAIN: {LR: fast}", "TRAIN.LR: expected float, got str 'fast'"),
        ("TRAIN: {LR: .nan}", "TRAIN.LR: expected float, got float nan"),
        ("TRAIN: {LR: .inf}", "TRAIN.LR: expected float, got float inf"),
        ("TRAIN: {LR: }", "TRAIN.LR: expected float, got NoneType None"),
        ("TRAIN: {AMP: 1}", "TRAIN.AMP: expected bool, got int 1"),
        ("TRAIN: {STAGE: 1}", "TRAIN.STAGE: expected str, got int 1"),
        ("TRAIN: {FREEZE: blocks}", "TRAIN.FREEZE: expected list, got str 'blocks'"),
        ("TRAIN: {FREEZE: [1]}", "TRAIN.FREEZE[0]: expected str, got int 1"),
        ("DATA: {ROOTS: {1: x}}", "DATA.ROOTS.1: expected a name, got int 1"),
        (f"TRAIN: {{LR: 1{'0' * 400}}}", "TRAIN.LR: expected float, got int 1000"),
        ("TRAIN: {LR: 2001-99-99}", "not readable as YAML: month must be in 1..12"),
        ("TRIAN: {}", "unknown key TRIAN; did you mean TRAIN?"),
        ("3: 4", "unknown key 3"),
        ("TRAIN: 3", "TRAIN: expected keys below it, got 3"),
        ("TRAIN:", "TRAIN: expected keys below it, got None"),
        ("TRAIN: {LR: {A: 1}}", "TRAIN.LR: expected float, got dict {'A': 1}"),
        ("DATA: {TRAIN: {DATASETS_NAME: LasHeR}}", "DATA.TRAIN.DATASETS_NAME: expected list, got str 'LasHeR'"),
        ("DATA: {TRAIN: {DATASETS_NAME: [3]}}", "DATA.TRAIN.DATASETS_NAME[0]: expected str, got int 3"),
        ("DATA: {MEAN: [0.1, x, 0.3]}", "DATA.MEAN[1]: expected float, got str 'x'"),
        ("DATA: {ROOTS: {LasHeR: 3}}", "DATA.ROOTS.LasHeR: expected str, got int 3"),
        (
            "MODEL: {BACKBONE: {INTERACTION_LAYERS: [4, 7.5]}}",
            "MODEL.BACKBONE.INTERACTION_LAYERS[1]: expected int, got",
        ),
        ("MODEL: {BACKBONE: {TYPE: vit_tinny}}", "'vit_tinny' is not a choice; did you mean vit_tiny? choices: vit_"),
        ("TRAIN: {STAGE: '?'}", "TRAIN.STAGE: '?' is not a choice; choices: "),
        ("- a\n- b", "expected KEY: value lines, got list"),
        ("just words", "expected KEY: value lines, got str"),
        ("TRAIN: {EPOCH: 3", "not readable as YAML: "),
        ("TRAIN:\n\tEPOCH: 3", "not readable as YAML: "),
    ],
)
def test_an_error_in_a_file_names_the_file(load, tmp_path, text, problem):
    message = refusal(load, text)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ") and problem in message


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("TRIAN.EPOCH=3", "unknown key TRIAN.EPOCH; did you mean TRAIN.EPOCH?"),
        ("TRAIN.EPOCHE=3", "unknown key TRAIN.EPOCHE; did you mean TRAIN.EPOCH?"),
        ("TRAIN.EPOCH.X=3", "TRAIN.EPOCH: expected int, got dict"),
        ("TRAIN.EPOCH=3.5", "TRAIN.EPOCH: expected int, got float 3.5"),
        ("TRAIN.EPOCH", "expected KEY=VALUE, e.g. TRAIN.LR=1e-4"),
        ("=3", "expected KEY=VALUE"),
        ("TRAIN.LR=2001-99-99", "value is not readable as YAML"),
        ("TRAIN.FREEZE=[a", "value is not readable as YAML"),
        ("TRAIN=3", "TRAIN: expected keys below it, got 3"),
    ],
)
def test_an_error_on_the_command_line_names_the_set_option(load, override, problem):
    message = refusal(load, "", override)
    assert message.startswith(f"--set {override}: ") and problem in message


@pytest.mark.parametrize("name", RANGES)
def test_numbers_outside_their_range_are_refused_and_the_bounds_are_accepted(load, name):
    bad = {"POSITIVE": (0, -1), "NOT_NEGATIVE": (-1,), "FRACTIONS": (-0.001, 1.001)}[name]
    text = {"POSITIVE": "greater than 0", "NOT_NEGATIVE": "at least 0", "FRACTIONS": "between 0 and 1"}[name]
    for key in RANGES[name]:
        for value in bad:
            refused = refusal(load, "", f"{key}={value}")
            assert refused.startswith(f"--set {key}={value}: {key}: expected a value {text}, got {value}")
    kept = {"POSITIVE": (), "NOT_NEGATIVE": (0,), "FRACTIONS": (0, 1)}[name]
    for override in (f"{key}={value}" for key in RANGES[name] for value in kept):
        load("", override)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["DATA.SEARCH.SIZE=250"], "DATA.SEARCH.SIZE 250 is not a multiple of MODEL.BACKBONE.STRIDE 16"),
        (["DATA.TEMPLATE.SIZE=112"], "TEST.TEMPLATE_SIZE 128 conflicts with DATA.TEMPLATE.SIZE 112"),
        (["TEST.SEARCH_SIZE=320"], "TEST.SEARCH_SIZE 320 conflicts with DATA.SEARCH.SIZE 256"),
        (["DATA.SEARCH.FACTOR=5"], "TEST.SEARCH_FACTOR 4.0 conflicts with DATA.SEARCH.FACTOR 5.0"),
        (["TEST.TEMPLATE_FACTOR=2.5"], "TEST.TEMPLATE_FACTOR 2.5 conflicts with DATA.TEMPLATE.FACTOR 2.0"),
        (["TRAIN.EPOCH=10", "TEST.EPOCH=60"], "TEST.EPOCH 60 is greater than TRAIN.EPOCH 10"),
        (["TEST.EPOCH=25"], "TEST.EPOCH 25 is not saved: TRAIN.SAVE_EPOCH_INTERVAL is 10"),
        (["MODEL.HEAD.NUM_CHANNELS=12"], "MODEL.HEAD.NUM_CHANNELS 12: expected a multiple of 8"),
        (["DATA.TRAIN.DATASETS_RATIO=[1, 2]"], "DATA.TRAIN: 1 DATASETS_NAME but 2 DATASETS_RATIO"),
        (["DATA.VAL.DATASETS_NAME=[]"], "DATA.VAL: 0 DATASETS_NAME but 1 DATASETS_RATIO"),
        (["DATA.TRAIN.DATASETS_RATIO=[0]"], "DATA.TRAIN.DATASETS_RATIO [0.0]: expected numbers"),
        (["DATA.VAL.DATASETS_RATIO=[-1]"], "DATA.VAL.DATASETS_RATIO [-1.0]: expected numbers"),
        (["DATA.TRAIN.DATASETS_NAME=[]", "DATA.TRAIN.DATASETS_RATIO=[]"], "DATA.TRAIN.DATASETS_NAME is empty"),
        (["DATA.MEAN=[0.5, 0.5]"], "DATA.MEAN: expected 3 numbers, got [0.5, 0.5]"),
        (["DATA.STD=[0.5, 0, 0.5]"], "DATA.STD: expected 3 numbers above 0, got [0.5, 0.0, 0.5]"),
        (["DATA.AUGMENT.DROP_RGB=0.6", "DATA.AUGMENT.DROP_AUX=0.6"], "DROP_RGB + DROP_AUX exceed 1"),
    ],
)
def test_conflicting_keys_are_refused(load, overrides, problem):
    message = refusal(load, "", *overrides)
    assert problem in message and message.startswith(tuple(f"--set {override}: " for override in overrides))


def test_a_value_of_the_file_is_not_blamed_on_another_setting_and_a_setting_not_on_the_file(load, tmp_path):
    message = refusal(load, "TRAIN: {LR: -1}", "TRAIN.EPOCH=5", "DATA.MEAN=[0, 0, 0]")
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: TRAIN.LR: expected a value greater than 0, got -1")
    assert refusal(load, "TRAIN: {LR: -1}", "TRAIN.LR=0").startswith("--set TRAIN.LR=0: ")
    assert refusal(load, "", "TRAIN.STAGE=distill").startswith("--set TRAIN.STAGE=distill: TRAIN.STAGE distill needs")
    assert refusal(load, "", "MODEL.TYPE=x").startswith("--set MODEL.TYPE=x: MODEL.TYPE: 'x' is not a choice")


def test_consistent_keys_are_accepted(load):
    cfg = load(
        "", "DATA.SEARCH.SIZE=320", "TEST.SEARCH_SIZE=320", "DATA.VAL.DATASETS_NAME=[]", "DATA.VAL.DATASETS_RATIO=[]"
    )
    assert cfg.TEST.SEARCH_SIZE == cfg.DATA.SEARCH.SIZE == 320 and cfg.DATA.VAL.DATASETS_NAME == []


def test_an_empty_list_keeps_the_type_of_its_items(load):
    emptied = "DATA: {VAL: {DATASETS_NAME: [], DATASETS_RATIO: []}}"
    message = refusal(load, emptied, "DATA.VAL.DATASETS_RATIO=[much]", "DATA.VAL.DATASETS_NAME=[LasHeR_val]")
    assert "DATA.VAL.DATASETS_RATIO[0]: expected float, got str 'much'" in message
    cfg = load(emptied, "DATA.VAL.DATASETS_RATIO=[1]", "DATA.VAL.DATASETS_NAME=[LasHeR_val]")
    assert type(cfg.DATA.VAL.DATASETS_RATIO[0]) is float


def test_an_unknown_experiment_is_refused_with_the_nearest_name_and_all_names(tmp_path):
    message = refusal(load_config, "transcmd", "tinny")
    assert "tinny.yaml: no such experiment; did you mean 'tiny'? known: " in message
    assert all(path.stem in message for path in EXPERIMENTS)
    assert str(tmp_path / "none.yaml") in refusal(load_config, "transcmd", str(tmp_path / "none.yaml"))
    assert "--script transcdm: unknown; known: transcmd" == refusal(load_config, "transcdm", "tiny")


@pytest.mark.parametrize("name", ["../transcmd/tiny", "../../elsewhere", "/tmp/tiny", "ablation/../tiny"])
def test_a_name_that_leads_out_of_the_experiments_is_refused(name):
    """It would also be the name of the output folders."""
    assert refusal(load_config, "transcmd", name).startswith(f"--config {name}: expected a name in ")


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("tiny_rgbt_supervised", "LasHeR"), ("tiny_rgbd_supervised", "DepthTrack"), ("tiny_rgbe_supervised", "VisEvent")],
)
def test_one_data_set_can_be_trained_on_without_anything_trained_before(name, dataset):
    cfg = load_config("transcmd", name)
    assert training_order("transcmd", name, []) == [name] and cfg.TRAIN.STAGE == "track"
    assert (cfg.MODEL.PRETRAIN_FILE, cfg.MODEL.PRETRAIN_CONFIG, cfg.TRAIN.TEACHER.CONFIG) == ("", "", "")
    assert (cfg.DATA.TRAIN.DATASETS_NAME, cfg.DATA.VAL.DATASETS_NAME) == ([f"{dataset}_train"], [f"{dataset}_val"])
    assert cfg.MODEL == load_config("transcmd", "tiny", ["MODEL.PRETRAIN_CONFIG="]).MODEL


def test_only_experiments_on_synthetic_data_say_so():
    for path in EXPERIMENTS:
        cfg = load_config("transcmd", str(path))
        assert cfg.DATA.SYNTHETIC == (Path(cfg.DATA.ROOT) != PROJECT / "data"), path


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfeTRAIN")
    assert "mine.yaml: not readable as YAML: " in refusal(load_config, "transcmd", str(tmp_path / "mine.yaml"))


scalars = st.none() | st.booleans() | st.integers(-3, 400) | st.floats() | st.text(max_size=4) | st.dates()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=2))
layers = st.dictionaries(
    st.sampled_from([*LEAVES, *TABLES, "DATA.ROOTS.LasHeR", "X.Y"]), values, min_size=1, max_size=4
)


@settings(max_examples=100, deadline=None)
@given(layers)
def test_any_file_is_accepted_or_refused_with_its_name(tmp_path_factory, layer):
    tree = {}
    for key, value in layer.items():
        *parents, leaf = key.split(".")
        table = tree
        for parent in parents:
            if not isinstance(table.get(parent), dict):
                table[parent] = {}
            table = table[parent]
        table[leaf] = value
    path = tmp_path_factory.mktemp("fuzz") / "mine.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    try:
        cfg = load_config("transcmd", str(path))
    except ConfigError as error:
        assert str(path) in str(error)
    else:
        assert all(type(value) is type(LEAVES[key]) for key, value in flatten(cfg) if key in LEAVES)


# --- layers and paths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "'1e-4'", "0.0001", "1.0e-4"])
def test_floats_may_be_written_in_any_usual_form(load, text):
    for cfg in (load(f"TRAIN: {{LR: {text}}}"), load("", f"TRAIN.LR={text}")):
        assert cfg.TRAIN.LR == 1e-4 and type(cfg.TRAIN.LR) is float
    assert type(load("TRAIN: {LR: 1}").TRAIN.LR) is float
    assert load("DATA: {MEAN: [5e-1, 0, 1]}").DATA.MEAN == [0.5, 0.0, 1.0]


def test_an_experiment_may_have_a_base_but_a_base_may_not(load, tmp_path):
    (tmp_path / "base.yaml").write_text("TRAIN: {LR: 2e-4, SEED: 5}\nDATA: {ROOTS: {LasHeR: /a, VisEvent: /b}}")
    cfg = load("BASE: base.yaml\nTRAIN: {SEED: 6}\nDATA: {ROOTS: {LasHeR: /c}}", "TRAIN.BATCH_SIZE=7")
    assert (cfg.TRAIN.LR, cfg.TRAIN.SEED, cfg.TRAIN.BATCH_SIZE) == (2e-4, 6, 7)
    assert cfg.DATA.ROOTS == {"LasHeR": "/c", "VisEvent": "/b"} and "BASE" not in cfg
    (tmp_path / "base.yaml").write_text("TRAIN: {LRR: 2e-4}")
    assert refusal(load, "BASE: base.yaml").startswith(f"{tmp_path / 'base.yaml'}: unknown key TRAIN.LRR")
    (tmp_path / "base.yaml").write_text("BASE: other.yaml")
    assert "BASE: base.yaml also has a BASE; only one level is allowed" in refusal(load, "BASE: base.yaml")
    assert "mine.yaml: BASE: none.yaml: no such file in the same folder" in refusal(load, "BASE: none.yaml")


def test_the_command_line_overrides_the_environment_which_overrides_the_file(load, monkeypatch):
    text = "DATA: {ROOT: /file, ROOTS: {LasHeR: /file/LasHeR}}"
    assert load(text).DATA.ROOT == "/file"
    monkeypatch.setenv("TRANSCMD_DATA", "/environment")
    assert load(text).DATA.ROOT == "/environment" and load().DATA.ROOT == "/environment"
    cfg = load(text, "DATA.ROOT=/line", "DATA.ROOTS.LasHeR=/line/LasHeR")
    assert cfg.DATA.ROOT == "/line" and cfg.DATA.ROOTS.LasHeR == "/line/LasHeR"
    monkeypatch.setenv("TRANSCMD_DATA", "")
    assert load(text).DATA.ROOT == "/file"
    assert load("", "TRAIN.LR=1", "TRAIN.LR=2").TRAIN.LR == 2


def test_relative_paths_start_at_the_project_in_files_and_at_the_current_folder_on_the_command_line(
    load, tmp_path, monkeypatch
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", "/home/me")
    assert load().DATA.ROOT == str(PROJECT / "data")
    cfg = load("DATA: {ROOT: sets, ROOTS: {LasHeR: l, VisEvent: ~/v}}")
    assert cfg.DATA.ROOT == str(PROJECT / "sets")
    assert cfg.DATA.ROOTS == {"LasHeR": str(PROJECT / "l"), "VisEvent": "/home/me/v"}
    cfg = load("DATA: {ROOTS: {VisEvent: v}}", "DATA.ROOT=sets", "DATA.ROOTS.LasHeR=../l")
    assert cfg.DATA.ROOT == str(here / "sets")
    assert Path(cfg.DATA.ROOTS.LasHeR).resolve() == tmp_path / "l"
    assert cfg.DATA.ROOTS.VisEvent == str(PROJECT / "v")
    monkeypatch.setenv("TRANSCMD_DATA", "sets")
    assert load().DATA.ROOT == str(here / "sets")
    assert load("", "DATA.ROOT=~nobody-of-that-name/x").DATA.ROOT == str(here / "~nobody-of-that-name/x")
