#!/usr/bin/env bash
# Creates .venv, and installs the requirements and this package into it. It is safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
PYTHON="${PYTHON:-python3}"

fail() { echo "install.sh: $*" >&2; exit 1; }

command -v "$PYTHON" >/dev/null || fail "no $PYTHON found; install Python 3.10 or newer, or set PYTHON"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "$PYTHON is $("$PYTHON" -V 2>&1), expected 3.10 or newer; set PYTHON, e.g. PYTHON=python3.12 bash install.sh"
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  rm -rf .venv # missing, incomplete, or moved from another folder
  "$PYTHON" -m venv .venv || fail "cannot create .venv; on Debian and Ubuntu: apt install python3-venv"
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
.venv/bin/python -c 'import cv2, torch, torchvision; print(f"ready: torch {torch.__version__}, OpenCV {cv2.__version__}")' ||
  fail "the installed packages cannot be imported, see above; if libGL.so.1 is missing: apt install libgl1 libglib2.0-0"
touch .venv/.ready
