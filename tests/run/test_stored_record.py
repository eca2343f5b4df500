"""Test the record of a run whose workers stored their rows elsewhere: what lies there is checked against their word."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.record.places import PARTS_FROM, Place
from analysis.record.schemas import TABLES
from analysis.record.storage import Storage
from loadgen.exits import ExitCode, RunError
from loadgen.measure.spool import SpoolWriter
from loadgen.run.placement import Placement
from loadgen.run.record import RunFolder
from loadgen.run.worker.storing import Storing
from tests.run.test_record import TARGET

ROW = tuple(range(1, 10))


class Site:
    """A run of workers 0 and 1, each with ten pings on record, which both have stored."""

    def __init__(self, folder: Path) -> None:
        self.rows = folder / "rows"
        self.place = Place.of(str(self.rows))
        self.run = RunFolder.create(
            Placement(folder / "results"), {"name": "made-up"}, TARGET, 5, 1_795_490_000 * 10**9, self.place
        )
        assert self.run.manifest.parts is not None
        self.name: str = self.run.manifest.parts["run"]
        self.run.manifest.workers = [self.worker(folder / "own", number) for number in (0, 1)]
        self.run.manifest.status, self.run.manifest.exit_code = "complete", int(ExitCode.PASSED)

    def worker(self, own: Path, number: int, finished: bool = True) -> dict[str, Any]:
        """Store a worker's rows, and return its entry in the manifest."""
        writer = SpoolWriter(own, number)
        writer.write_rows("clock", [ROW] * 10)
        writer.close()
        storing = Storing(Storage(self.place), self.name, number, writer.files, start=lambda loop: None)
        storing.finish()
        storing._work()
        (stream,) = storing.streams().values()
        told = {"pieces": 1, "bytes": stream.size, "rows": 10, "sha256": stream.sha256}
        return {
            "worker": number,
            "finished": finished,
            "rows": {"clock": 10},
            "stored": {f"clock-{number:04d}.arrows": told},
        }

    def piece(self, number: int) -> Path:
        (found,) = self.rows.glob(f"*/worker-{number:04d}/clock-*")
        return found

    def saved(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run.path / "manifest.json").read_text())
        return found

    def pings(self) -> int:
        return int(pq.read_metadata(self.run.path / "clock.parquet").num_rows)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    monkeypatch.setenv(PARTS_FROM, site.place.uri)
    return site


def test_stored_rows_become_tables_which_can_be_left_away(site: Site) -> None:
    site.run.complete()
    assert not site.run.incomplete
    assert site.pings() == 20
    streams = site.saved()["parts"]["streams"]
    assert [(each["worker"], each["table"], each["rows"]) for each in streams] == [
        (0, "clock", 10),
        (1, "clock", 10),
    ]
    assert not site.saved()["parts"]["away"]
    said = site.run.leave_rows_in_storage()
    assert said is not None
    assert f"loadgen fetch {site.run.path} --parts-from {site.place.uri}" in said
    assert site.saved()["parts"]["away"]
    assert not [path for path in site.run.path.iterdir() if path.stem in TABLES]
    assert site.saved()["exit_code"] == ExitCode.PASSED


@pytest.mark.parametrize("how", ["missing", "short", "altered", "another"])
def test_a_part_that_is_not_what_a_worker_said_is_rows_missing(site: Site, how: str) -> None:
    piece = site.piece(1)
    content = piece.read_bytes()
    match how:
        case "missing":
            piece.unlink()
        case "short":
            piece.write_bytes(content[:-200])
        case "altered":
            piece.write_bytes(content[:-200] + b"x" * 200)
        case _:
            # Someone has replaced the piece by one of another worker's run, whose name has the right checksum.
            piece.unlink()
            writer = SpoolWriter(site.rows / "other", 1)
            writer.write_rows("clock", [ROW] * 9)
            writer.close()
            Storing(Storage(site.place), site.name, 1, writer.files, start=lambda loop: None)._round(
                last=True
            )
    site.run.complete()
    manifest = site.saved()
    assert (manifest["status"], manifest["exit_code"]) == ("failed", ExitCode.INCONCLUSIVE)
    assert manifest["reason"].startswith("the record of worker 1 is not whole: ")
    assert "clock-0001.arrows" in manifest["reason"]
    assert f"in {site.place.uri}/{site.name}" in manifest["reason"]
    assert f"{9 if how == 'another' else 0} of 10 rows of clock" in manifest["reason"]


def test_rows_of_a_killed_worker_are_kept_and_named(site: Site) -> None:
    entry = site.run.manifest.workers[1]
    entry["finished"] = False
    del entry["stored"], entry["rows"]
    site.run.complete()
    assert site.pings() == 20
    (part,) = [each for each in site.saved()["parts"]["streams"] if each["worker"] == 1]
    assert (part["rows"], part["sha256"]) == (10, site.piece(1).name[-64:])


def test_rows_that_a_worker_sent_instead_are_taken_and_stay_here(site: Site, tmp_path: Path) -> None:
    """A worker whose storage failed sends whole files; the pieces that it had stored are a part of them."""
    writer = SpoolWriter(site.run.spool, 1)
    writer.write_rows("clock", [ROW] * 10)
    writer.write_rows("clock", [ROW] * 5)
    writer.close()
    site.run.manifest.workers[1]["rows"] = {"clock": 15}
    site.run.complete()
    assert site.pings() == 25
    said = site.run.leave_rows_in_storage()
    assert said is not None
    assert "the run's folder keeps its tables" in said
    assert not site.saved()["parts"]["away"]
    assert (site.run.path / "clock.parquet").exists()


def test_a_storage_out_of_reach_leaves_a_record_that_can_be_completed_later(
    site: Site, tmp_path: Path
) -> None:
    # As the coordinator does.
    site.run.save()
    site.rows.rename(tmp_path / "away")
    with pytest.raises(RunError, match="there is no") as caught:
        site.run.complete()
    assert caught.value.code == ExitCode.INCONCLUSIVE
    assert f"`loadgen report {site.run.path} --parts-from {site.place.uri}`" in str(caught.value)
    assert site.run.incomplete
    (tmp_path / "away").rename(site.rows)
    RunFolder.open(site.run.path).complete()
    assert site.pings() == 20


def test_parts_that_were_moved_are_read_where_they_are_now(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.rows.rename(tmp_path / "moved")
    moved = (tmp_path / "moved").as_uri()
    # Nothing is taken from elsewhere while the record's own place is named too and does not answer.
    monkeypatch.setenv(PARTS_FROM, f"{site.place.uri} {moved}")
    with pytest.raises(RunError, match="cannot be read"):
        site.run.complete()
    monkeypatch.setenv(PARTS_FROM, moved)
    site.run.complete()
    assert site.pings() == 20
    assert site.saved()["parts"]["uri"] == moved


def test_a_foreign_record_is_not_completed_from_where_it_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run.save()
    monkeypatch.delenv(PARTS_FROM)
    with pytest.raises(RunError, match="If you trust this record, name the place") as caught:
        RunFolder.open(site.run.path).complete()
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("run", ["../x", "/etc", ".."])
def test_a_foreign_records_run_cannot_lead_out_of_the_place(site: Site, run: str) -> None:
    assert site.run.manifest.parts is not None
    site.run.manifest.parts["run"] = run
    with pytest.raises(RunError, match="parts") as caught:
        site.run.complete()
    assert caught.value.code == ExitCode.USAGE


def test_a_place_that_cannot_be_written_is_told_before_the_run_and_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("")
    with pytest.raises(
        RunError, match=r"--spool-to: file:///.*/rows cannot be written: Not a directory"
    ) as caught:
        Site(tmp_path)
    assert caught.value.code == ExitCode.INCONCLUSIVE
    assert list((tmp_path / "results").iterdir()) == []


def test_runs_of_one_name_have_folders_of_their_own_in_a_place(tmp_path: Path) -> None:
    names = set()
    for token in (5, 6):
        results = tmp_path / str(token)
        made = RunFolder.create(
            Placement(results), {"name": "made-up"}, TARGET, token, 10**18, Place.of(str(tmp_path / "rows"))
        )
        assert made.manifest.parts is not None
        names.add(made.manifest.parts["run"])
        shutil.rmtree(results)
    assert len(names) == 2
