"""Check a tag against the version, exit with 1 if it differs: `python tools/release_version.py v0.1.0`."""

import re
import sys
from pathlib import Path

STATED_IN = Path(__file__).resolve().parents[1] / "loadgen" / "version.py"


def version() -> str:
    """Return the version in `loadgen/version.py`, without importing it."""
    found = re.search(r'^VERSION = "([^"]+)"$', STATED_IN.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{STATED_IN}: no line VERSION = …")
    return found[1]


def main(tag: str) -> int:
    """Compare a tag with the version; return the exit code."""
    if tag == f"v{version()}":
        return 0
    print(
        f"the tag is {tag}, loadgen/version.py says {version()}: tag v{version()} or change the version",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/release_version.py TAG")
    sys.exit(main(sys.argv[1]))
