"""Find, resolve and check the links of the repository's Markdown, by the rules of code hosts and of our site."""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?P<label>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.*?)\s*$")
_FENCE = re.compile(r"^\s*(?P<ticks>`{3,}|~{3,})")
_CODE = re.compile(r"(`+)(?:(?!\1).)+\1")


@dataclass(frozen=True)
class Link:
    """A link: the number of its line, its label with the brackets, and its target."""

    line: int
    label: str
    target: str

    @property
    def path(self) -> str:
        """The target without its `#` fragment; empty if the link stays within the page."""
        return self.target.split("#", 1)[0]

    @property
    def anchor(self) -> str:
        """The part of the target after the first #, or an empty text if there is none."""
        return self.target.partition("#")[2]

    @property
    def relative(self) -> bool:
        """True if the link leads to a file of the repository or to a place in the page, False for another site."""
        return not re.match(r"[a-z][a-z0-9+.-]*:|/", self.target)


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of the lines outside code blocks."""
    fence = ""
    blank = True
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if fence:
            if found and found["ticks"].startswith(fence):
                fence = ""
            continue
        if found:
            fence = found["ticks"]
            continue
        # A line indented by four spaces after a blank line is code too; after a line of text it continues the text.
        if line.startswith("    ") and blank:
            continue
        blank = not line.strip()
        yield number, line


def links(text: str) -> Iterator[Link]:
    """Yield the links of a page."""
    for number, line in prose(text):
        for found in _LINK.finditer(_without_code(line)):
            yield Link(number, found["label"], found["target"])


def anchors(text: str) -> list[str]:
    """Return the anchors of a page's headings, in order."""
    found = []
    for _, line in prose(text):
        if heading := _HEADING.match(line):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"])
            plain = re.sub(r"[^\w\- ]", "", plain.replace("*", "").strip().lower())
            found.append(plain.replace(" ", "-"))
    return found


def resolve(page: str, path: str) -> str:
    """Return the file to which a relative path on a page leads; result and ``page`` are relative to the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page


def rewritten(text: str, change: Callable[[Link], str]) -> str:
    """Return the page with each link outside code replaced by the result of ``change``."""
    lines = text.splitlines()
    for number, line in prose(text):
        kept = _without_code(line)
        for found in reversed(list(_LINK.finditer(kept))):
            # Take the label from the original line, since `_without_code` has blanked code in it.
            label = line[found.start("label") : found.end("label")]
            new = change(Link(number, label, found["target"]))
            line = line[: found.start()] + new + line[found.end() :]
        lines[number - 1] = line
    return "\n".join(lines) + "\n"


def problems(page: str) -> Iterator[str]:
    """Yield a sentence on each problem of a page's links and headings; ``page`` is relative to the repository."""
    text = (REPO / page).read_text(encoding="utf-8")
    own = anchors(text)
    for anchor in sorted({anchor for anchor in own if own.count(anchor) > 1}):
        yield f"{page}: two headings have the anchor #{anchor}; sites number the second one, each in its own way"
    for link in links(text):
        if not link.relative:
            continue
        path = REPO / resolve(page, link.path)
        if not path.exists():
            yield f"{page}:{link.line}: {link.target} leads to nothing"
        elif (
            link.anchor
            and path.suffix == ".md"
            and link.anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            yield f"{page}:{link.line}: {link.target}: there is no heading #{link.anchor}"


def _without_code(line: str) -> str:
    """Return the line with code between backticks blanked, at the same length: text in code is not a link."""
    return _CODE.sub(lambda found: "\0" * len(found[0]), line)
