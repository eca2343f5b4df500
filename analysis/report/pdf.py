"""The report as PDF: the page of report.html, printed by WeasyPrint."""

from importlib import resources
from pathlib import Path
from typing import Any, Final

from analysis import extras
from analysis.loading.run import Run
from analysis.record import files
from analysis.report import page

_WITHOUT: Final = "without it, print report.html from a browser, which has the same layout"
_PANGO: Final = (
    "a PDF needs the system library Pango, which is not installed: on Debian and Ubuntu `apt-get install"
    " libpango-1.0-0 libpangoft2-1.0-0`, on macOS `brew install pango`"
)


def require() -> None:
    """Check that PDF files can be made here, before work begins.

    Raises:
        ExtraMissingError: the extra `pdf` or the system library Pango is missing; the error says what to install, and
            what to do without it.
    """
    try:
        extras.require("pdf", "a PDF")
    except extras.ExtraMissingError as error:
        raise extras.ExtraMissingError(f"{error}; {_WITHOUT}") from error
    try:
        import weasyprint  # noqa: F401
    except OSError as error:
        raise extras.ExtraMissingError(f"{_PANGO}; {_WITHOUT}") from error


def write(run: Run, summary: dict[str, Any], path: Path) -> None:
    """Write the report, with the same figures as report.html from the same summary.

    Nothing is fetched: neither from the network nor from a file.

    Raises:
        ExtraMissingError: the extra `pdf` or the system library Pango is missing.
        OSError: the file cannot be written.
    """
    require()
    from weasyprint import CSS, HTML
    from weasyprint.urls import URLFetcher

    # Allow only `data:` URLs, which the plots contain, so that nothing is fetched.
    fetcher = URLFetcher(allowed_protocols=("data",))
    html = page.render(run, summary, scripts=False)
    sheet = CSS(string=_sheet(), url_fetcher=fetcher)
    with files.replacing(path) as temporary:
        HTML(string=html, url_fetcher=fetcher).write_pdf(temporary, stylesheets=[sheet])


def _sheet() -> str:
    return (resources.files("analysis") / "templates" / "pdf.css").read_text(encoding="utf-8")
