#!/usr/bin/env bash
# Builds and checks the sdist and the wheel in dist/, for this machine and Python: `make wheels`. Fails if the native
# receive path cannot be built. A release builds wheels for every Python and platform (.github/workflows/release.yml).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
rm -rf dist
LOADGEN_NATIVE=require "$python" -m build --outdir dist .
"$python" -m twine check --strict dist/*
ls -l dist
