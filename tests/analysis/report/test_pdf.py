"""Test report.pdf: the report's page as a PDF without active content, made without network access."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

import analysis
from analysis import extras, plots
from analysis.report import pdf
from tests.analysis.synthetic import simple_run

#: Text that would load something, run something or close its element if it were taken for HTML or CSS.
HOSTILE = (
    '</style><script>alert(1)</script><img src="http://127.0.0.1:9/x"><link rel=attachment href="{file}">'
    '<link rel=stylesheet href="{file}"><a href="http://127.0.0.1:9/">$x^2$</a>'
)


@pytest.fixture
def _one_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the report have only one plot, which contains an image."""
    monkeypatch.setattr(plots, "ALL", plots.ALL[1:2])


@pytest.fixture
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "ALL", ())


def written(run: Path, path: Path, **changes: Any) -> PdfReader:
    record = analysis.load(run)
    pdf.write(record, analysis.summarise(record) | changes, path)
    return PdfReader(path)


def words(said: str) -> str:
    return " ".join(said.split())


@pytest.mark.usefixtures("_one_plot")
def test_pages_have_numbers_the_runs_name_and_its_verdict(tmp_path: Path) -> None:
    scenario = {"version": 1, "name": "of paper", "gates": ["delivery.loss == 0"]}
    reader = written(simple_run(tmp_path / "run", scenario=scenario), tmp_path / "report.pdf")
    pages = [words(page.extract_text()) for page in reader.pages]
    assert len(pages) >= 2
    assert reader.metadata is not None
    assert reader.metadata.title == "of paper – run"
    for number, said in enumerate(pages, start=1):
        assert f"{number} / {len(pages)}" in said
        # All pages but the first have this header; the first has the text as its heading.
        header = "run Valid: 1 of 1 gates passed; 30 of 30 expected deliveries arrived"
        assert (header in said) == (number > 1)
    assert pages[0].startswith("of paper")
    assert "Ledger" in " ".join(pages)
    # A4, upright.
    assert {(round(page.mediabox.width), round(page.mediabox.height)) for page in reader.pages} == {
        (595, 842)
    }
    # The PDF has bookmarks, and a table of contents whose entries link to pages.
    assert {"Gates", "Latency", "Ledger"} <= {str(entry.title) for entry in flat(reader.outline)}
    links = [note.get_object() for page in reader.pages for note in page.get("/Annots", [])]
    assert len(links) >= 5
    assert all("/Dest" in link or link["/A"]["/S"] == "/GoTo" for link in links)


def flat(outline: Any) -> list[Any]:
    return [each for entry in outline for each in (flat(entry) if isinstance(entry, list) else [entry])]


@pytest.mark.usefixtures("_one_plot")
def test_foreign_text_stays_text_and_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plots.ALL[0].__name__ == "latency_heatmap"
    secret = tmp_path / "secret.css"
    secret.write_text("body::before { content: 'a file of the reader' }")

    def refused(*_: object, **__: object) -> Any:
        raise AssertionError("the report went to the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    hostile = HOSTILE.format(file=secret.as_uri())
    run = simple_run(tmp_path / "run", scenario={"version": 1, "name": hostile}, reason=hostile)
    reader = written(run, tmp_path / "report.pdf", scenario=hostile, status="failed", reason=hostile)
    said = "".join("".join(page.extract_text().split()) for page in reader.pages)
    assert "</style><script>alert(1)</script><img" in said
    assert "afileofthereader" not in said
    assert not reader.attachments
    content = (tmp_path / "report.pdf").read_bytes()
    for name in (b"/JavaScript", b"/URI", b"/Launch", b"/EmbeddedFile", b"/OpenAction", b"/AA"):
        assert name not in content


@pytest.mark.usefixtures("_no_plots")
@pytest.mark.parametrize("length", [60])
def test_a_long_table_repeats_its_header_and_no_row_is_cut(tmp_path: Path, length: int) -> None:
    run = analysis.load(simple_run(tmp_path / "run"))
    summary = analysis.summarise(run)
    worker = summary["workers"]["each"][0]
    host = "ip-10-0-0-1.a-region-with-a-long-name.compute.internal"
    summary["workers"]["each"] = [
        worker
        | {"worker": number, "hostname": host, "address": f"[2001:db8:85a3::8a2e:370:7334]:{50000 + number}"}
        for number in range(length)
    ]
    pdf.write(run, summary, tmp_path / "report.pdf")
    pages = [page.extract_text() for page in PdfReader(tmp_path / "report.pdf").pages]
    tabled = [
        said
        for said in pages
        if "50000" in said or f"{50000 + length - 1}" in said or "deliveriesevents" in said
    ]
    assert len(tabled) >= 2
    whole = "".join("".join(said.split()) for said in pages)
    for number in range(length):
        assert f"7334]:{50000 + number}" in whole
    # The last column of every row is on a page, not cut off.
    assert whole.count("whole") + whole.count("breaksoff") >= length
    for said in tabled:
        assert "weight" in said


def test_without_pango_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)

    class Broken:
        """Makes the import of WeasyPrint fail as on a system without Pango."""

        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.setattr(extras, "_is_there", lambda _module: True)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(
        extras.ExtraMissingError, match=r"apt-get install libpango-1\.0-0 .*print report\.html"
    ):
        pdf.require()


def test_without_weasyprint_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_is_there", lambda module: module != "weasyprint")
    with pytest.raises(
        extras.ExtraMissingError, match=r"needs the extra 'pdf'.*print report\.html from a browser"
    ):
        pdf.require()
