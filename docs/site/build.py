"""Build the documentation as a site in build/docs/site: `python docs/site/build.py`; with `--serve`, serve it.

Pages are the Markdown files of docs/. Files elsewhere in the repository to which they link become part of the site: a
README becomes a page, and another text file or picture is copied. A link to a folder becomes the folder's name without
a link. A link to a missing file is an error.
"""

import argparse
import os
import posixpath
import shutil
import subprocess
import sys
from pathlib import Path

from links import REPO, Link, links, problems, resolve, rewritten

CONFIG = REPO / "docs" / "site" / "mkdocs.yml"
BUILT = REPO / "build" / "docs"
STAGED = BUILT / "pages"
#: Folder of the site for files from outside docs/.
_OUTSIDE = "repository"
_COPIED = {".yaml", ".yml", ".py", ".csv", ".sh", ".png", ".svg", ".css"}
#: Folders in docs/ that are not part of the site; only the style sheet is copied from them.
_NOT_SHOWN = ("docs/site/", "docs/generate/")


def main() -> int:
    """Stage the site's files and build or serve the site; return the exit code."""
    parser = argparse.ArgumentParser(prog="python docs/site/build.py", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="serve it on 127.0.0.1:8000 instead")
    serve = parser.parse_args().serve
    found = stage()
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        return 1
    generator = Path(sys.executable).with_name("zensical")
    if not generator.exists():
        print("zensical is not installed: pip install -c constraints.txt -e '.[docs]'", file=sys.stderr)
        return 2
    command = [str(generator), "serve" if serve else "build", "-f", str(BUILT / CONFIG.name)]
    if not serve:
        command += ["--strict", "--clean"]
    return subprocess.call(command, cwd=REPO, env=os.environ)  # noqa: S603  ours


def pages() -> list[str]:
    """Return the path of each file of the site, relative to the repository: files of docs/, and files they link to."""
    found = sorted(
        path.relative_to(REPO).as_posix()
        for path in (REPO / "docs").rglob("*")
        if path.suffix in {".md", *_COPIED}
    )
    found = [path for path in found if not path.startswith(_NOT_SHOWN)]
    waiting = [path for path in found if path.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for link in links((REPO / page).read_text(encoding="utf-8")):
            target = resolve(page, link.path)
            if not link.relative or target in found or not (REPO / target).is_file():
                continue
            if target.endswith(".md"):
                waiting.append(target)
            if Path(target).suffix in {".md", *_COPIED}:
                found.append(target)
    return found


def stage() -> list[str]:
    """Copy the site's files to `STAGED`, and rewrite links for the new places; return the problems, as sentences."""
    shutil.rmtree(STAGED, ignore_errors=True)
    known = pages()
    wrong = []
    for page in known:
        place = STAGED / _place(page)
        place.parent.mkdir(parents=True, exist_ok=True)
        if page.endswith(".md"):
            wrong += problems(page)
            text = (REPO / page).read_text(encoding="utf-8")
            place.write_text(
                rewritten(text, lambda link, page=page: _link(page, link, known)), encoding="utf-8"
            )
        else:
            shutil.copy(REPO / page, place)
    shutil.copy(CONFIG, BUILT)
    shutil.copy(CONFIG.with_name("style.css"), STAGED)
    return wrong


def _place(path: str) -> str:
    """Return the path in the site of a file of the repository."""
    place = path.removeprefix("docs/") if path.startswith("docs/") else f"{_OUTSIDE}/{path}"
    return place.replace("/README.md", ".md")


def _link(page: str, link: Link, known: list[str]) -> str:
    """Return the Markdown of a link, rewritten for the site; ``known`` are the files that the site has."""
    target = resolve(page, link.path)
    if not link.relative or not link.path:
        return f"{link.label}({link.target})"
    if target in known:
        way = posixpath.relpath(_place(target), posixpath.dirname(_place(page)) or ".")
        return f"{link.label}({way}{'#' + link.anchor if link.anchor else ''})"
    label = link.label[1:-1]
    return label if target in label else f"{label} (`{target}`)"


if __name__ == "__main__":
    sys.exit(main())
