"""The design, kept true: who imports whom, what must not be written, tables that hold what they promise."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "lib").rglob("*.py"))
# A package may import those of lower rank, and itself; equal ranks do not know each other.
RANK = {
    "utils": 0,
    "structures": 0,
    "config": 0,
    "data": 1,
    "models": 1,
    "losses": 2,
    "tracker": 3,
    "train": 4,
    "evaluation": 4,
}
BUILDERS = {"config": {"tracker", "train"}}  # who may read configurations
NO_TORCH = (
    "structures.py",
    "data/crop.py",
    "data/image.py",
    "utils/boxes.py",
    "utils/files.py",
    "tracker/postprocess.py",
    "evaluation/metrics.py",
    "evaluation/annotations.py",
    "evaluation/evaluate.py",
    "evaluation/plots.py",
    "evaluation/html.py",
    "evaluation/vot.py",
    "evaluation/vot_workspace.py",
    "tracker/base.py",
)
TIMM = {"models/convert.py", "models/vit.py", "models/weights.py"}


def imports(path: Path, with_type_checking: bool = False) -> set[str]:
    """Modules that a file imports, full names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {id(child) for child in ast.walk(node)}
    names = set()
    for node in ast.walk(tree):
        if id(node) in skipped and not with_type_checking:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def package(path: Path) -> str:
    return path.relative_to(ROOT / "lib").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = package(path)
    for name in imports(path, with_type_checking=True):
        if not name.startswith("lib.") or own == "__init__":
            continue
        other = name.split(".")[1]
        if other in BUILDERS:
            assert own in BUILDERS[other] | {other}, f"{path} imports {name}"
        else:
            assert other == own or RANK[other] < RANK[own], f"{path} imports {name}"


@pytest.mark.parametrize("name", NO_TORCH)
def test_what_a_device_shares_needs_no_torch(name):
    module = "lib." + name.removesuffix(".py").replace("/", ".")
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'timm', 'torchvision'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_timm_and_matplotlib_stay_where_they_are():
    for path in FILES:
        name = path.relative_to(ROOT / "lib").as_posix()
        libraries = {module.split(".")[0] for module in imports(path)}
        assert "timm" not in libraries or name in TIMM, name
        assert "matplotlib" not in libraries or name == "evaluation/plots.py", name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_habits_that_we_left_behind(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\.cuda\(\)", text), "devices are picked in utils/misc.py"
    assert not re.search(r"torch\.load\((?!.*weights_only=True)", text), "checkpoints never run code"
    assert not re.search(r"getattr\(cfg|cfg\.get\(", text), "defaults stand in config/transcmd.py"
    assert not re.search(r"\bimport \*", text)
    assert len(text.splitlines()) <= 300, "a file fits a few screens"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_say_what_they_do(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            named_by_fields = isinstance(node, ast.ClassDef) and any(isinstance(n, ast.AnnAssign) for n in node.body)
            short = isinstance(node, ast.FunctionDef) and len(node.body) <= 2
            assert ast.get_docstring(node) or named_by_fields or short, f"{path}: {node.name}"
