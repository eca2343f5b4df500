#!/usr/bin/env bash
# Updates constraints.txt from pyproject.toml: `make constraints`.
#
# The file is for Python 3.11 to 3.14: a pin for only some of these versions has a marker. Pins that still satisfy
# pyproject.toml stay. `tools/constraints.sh --upgrade` upgrades all of them, `--upgrade-package NAME` one. All options are
# passed to `uv pip compile`.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || {
    echo "uv is not installed: .venv/bin/pip install -c constraints.txt -e '.[dev]'" >&2
    exit 2
}

# Without --emit-index-url, so that the file does not name a registry.
"$uv" pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
    --custom-compile-command "make constraints" --no-annotate --no-progress --quiet \
    --output-file constraints.txt "$@"
