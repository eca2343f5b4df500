#!/usr/bin/env bash
# Builds sdist and wheel of this machine and Python into dist/, with the native receive path or not at all, and checks
# them: `make wheels`. The release builds them for every Python and machine (.github/workflows/release.yml).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
rm -rf dist
LOADGEN_NATIVE=require "$python" -m build --outdir dist .
"$python" -m twine check --strict dist/*
ls -l dist
