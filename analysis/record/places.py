"""Places for the parts of a record that workers stored outside the run's folder: a folder, S3 or Google Cloud Storage.

A place is written as an absolute path, `file:///…`, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`. It holds no
credentials: they come from the environment, as the cloud's own tools find them.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal
from urllib.parse import quote, unquote, urlsplit

#: Environment variable that names the places from which this user's commands may read parts, separated by spaces.
PARTS_FROM: Final = "LOADGEN_PARTS_FROM"
_KNOWN: Final = "a folder (/path or file:///path), s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9!_.'()=+,-]{1,255}")
_MOST: Final = 1_000


class PlaceError(ValueError):
    """A text names no place; the error's text says why and never repeats a text that may hold a secret."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or a bucket's prefix; make one with :meth:`of`."""

    scheme: Literal["file", "s3", "gs"]
    #: Name of the bucket, or empty for a folder.
    bucket: str
    #: Absolute path of the folder, or the bucket's prefix without slashes at its ends.
    path: str

    @classmethod
    def of(cls, text: str) -> "Place":
        """Return the place that a text names.

        Raises:
            PlaceError: the text names no place, or holds a user, a password or a query.
        """
        if len(text) > _MOST or not text.isprintable():
            raise PlaceError(f"it is no place for a run's rows: name {_KNOWN}")
        if text.startswith("/"):
            return cls("file", "", _folder(text))
        try:
            parts = urlsplit(text)
        except ValueError:
            raise PlaceError(f"it cannot be read as a URI: name {_KNOWN}") from None
        if parts.scheme not in ("file", "s3", "gs"):
            which = (
                f"{parts.scheme}: is no place for a run's rows"
                if parts.scheme
                else "the path is not absolute"
            )
            raise PlaceError(f"{which}: name {_KNOWN}")
        if "@" in parts.netloc or ":" in parts.netloc:
            raise PlaceError(
                "its URI has a user, a password or a port: leave them out, credentials come from the environment"
                " (such as AWS_PROFILE) and another endpoint from AWS_ENDPOINT_URL"
            )
        if "?" in text or "#" in text:
            raise PlaceError(
                "its URI has a query or a fragment: leave it out, credentials and settings come from the environment"
            )
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise PlaceError(
                    "a file URI names a folder of this machine: write file:///path, with three slashes"
                )
            return cls("file", "", _folder(unquote(parts.path)))
        return cls("s3" if parts.scheme == "s3" else "gs", _bucket(parts.netloc), _prefix(parts.path))

    @property
    def uri(self) -> str:
        """The place as a URI."""
        if self.scheme == "file":
            return f"file://{quote(self.path)}"
        return f"{self.scheme}://{self.bucket}{f'/{self.path}' if self.path else ''}"


def _folder(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise PlaceError("its path is not absolute or has '..' in it: write the whole path of the folder")
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _bucket(name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise PlaceError("its bucket has no valid name: write s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    return name


def _prefix(path: str) -> str:
    segments = [segment for segment in path.split("/") if segment]
    for segment in segments:
        if segment in (".", "..") or not _SEGMENT.fullmatch(segment):
            raise PlaceError(
                "its prefix has characters other than letters, digits and !_.'()=+,- between slashes, or '..'"
            )
    return "/".join(segments)


def named(texts: Sequence[str] = ()) -> list[Place]:
    """Return the places that a user has named: ``texts``, then those of the environment variable `PARTS_FROM`.

    Raises:
        PlaceError: a text names no place.
    """
    found = [Place.of(text) for text in texts]
    try:
        found += [Place.of(text) for text in os.environ.get(PARTS_FROM, "").split()]
    except PlaceError as error:
        raise PlaceError(f"{PARTS_FROM}: {error}") from None
    return list(dict.fromkeys(found))


def trust(places: Sequence[Place]) -> None:
    """Let this process and its children read parts from ``places``: the user has named them on a command line."""
    known = [place.uri for place in places] + os.environ.get(PARTS_FROM, "").split()
    if known:
        os.environ[PARTS_FROM] = " ".join(dict.fromkeys(known))
