#!/usr/bin/env bash
# Writes constraints.txt anew from pyproject.toml: `make constraints`.
#
# One file serves Python 3.11 to 3.14: a pin that does not hold for all of them carries a marker. Pins that still satisfy
# pyproject.toml stay; `tools/constraints.sh --upgrade` raises all of them, `--upgrade-package NAME` one. Any other option
# goes to `uv pip compile` too.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || {
    echo "uv is not installed: .venv/bin/pip install -c constraints.txt -e '.[dev]'" >&2
    exit 2
}

# No --emit-index-url: the file names no registry.
"$uv" pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
    --custom-compile-command "make constraints" --no-annotate --no-progress --quiet \
    --output-file constraints.txt "$@"
