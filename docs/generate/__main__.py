"""Write docs/reference from the code: `python docs/generate`; `--check` only shows what is out of date."""

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping

import command_line
import environment
import gates
import prices
import run_folder
import scenario_file
from writing import REPO

import scenarios

FOLDER = REPO / "docs" / "reference"
#: File name of each page, and the function that returns its text.
PAGES: Mapping[str, Callable[[], str]] = {
    "command-line.md": command_line.page,
    "scenario-file.md": scenario_file.page,
    "scenarios.md": scenarios.page,
    "gates.md": gates.page,
    "run-folder.md": run_folder.page,
    "environment.md": environment.page,
    "prices.md": prices.page,
}


#: Pages in docs/reference that are written by hand.
BY_HAND = frozenset({"appsync-events.md"})


def main() -> int:
    """Write the pages, or with `--check` compare them; return 1 if a page is out of date or unknown, else 0."""
    parser = argparse.ArgumentParser(prog="python docs/generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a page is old")
    check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    old = False
    for path in sorted(FOLDER.iterdir()):
        if path.name not in PAGES and path.name not in BY_HAND:
            print(f"{path.relative_to(REPO)} is written by nothing: remove it")
            old = True
    for name, write in PAGES.items():
        path, new = FOLDER / name, write()
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before == new:
            continue
        if check:
            shown = path.relative_to(REPO).as_posix()
            lines = difflib.unified_diff(
                before.splitlines(), new.splitlines(), shown, "generated", "", "", 0, ""
            )
            print("\n".join(lines))
            old = True
        else:
            path.write_text(new, encoding="utf-8")
            print(f"written: {path.relative_to(REPO)}")
    if check and old:
        print("docs/reference is out of date: run `python docs/generate` and commit what it writes")
    return int(old)


if __name__ == "__main__":
    sys.exit(main())
