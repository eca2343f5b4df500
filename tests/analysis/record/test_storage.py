"""Test reading and writing a place; tests/system/run/test_stored_rows.py uses S3 as moto's server simulates it."""

import os
from pathlib import Path

import pytest

from analysis.record import storage as module
from analysis.record.places import Place
from analysis.record.storage import MissingError, Storage, StorageError

FOLDERS = ("run-1", "worker-0000")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(Place.of(str(tmp_path / "place")))


def test_a_folder_keeps_what_was_written(storage: Storage, tmp_path: Path) -> None:
    assert storage.sizes(FOLDERS) == {}
    storage.write(FOLDERS, "a", b"one")
    storage.write(FOLDERS, "a", b"three")
    assert storage.read(FOLDERS, "a", 5) == b"three"
    assert storage.sizes(FOLDERS) == {"a": 5}
    assert [path.name for path in (tmp_path / "place" / "run-1" / "worker-0000").iterdir()] == ["a"]
    with pytest.raises(MissingError):
        storage.read(FOLDERS, "b", 5)
    with pytest.raises(StorageError, match="a is larger than 4 bytes"):
        storage.read(FOLDERS, "a", 4)


def test_a_link_in_the_place_of_a_piece_is_replaced_and_not_followed(
    storage: Storage, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    storage.write(FOLDERS, "a", b"x")
    piece = tmp_path / "place" / "run-1" / "worker-0000" / "a"
    piece.unlink()
    piece.symlink_to(other)
    storage.write(FOLDERS, "a", b"y")
    assert other.read_text() == "mine"
    assert not piece.is_symlink()


def test_a_link_in_the_place_of_a_workers_folder_is_refused(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "place" / "run-1").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "place" / "run-1" / "worker-0000").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError):
        storage.write(FOLDERS, "a", b"x")
    assert list((tmp_path / "other").iterdir()) == []


def test_neither_a_pipe_nor_a_full_disk_stops_anything(storage: Storage, tmp_path: Path) -> None:
    storage.write(FOLDERS, "a", b"x")
    os.mkfifo(tmp_path / "place" / "run-1" / "worker-0000" / "pipe")
    with pytest.raises(StorageError, match="not a regular file"):
        storage.read(FOLDERS, "pipe", 5)
    assert storage.sizes(FOLDERS) == {"a": 1}


def test_an_error_is_one_line_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    error = OSError("AWS Error: key\nhunter2hunter2 at http://me:pass@host/x is wrong (Request ID: abc123)")
    assert module._words(error) == "AWS Error: key … at http://…@host/x is wrong"


@pytest.mark.parametrize(
    ("variables", "settings"),
    [
        (
            {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"},
            {"region": "eu-west-1"},
        ),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, {"region": "us-east-1"}),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"},
            {"scheme": "http", "endpoint_override": "127.0.0.1:9000"},
        ),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_ENDPOINT_URL_S3": "https://s3.example"},
            {"scheme": "https", "endpoint_override": "s3.example"},
        ),
    ],
)
def test_s3_is_found_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], settings: dict[str, str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = module._s3_settings("bucket")
    assert {name: found.get(name) for name in ("region", "scheme", "endpoint_override")} == {
        **dict.fromkeys(("region", "scheme", "endpoint_override")),
        **settings,
    }


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://host", "http://me:hunter2@host:9000"])
def test_an_endpoint_that_is_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL is no endpoint") as caught:
        Storage(Place.of("s3://bucket/rows")).sizes(FOLDERS)
    assert "hunter2" not in str(caught.value)


def test_google_cloud_storage_is_addressed_by_bucket_and_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only addresses are tested: no request reaches Google."""
    from pyarrow import fs

    asked = []

    class Gcs:
        def __init__(self, **settings: object) -> None:
            assert settings.keys() == {"retry_time_limit"}

        def get_file_info(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
            asked.append(selector.base_dir)
            return [
                fs.FileInfo(f"{selector.base_dir}/a", fs.FileType.File, size=3),
                fs.FileInfo(f"{selector.base_dir}/b", fs.FileType.Directory),
            ]

    monkeypatch.setattr(fs, "GcsFileSystem", Gcs)
    assert Storage(Place.of("gs://bucket/load/2026/")).sizes(FOLDERS) == {"a": 3}
    assert asked == ["bucket/load/2026/run-1/worker-0000"]


def test_a_pyarrow_without_a_cloud_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import fs

    monkeypatch.delattr(fs, "GcsFileSystem")
    with pytest.raises(StorageError, match="built without gs: install pyarrow's own wheel"):
        Storage(Place.of("gs://bucket")).sizes(FOLDERS)
