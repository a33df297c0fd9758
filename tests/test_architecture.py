"""The layout of the code: which package may import which, where libraries may be used, which docstrings must exist."""

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, run

FILES = sorted((ROOT / "lib").rglob("*.py"))
BASE = {"structures", "utils"}
TRAINED = BASE | {"models", "losses", "config"}  # a configuration's choices come from the tables of models and losses
SCORING = BASE | {"data", "results", "evaluation"}
# Package of lib → packages that it may import. No two packages import each other.
MAY_IMPORT = {
    "utils": set(),
    "structures": set(),
    "data": BASE,
    "models": BASE,
    "losses": BASE | {"models"},
    "config": BASE | {"models", "losses"},
    "train": TRAINED | {"data"},
    "tracker": BASE | {"data", "models", "config"},
    "results": BASE | {"data"},
    "deploy": SCORING | {"models", "config", "tracker", "running"},
    "running": BASE | {"data", "results", "tracker"},
    "evaluation": BASE | {"data", "results"},
    "report": SCORING,
    "vot": SCORING | {"models", "config", "tracker"},
    "study": SCORING | TRAINED | {"train", "report"},
}
NO_TORCH = (
    "structures",
    "data.crop",
    "data.drop",
    "data.image",
    "utils.boxes",
    "utils.files",
    "utils.paths",
    "tracker.postprocess",
    "tracker.base",
    "tracker.baselines",
    "tracker.arguments",
    "tracker.build",
    "tracker.cropped",
    "deploy.live",
    "deploy.runtime",
    "deploy.memory",
    "results.matching",
    "results.raw",
    "evaluation.metrics",
    "evaluation.annotations",
    "evaluation.evaluate",
    "evaluation.selection",
    "evaluation.vot_measures",
    "report.plots",
    "report.html",
    "vot.workspace",
)
TIMM = {"models/vit.py", "models/weights/convert.py", "models/weights/read.py"}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
ids = [str(path.relative_to(ROOT)) for path in FILES]


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, also for types only."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inside & MODULES or {node.module}
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT / "lib").parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_package_is_in_the_table_and_the_table_has_no_cycle():
    assert {room(path) for path in FILES} - {"__init__"} == set(MAY_IMPORT)
    for name, others in MAY_IMPORT.items():
        for other in others:
            assert name not in MAY_IMPORT[other], f"{name} and {other} may import each other"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_package_imports_only_allowed_packages(path):
    for name in imports(path):
        if name.startswith("lib.") and room(path) != "__init__":
            other = name.split(".")[1]
            assert other == room(path) or other in MAY_IMPORT[room(path)], f"{path} imports {name}"


def test_no_two_modules_import_each_other():
    modules = {module(path): path for path in FILES}
    needs = {name: imports(path) & set(modules) - {name} for name, path in modules.items()}
    done: set[str] = set()
    while ready := {name for name, others in needs.items() if name not in done and others <= done}:
        done |= ready
    assert not set(needs) - done, "these modules are part of an import circle or import one"


def test_some_modules_do_not_import_torch():
    code = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module("lib." + name)
    if found := {"torch", "timm", "torchvision"} & set(sys.modules):
        sys.exit(f"lib.{name} imports {sorted(found)}")
"""
    done = run([sys.executable, "-c", code, *NO_TORCH], cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_timm_and_matplotlib_are_imported_only_where_allowed():
    for path in FILES:
        name = path.relative_to(ROOT / "lib").as_posix()
        libraries = {module.split(".")[0] for module in imports(path)}
        assert "timm" not in libraries or name in TIMM, name
        assert "matplotlib" not in libraries or name == "report/plots.py", name


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_names_with_a_leading_underscore_are_used_only_in_their_file(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lib."):
            assert not [alias.name for alias in node.names if alias.name.startswith("_")], node.module


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_discouraged_patterns_do_not_occur(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\.cuda\(\)", text), "devices are chosen in utils/misc.py"
    assert not re.search(r"torch\.load\((?!.*weights_only=True)", text), "loading a checkpoint must not run code"
    assert not re.search(r"getattr\(cfg|cfg\.get\(", text), "defaults stand in config/schema.py"
    assert not re.search(r"\bimport \*", text)
    assert "METHOD.md" not in text, "cite docs/method.md, which is part of the repository"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_public_functions_have_docstrings(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            is_record = isinstance(node, ast.ClassDef) and any(isinstance(n, ast.AnnAssign) for n in node.body)
            is_short = isinstance(node, ast.FunctionDef) and len(node.body) <= 2
            assert ast.get_docstring(node) or is_record or is_short, f"{path}: {node.name}"
