#!/usr/bin/env bash
# Install packages into .venv: `tools/install.sh ARGUMENT…`, with the arguments of `pip install`.
#
# uv does it in a tenth of pip's CPU time. It lies in build/uv, so that .venv holds only what the harness needs. Where uv
# cannot be had or cannot install, as with a package index that only pip is configured for, pip does it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
uv=build/uv/bin/uv
[ -x "$uv" ] || "$python" -m pip install -q -c constraints.txt --target build/uv --no-compile uv >/dev/null 2>&1 || true
if [ -x "$uv" ] && "$uv" pip install -q -p "$python" -c constraints.txt "$@" 2>/dev/null; then
    exit 0
fi
exec "$python" -m pip install -q -c constraints.txt "$@"
