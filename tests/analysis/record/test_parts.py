"""Test that the rows in a place are those that the worker stored, and that no other piece is taken for one of them."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.record import home, parts
from analysis.record.home import AwayError
from analysis.record.parts import Found, Part, Parts, StoredWorker
from analysis.record.places import PARTS_FROM, Place
from analysis.record.schemas import plain
from analysis.record.storage import Storage, StorageError

RUN = "run-1"
FOLDER = "worker-0003"


def stream(*batches: int, table: str = "clock") -> bytes:
    """Return an Arrow stream with batches of the given numbers of rows."""
    schema, sink = plain(table), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for rows in batches:
            columns = [pa.array(range(rows), type=field.type) for field in schema]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return bytes(sink.getvalue())


class Site:
    """A place with the pieces of worker 3's pings."""

    def __init__(self, folder: Path, content: bytes, size: int) -> None:
        self.storage = Storage(Place.of(str(folder)))
        self.folder = folder / RUN / FOLDER
        self.storage.write((RUN,), parts.BEGUN, b"{}")
        self.pieces = [content[at : at + size] for at in range(0, len(content), size)]
        for number, piece in enumerate(self.pieces):
            self.storage.write((RUN, FOLDER), parts.piece_name("clock", 3, number, piece), piece)

    def path(self, number: int) -> Path:
        (found,) = self.folder.glob(f"clock-0003.arrows.{number:06d}-*")
        return found

    def read(self, most: int | None = None) -> Found:
        found = Found()
        rows = sum(
            batch.num_rows for batch in StoredWorker(self.storage, RUN, 3).batches("clock", found, most)
        )
        assert rows == found.rows
        return found


@given(st.lists(st.integers(0, 40), max_size=5), st.integers(64, 3_000))
def test_the_pieces_are_the_stream_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int], size: int
) -> None:
    content = stream(*batches)
    site = Site(tmp_path_factory.mktemp("cut"), content, size)
    found = site.read()
    assert (found.rows, found.bytes, found.pieces) == (sum(batches), len(content), len(site.pieces))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.trouble is None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, stream(20, 30, 40), 1_000)


def test_what_a_killed_worker_had_stored_is_read_up_to_its_last_whole_batch(site: Site) -> None:
    site.path(len(site.pieces) - 1).unlink()
    found = site.read()
    assert found.rows in (20, 50)
    assert found.trouble is None
    assert found.sha256 == hashlib.sha256(b"".join(site.pieces[:-1])).hexdigest()


@pytest.mark.parametrize("how", ["missing", "short", "altered", "longer", "twice", "a pipe"])
def test_a_piece_that_is_not_as_it_was_ends_the_stream_and_is_named(site: Site, how: str) -> None:
    path = site.path(2)
    content = path.read_bytes()
    match how:
        case "missing" | "a pipe":
            path.unlink()
            if how == "a pipe":
                import os

                os.mkfifo(path)
        case "short":
            path.write_bytes(content[:-1])
        case "longer":
            path.write_bytes(content + b"x")
        case "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case _:
            (path.parent / f"{path.name[:-64]}{'0' * 64}").write_bytes(content)
    found = site.read()
    assert found.trouble is not None
    assert "piece 2 of worker-0003/clock-0003.arrows" in found.trouble
    assert (found.pieces, found.bytes) == (2, 2_000)
    assert found.rows < 90


def test_files_with_other_names_are_no_pieces(site: Site) -> None:
    whole = site.read()
    for name in ("clock-0003.arrows", "clock-0004.arrows.000000-" + "0" * 64, "clock-0003.arrows.999999-x"):
        (site.folder / name).write_bytes(b"x")
    assert site.read() == whole


def test_rows_of_another_table_are_not_taken(tmp_path: Path) -> None:
    found = Site(tmp_path, stream(5, table="echo"), 10_000).read()
    assert (found.rows, found.pieces) == (0, 0)
    assert found.trouble == "worker-0003/clock-0003.arrows does not hold rows of clock"


def test_a_piece_larger_than_any_is_not_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PIECE_BYTES", 999)
    with pytest.raises(StorageError, match="larger than 999 bytes"):
        site.read()


def recorded(site: Site, **other: Any) -> dict[str, Any]:
    """Return the manifest of a record whose rows are in the place."""
    found = site.read()
    part = Part(
        worker=3,
        table="clock",
        pieces=found.pieces,
        bytes=found.bytes,
        rows=found.rows,
        sha256=found.sha256,
    )
    import msgspec

    made = Parts(uri=site.storage.place.uri, run=RUN, away=True, streams=[part])
    return {"parts": msgspec.to_builtins(made) | other}


def test_a_record_is_read_from_no_place_that_its_reader_has_not_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PARTS_FROM, raising=False)
    uri = site.storage.place.uri
    manifest = recorded(site)
    found = home.away(tmp_path, manifest)
    assert found is not None
    with pytest.raises(AwayError, match=f"--parts-from {uri}"):
        home.storage_of(tmp_path, found)
    assert home.storage_of(tmp_path, found, [uri]).place.uri == uri
    monkeypatch.setenv(PARTS_FROM, uri)
    assert home.storage_of(tmp_path, found).place.uri == uri


def test_the_place_that_a_foreign_record_names_is_not_read_even_if_another_is_trusted(
    site: Site, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    found = home.away(tmp_path, recorded(site, uri="s3://somebody-elses-bucket/secrets"))
    assert found is not None
    storage = home.storage_of(tmp_path, found, [str(other)])
    assert storage.place.uri == other.as_uri()
    # The rows may have been moved: the place with the run's folder is taken.
    moved = home.storage_of(tmp_path, found, [str(other), site.storage.place.uri])
    assert moved.place == site.storage.place


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", "../../etc"),
        ("run", "/etc"),
        ("run", ".."),
        ("run", ""),
        ("streams", [{"worker": 3, "table": "../x", "pieces": 1, "bytes": 1, "rows": 1, "sha256": "0" * 64}]),
        (
            "streams",
            [{"worker": -1, "table": "clock", "pieces": 1, "bytes": 1, "rows": 1, "sha256": "0" * 64}],
        ),
        ("streams", [{"worker": 3, "table": "clock", "pieces": 1, "bytes": 1, "rows": 1, "sha256": "../x"}]),
    ],
)
def test_names_in_a_record_that_lead_elsewhere_are_refused(
    site: Site, tmp_path: Path, key: str, value: Any
) -> None:
    with pytest.raises(AwayError, match=f"{tmp_path} holds a damaged record"):
        home.away(tmp_path, recorded(site, **{key: value}))


@given(st.text(max_size=30))
@example("../worker-0003")
@example("clock-0003.arrows/../../x")
def test_no_name_that_lies_in_a_place_is_used_as_a_path(name: str) -> None:
    """A place lists its files' names, and an object's name in a bucket may hold anything."""

    class Listing(Storage):
        def sizes(self, folders: tuple[str, ...]) -> dict[str, int]:
            return {name: 10, f"clock-0003.arrows.000000-{name}": 10}

        def read(self, folders: tuple[str, ...], name: str, most: int) -> bytes:
            raise AssertionError(name)

    found = Found()
    assert not list(StoredWorker(Listing(Place.of("/x")), RUN, 3).batches("clock", found))
    assert found.pieces == 0


def test_rows_are_brought_home_whole_or_not_at_all(site: Site, tmp_path: Path) -> None:
    found = home.away(tmp_path, recorded(site))
    assert found is not None
    target = tmp_path / "home"
    target.mkdir()
    home.write(tmp_path, found, site.storage, target)
    import pyarrow.parquet as pq

    assert pq.read_metadata(target / "clock.parquet").num_rows == 90
    path = site.path(1)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for name in target.iterdir():
        name.unlink()
    with pytest.raises(
        AwayError, match=r"piece 1 of worker-0003/clock-0003\.arrows is not whole, or was altered"
    ):
        home.write(tmp_path, found, site.storage, target)
    assert not (target / "clock.parquet").exists()


def test_a_record_with_other_rows_than_those_in_the_place_is_not_read(site: Site, tmp_path: Path) -> None:
    """Someone may have replaced all pieces by others, whose names have the right checksums."""
    found = home.away(tmp_path, recorded(site))
    assert found is not None
    for number in range(len(site.pieces)):
        site.path(number).unlink()
    Site(tmp_path, stream(20, 30, 41), 1_000)
    with pytest.raises(AwayError, match="was altered"):
        home.write(tmp_path, found, site.storage, tmp_path)


def test_a_folder_that_is_not_there_is_said(site: Site, tmp_path: Path) -> None:
    found = home.away(tmp_path, recorded(site))
    assert found is not None
    with pytest.raises(AwayError, match=r"there is no run-1/run\.json, so its rows in file:///nowhere"):
        home.write(tmp_path, found, Storage(Place.of("/nowhere/at/all")), tmp_path)
