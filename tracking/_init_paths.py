"""Puts this checkout first on sys.path. All forks of OSTrack call their package `lib`; this import must find ours."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "tracking"  # last, so that its test.py hides no package; worker processes import this file from there
sys.path[:] = [str(ROOT), *(p for p in sys.path if Path(p or ".").resolve() not in (ROOT, HERE)), str(HERE)]

import lib  # noqa: E402

if Path(lib.__file__ or "").resolve().parent != ROOT / "lib":
    sys.exit(f"error: `lib` was imported from {lib.__file__}, expected {ROOT / 'lib'}: uninstall the other package")
for _path in sys.path[1:]:
    if (Path(_path) / "lib" / "__init__.py").is_file() or (Path(_path) / "lib" / "train").is_dir():
        sys.stderr.write(f"warning: another package `lib` is in {_path}; this run uses the one in {ROOT}\n")
