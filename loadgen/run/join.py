"""Make, write and read the keys of a distributed run, in join files or environment variables.

The master has a CURVE key pair; all workers share another. A worker's join file holds the master's public key, which
pins the master, and the workers' secret key, which proves that the worker may join. The master's file holds its secret
key and the workers' public key, so a worker's file cannot be used to pose as the master. Each file is one line of text
without special characters.
"""

import base64
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from loadgen.exits import ExitCode, RunError, why
from loadgen.run.options import JOIN_MASTER, JOIN_WORKER

#: Suffix that turns the name of the workers' join file into the name of the master's.
MASTER_SUFFIX: Final = ".master"
_MASTER: Final = "loadgen-join-master-1"
_WORKER: Final = "loadgen-join-worker-1"
_KEY_BYTES: Final = 32
#: Maximum number of bytes read from a join file; every valid join file is shorter.
_MOST_BYTES: Final = 4096


@dataclass(frozen=True)
class MasterKey:
    """A master's keys: its secret key and the public key of its workers, in ZeroMQ's Z85 encoding."""

    secret: bytes = field(repr=False)
    workers_public: bytes

    def text(self) -> str:
        """Return the content of the master's join file."""
        return _text(_MASTER, self.secret, self.workers_public)


@dataclass(frozen=True)
class WorkerKey:
    """A worker's keys: the public key of its master and the workers' secret key, in ZeroMQ's Z85 encoding."""

    master_public: bytes
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """Return the content of a worker's join file."""
        return _text(_WORKER, self.master_public, self.secret)

    @property
    def public(self) -> bytes:
        """The workers' public key, derived from the secret one."""
        return bytes(zmq.curve_public(self.secret))


@dataclass(frozen=True)
class Keys:
    """The keys of a master and of its workers."""

    master: MasterKey
    worker: WorkerKey


def make() -> Keys:
    """Return new random keys."""
    master_public, master_secret = zmq.curve_keypair()
    worker_public, worker_secret = zmq.curve_keypair()
    return Keys(MasterKey(master_secret, worker_public), WorkerKey(master_public, worker_secret))


def write(path: Path, keys: Keys) -> None:
    """Write the workers' join file to ``path`` and the master's beside it, both readable only by their owner.

    Raises:
        RunError: a file exists already or cannot be written.
    """
    own = master_path(path)
    for each in (path, own):
        if each.is_symlink() or each.exists():
            raise RunError(f"{each} is there already: remove it, or name another file", ExitCode.USAGE)
    for each, text in ((own, keys.master.text()), (path, keys.worker.text())):
        try:
            descriptor = os.open(each, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{text}\n")
        except OSError as error:
            # If the workers' file cannot be written, remove the master's file, which is useless alone.
            if each == path:
                with suppress(OSError):
                    own.unlink()
            raise RunError(f"the join file {each} cannot be written: {why(error)}", ExitCode.USAGE) from None


def master_path(path: Path) -> Path:
    """Return the path of the master's join file, given the path of the workers' file."""
    return path.with_name(path.name + MASTER_SUFFIX)


def for_master(path: Path | None) -> MasterKey | None:
    """Return a master's keys from its `--join` file or the environment, or None if neither is given.

    If neither the workers' file ``path`` nor the master's file beside it exists, make both.

    Raises:
        RunError: only the workers' file exists, the master's cannot be read or written, others may read it, or the
            text is not a master's key.
    """
    if path is None:
        text = os.environ.get(JOIN_MASTER)
        return None if not text else _master(text, f"the environment variable {JOIN_MASTER}")
    own = master_path(path)
    if not own.exists():
        if path.exists():
            raise RunError(
                f"{path} is there and the master's half {own} is not: run the master where {path} was made, or remove"
                " it so that new keys are made",
                ExitCode.USAGE,
            )
        write(path, make())
    return _master(_read(own), str(own))


def for_worker(path: Path | None) -> WorkerKey | None:
    """Return a worker's keys from its `--join` file or the environment, or None if neither is given.

    Raises:
        RunError: the file cannot be read, others may read it, or the text is not a worker's key.
    """
    if path is None:
        text = os.environ.get(JOIN_WORKER)
        return None if not text else _worker(text, f"the environment variable {JOIN_WORKER}")
    return _worker(_read(path), str(path))


def _master(text: str, where: str) -> MasterKey:
    secret, workers_public = _keys(text, _MASTER, where, "the master's")
    return MasterKey(secret, workers_public)


def _worker(text: str, where: str) -> WorkerKey:
    master_public, secret = _keys(text, _WORKER, where, "a worker's")
    return WorkerKey(master_public, secret)


def _text(kind: str, *keys: bytes) -> str:
    raw = (base64.urlsafe_b64encode(z85.decode(key)).decode().rstrip("=") for key in keys)
    return ".".join((kind, *raw))


def _keys(text: str, kind: str, where: str, whose: str) -> tuple[bytes, bytes]:
    """Return the two keys in a join file's text.

    Raises:
        RunError: the text is not a join file of this ``kind``; the message does not quote the text.
    """
    found, *parts = text.strip().split(".")
    if found != kind and found in (_MASTER, _WORKER):
        other = "a worker's" if found == _WORKER else "the master's"
        raise RunError(f"{where} is {other} half of the keys, and {whose} is needed here", ExitCode.USAGE)
    raw = [_decoded(part) for part in parts]
    if found != kind or len(raw) != 2 or any(len(key) != _KEY_BYTES for key in raw):
        raise RunError(
            f"{where} is not a join file of loadgen: copy the one that the master wrote, or make one with"
            " `loadgen join FILE`",
            ExitCode.USAGE,
        )
    first, second = (z85.encode(key) for key in raw)
    return bytes(first), bytes(second)


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _read(path: Path) -> str:
    """Return the text of a join file; raises RunError if it cannot be read, or if other users may read it."""
    try:
        # Non-blocking, so that opening a pipe does not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RunError(f"the join file {path} is not a regular file", ExitCode.USAGE)
            # Some platforms mount secrets that another user owns and the group may read: accept that, but not more.
            forbidden = 0o077 if status.st_uid == os.geteuid() else 0o007
            if status.st_mode & forbidden:
                raise RunError(
                    f"others may read the join file {path} (mode {stat.S_IMODE(status.st_mode):04o}): close it with"
                    f" `chmod 600 {path}`",
                    ExitCode.USAGE,
                )
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        raise RunError(
            f"there is no join file {path}: copy it here from the master's machine", ExitCode.USAGE
        ) from None
    except OSError as error:
        raise RunError(f"the join file {path} cannot be read: {why(error)}", ExitCode.USAGE) from None
