"""The package `lib` of TransCMD under a name of its own: `transcmd.tracker` is lib/tracker, and so on.

Checkouts of OSTrack and its descendants also contain a package `lib`. A program may import that one and this: the
modules below are made of the files of lib/, but import each other as `transcmd`.
"""

from __future__ import annotations

import ast
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

_LIB = Path(__file__).resolve().parents[1] / "lib"


class _Rename(ast.NodeTransformer):
    """Replaces `lib` by `transcmd` in the import statements of a module."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.module and node.module.partition(".")[0] == "lib":
            node.module = __name__ + node.module.removeprefix("lib")
        return node


class _Loader(SourceFileLoader):
    """Compiles a file of lib/ under its new name. Nothing is cached, because the cached code is that of `lib`."""

    def get_code(self, fullname: str):
        tree = ast.parse(self.get_data(self.path), self.path)
        return compile(ast.fix_missing_locations(_Rename().visit(tree)), self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path=None, target=None):
        package, _, rest = fullname.partition(".")
        if package != __name__ or not rest:
            return None
        file = _LIB.joinpath(*rest.split("."))
        if (file / "__init__.py").is_file():
            loader = _Loader(fullname, str(file / "__init__.py"))
            return spec_from_file_location(fullname, loader.path, loader=loader, submodule_search_locations=[str(file)])
        if file.with_suffix(".py").is_file():
            loader = _Loader(fullname, str(file.with_suffix(".py")))
            return spec_from_file_location(fullname, loader.path, loader=loader)
        return None


sys.meta_path.insert(0, _Finder())
