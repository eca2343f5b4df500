"""The interactive part of the report: BokehJS, the charts' data and the script that draws them, for one HTML file.

Bokeh's wheel brings its JavaScript. Python's `bokeh` is not imported, since that alone takes half a second of CPU time.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources, util
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from analysis import text
from analysis.loading.run import Run
from analysis.plots.axes import origin_of

#: Bokeh's scripts: the first has the models and draws them, the second has functions that make plots.
_LIBRARY: Final = ("bokeh.min.js", "bokeh-api.min.js")
#: The Content-Security-Policy of a page without scripts: it allows styles and inline images only.
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
#: Characters that could end a script element, or a line in it, and their escapes in JSON strings.
_ESCAPED: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Interactive:
    """Scripts, data and policy that the page's template writes into the HTML file."""

    #: The contents of the page's `<script>` elements, in the order of the page.
    scripts: tuple[Markup, ...]
    #: The charts' data, as JSON for an element of type ``application/json``.
    data: Markup
    #: The page's Content-Security-Policy, which allows only these scripts, and no network requests.
    policy: str


def of(run: Run, charts: Mapping[str, Any], looks: Sequence[Any]) -> Interactive | None:
    """Return the scripts and the data that draw ``charts`` in a browser, or None if Bokeh is not installed.

    ``charts`` maps names to charts as made by `analysis.plots.plain`. ``looks`` is the result of
    `analysis.report.closer.looks`.
    """
    scripts = _scripts()
    if not scripts:
        return None
    origin_ns = origin_of(run)
    phases = [
        {
            "name": text.clean(name),
            "begin": (start_ns - origin_ns) / 1e9,
            "end": None if end_ns is None else (end_ns - origin_ns) / 1e9,
        }
        for name, (start_ns, end_ns) in run.phases.items()
    ]
    data = {"origin_ms": origin_ns / 1e6, "phases": phases, "plots": charts, "closer": looks}
    return Interactive(scripts, embedded(data), _policy(scripts))


def embedded(value: Any) -> Markup:
    """Return data as JSON for a script element, escaped so that no string in it can end the element."""
    said = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(said.translate(_ESCAPED))  # noqa: S704  every character that means something in HTML is escaped


@cache
def _scripts() -> tuple[Markup, ...]:
    """Return Bokeh's scripts and ours, or nothing if Bokeh is not installed."""
    spec = util.find_spec("bokeh")
    if spec is None or spec.origin is None:
        return ()
    folder = Path(spec.origin).parent / "server" / "static" / "js"
    try:
        library = [(folder / name).read_text(encoding="utf-8") for name in _LIBRARY]
    except OSError:
        return ()
    ours = (resources.files("analysis") / "templates" / "report.js").read_text(encoding="utf-8")
    scripts = tuple(_without_map(each) for each in (*library, ours))
    for script in scripts:
        if "</script" in script.lower() or "<!--" in script:
            raise ValueError("a script of the report would end its own element")
    return tuple(Markup(script) for script in scripts)  # noqa: S704  not from a run


def _without_map(script: str) -> str:
    """Return a script without the comment that names its source map, which a browser's developer tools would fetch."""
    lines = [line for line in script.splitlines() if not line.startswith("//# sourceMappingURL=")]
    return "\n".join(lines)


def _policy(scripts: tuple[Markup, ...]) -> str:
    hashes = (b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"{POLICY}; script-src {allowed}"
