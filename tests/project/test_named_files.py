"""Test that files named in documentation, commands and comments exist."""

import re

from tests.paths import REPO
from tests.tracked import tracked

#: Folders whose files are named by path; files of `loadgen` and `analysis` are named as modules instead.
FOLDERS = "tests|benchmarks|docs"
#: Files of another project, ClockBound.
ELSEWHERE = {"docs/PROTOCOL.md"}
NAMED = re.compile(
    rf"(?<![\w./<-])(?:\.\./)*((?:{FOLDERS})/[\w./-]*\w\.(?:py|md|mjs|yaml|yml|toml|json|sh))(?![\w*{{<])"
)
#: Suffixes of the files that are searched for names: pages and sources.
READ = (".md", ".py", ".c", ".h", ".toml", ".yml", ".yaml")


def test_what_is_named_is_there() -> None:
    named = {
        (name, found)
        for name in tracked(*READ)
        if name != "CHANGELOG.md" and not name.startswith("results/sample/")
        for found in NAMED.findall((REPO / name).read_text())
    }
    assert len(named) > 100
    assert (
        sorted(
            (name, found) for name, found in named if found not in ELSEWHERE and not (REPO / found).exists()
        )
        == []
    )
