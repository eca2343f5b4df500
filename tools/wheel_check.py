"""Check an installed wheel outside the checkout: `python tools/wheel_check.py`; exits with 1 if something is missing.

The release builds a wheel for each Python and machine, and runs this check with it (pyproject.toml,
`tool.cibuildwheel`).
"""

import sys
from importlib import metadata
from pathlib import Path

NAME = "fanout-loadgen"


def problems() -> list[str]:
    """Return a sentence for each thing that the installed package lacks."""
    import analysis
    import loadgen
    from loadgen import native
    from loadgen.resolve.loading import catalogue

    found = []
    here = Path(__file__).resolve().parents[1]
    for package in (loadgen, analysis):
        folder = Path(str(package.__file__)).resolve().parent
        if folder.parent == here:
            found.append(f"{package.__name__} comes from the checkout, not from a wheel: run this elsewhere")
        if not (folder / "py.typed").is_file():
            found.append(f"{package.__name__} has no py.typed")
    said, version = metadata.version(NAME), loadgen.__version__
    if said != version:
        found.append(f"the metadata says version {said}, the package {version}")
    if not native.available:
        found.append("the native receive path is missing: build with LOADGEN_NATIVE=require")
    if not catalogue():
        found.append("the catalogue of scenarios is missing")
    if not any(path.name == "LICENSE" for path in metadata.files(NAME) or ()):
        found.append("the licence is missing")
    return found


def main() -> int:
    """Print what the installed package lacks; return the exit code."""
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{NAME} {metadata.version(NAME)} on Python {sys.version.split()[0]}: whole")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
