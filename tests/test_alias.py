"""The package `transcmd`: the modules of `lib` under a name that no checkout of another tracker has."""

import ast
import os
import pickle
import sys

import numpy as np
import pytest

from tests.processes import ROOT, run

# A program in a checkout of OSTrack, whose own package `lib` comes first on the path and is imported before and after.
PROGRAM = """
import numpy as np
from lib.test import name
from transcmd.structures import Frame
from transcmd.tracker.build import Request, build_tracker
import lib.train
tracker = build_tracker(Request("static")).make("rgbt", "cpu")
image = np.zeros((40, 50, 3), np.uint8)
tracker.initialize(Frame(image, image), np.array([10, 10, 5, 6]))
print(name, *tracker.track(Frame(image, image)).box_xywh, lib.train.name)
"""


def test_a_checkout_with_another_package_lib_can_use_this_one(tmp_path):
    for name in ("__init__", "test", "train", "config", "structures", "utils"):  # OSTrack has such modules too
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / f"{name}.py").write_text(f"name = 'other {name}'\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment)
    assert done.stdout == "other test 10.0 10.0 5.0 6.0 other train\n", done.stderr


def test_the_modules_are_those_of_lib_under_another_name():
    from transcmd.results import raw
    from transcmd.utils import boxes

    from lib.utils.boxes import iou_xywh

    assert boxes.__file__ == str(ROOT / "lib/utils/boxes.py") and boxes.__name__ == "transcmd.utils.boxes"
    pair = np.array([0, 0, 2, 2.0]), np.array([1, 0, 2, 2.0])
    assert boxes.iou_xywh(*pair) == iou_xywh(*pair) == pytest.approx(1 / 3)
    assert raw.write_text.__module__ == "transcmd.utils.files" and sys.modules["transcmd.utils.files"]
    assert pickle.loads(pickle.dumps(boxes.iou_xywh)) is boxes.iou_xywh  # worker processes find it
    with pytest.raises(ModuleNotFoundError, match="transcmd.nothing"):
        __import__("transcmd.nothing")


def test_lib_imports_itself_only_in_the_form_that_the_alias_renames():
    for path in (ROOT / "lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert all(alias.name.partition(".")[0] != "lib" for alias in node.names), f"{path}: from lib... import"


def test_the_distribution_contains_both_packages():
    assert '"transcmd"' in (ROOT / "setup.py").read_text(encoding="utf-8")
