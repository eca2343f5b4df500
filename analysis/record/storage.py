"""Read and write small files of a place: a folder, or a bucket of S3 or Google Cloud Storage by pyarrow.

The names of files are made by this program: callers check names that come from elsewhere before they use them here.
"""

import os
import re
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa

from analysis import text
from analysis.record import files
from analysis.record.places import Place

#: Times (s) after which a request to a cloud counts as failed, and how often it is tried again. They are short because
#: a process ends only after the last attempt. A worker repeats failed requests itself.
_CONNECT_S: Final = 5
_REQUEST_S: Final = 8
_ATTEMPTS: Final = 2
_MOST_TEXT: Final = 400
_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
#: Matches userinfo in a URL.
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]*@")
#: Matches what differs between two errors of one kind.
_REQUEST: Final = re.compile(r" \(Request ID: [^)]*\)")
_Result = TypeVar("_Result")


class StorageError(Exception):
    """A place cannot be read or written; the text says why, without credentials."""


class MissingError(StorageError):
    """The place has no file of that name."""


class Storage:
    """The files of one place. Every method may block for seconds and may be called from any thread."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def write(self, folders: tuple[str, ...], name: str, content: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            StorageError: the file cannot be written.
        """
        if self.place.scheme == "file":
            self._tried(lambda: _write_here(self._here(folders), name, content))
        else:
            self._tried(lambda: self._upload(f"{self._there(folders)}/{name}", content))

    def read(self, folders: tuple[str, ...], name: str, most: int) -> bytes:
        """Return the content of a file of at most ``most`` bytes.

        Raises:
            MissingError: there is no such file.
            StorageError: the file cannot be read, or is larger.
        """
        if self.place.scheme == "file":
            found = self._tried(lambda: _read_here(self._here(folders) / name, most))
        else:
            found = self._tried(lambda: self._download(f"{self._there(folders)}/{name}", most))
        if len(found) > most:
            raise StorageError(f"{name} is larger than {most:,} bytes")
        return found

    def sizes(self, folders: tuple[str, ...]) -> dict[str, int]:
        """Return the size of each file of a folder; empty if there is no such folder.

        Raises:
            StorageError: the folder cannot be listed.
        """
        if self.place.scheme == "file":
            return self._tried(lambda: _sizes_here(self._here(folders)))
        return self._tried(lambda: self._listed(self._there(folders)))

    def exists(self) -> bool:
        """Return True unless the place is a folder that this machine does not have."""
        return self.place.scheme != "file" or Path(self.place.path).is_dir()

    def _here(self, folders: tuple[str, ...]) -> Path:
        return Path(self.place.path, *folders)

    def _there(self, folders: tuple[str, ...]) -> str:
        return "/".join(part for part in (self.place.bucket, self.place.path, *folders) if part)

    def _upload(self, path: str, content: bytes) -> None:
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def _download(self, path: str, most: int) -> bytes:
        with self._filesystem.open_input_stream(path, buffer_size=0) as stream:
            found: bytes = stream.read(most + 1)
        return found

    def _listed(self, path: str) -> dict[str, int]:
        from pyarrow import fs

        found = self._filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return {each.base_name: each.size for each in found if each.type == fs.FileType.File}

    @cached_property
    def _filesystem(self) -> Any:
        try:
            from pyarrow import fs

            made = {"s3": "S3FileSystem", "gs": "GcsFileSystem"}[self.place.scheme]
            of = getattr(fs, made, None)
        except ImportError:
            of = None
        if of is None:
            raise StorageError(
                f"this pyarrow was built without {self.place.scheme}: install pyarrow's own wheel"
            )
        if self.place.scheme == "gs":
            return of(retry_time_limit=timedelta(seconds=3 * _REQUEST_S))
        return of(**_s3_settings(self.place.bucket))

    def _tried(self, action: Callable[[], _Result]) -> _Result:
        try:
            return action()
        except FileNotFoundError as error:
            raise MissingError(_words(error)) from None
        except (OSError, pa.ArrowException, ValueError) as error:
            raise StorageError(_words(error)) from None


def _s3_settings(bucket: str) -> dict[str, Any]:
    """Return the arguments of pyarrow's S3FileSystem; raises StorageError if the environment's endpoint is no URL."""
    from pyarrow import fs

    found: dict[str, Any] = {
        "connect_timeout": _CONNECT_S,
        "request_timeout": _REQUEST_S,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        # A small file is written by one request instead of three.
        "allow_delayed_open": True,
    }
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise StorageError(
                "AWS_ENDPOINT_URL is no endpoint: write http://HOST:PORT or https://HOST, without a user"
            )
        found |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
    elif not region:
        region = fs.resolve_s3_region(bucket)
    if region:
        found["region"] = region
    return found


def _write_here(folder: Path, name: str, content: bytes) -> None:
    files.folder(folder)
    with files.replacing(folder / name) as temporary:
        temporary.write_bytes(content)


def _read_here(path: Path, most: int) -> bytes:
    if (found := files.trouble(path)) is not None:
        raise OSError(f"{path.name} {found}")
    with path.open("rb") as file:
        return file.read(most + 1)


def _sizes_here(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {each.name: each.stat().st_size for each in entries if each.is_file()}


def _words(error: Exception) -> str:
    """Return an error's text on one line, without the environment's credentials."""
    found = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    for name in _CREDENTIALS:
        if value := os.environ.get(name):
            found = found.replace(value, "…")
    found = _REQUEST.sub("", _USERINFO.sub("…@", found))
    return text.clean(" ".join(found.split()))[:_MOST_TEXT]
