"""The keys of a distributed run: how they are made, written to a file or the environment, and read again.

A master has a CURVE key pair, and so have its workers, all the same one. A worker's join file holds the master's public
key, which pins the master, and the workers' secret key, which proves that the worker may join. The master's file holds
the reverse, so a worker's file cannot be used to play the master. Both are one line of text without special characters.
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

#: Environment variables that hold the text of a join file, as container platforms pass secrets.
MASTER_VARIABLE: Final = "LOADGEN_JOIN_MASTER"
WORKER_VARIABLE: Final = "LOADGEN_JOIN_WORKER"
#: Added to the name of the workers' join file for the master's.
MASTER_SUFFIX: Final = ".master"
_MASTER: Final = "loadgen-join-master-1"
_WORKER: Final = "loadgen-join-worker-1"
_KEY_BYTES: Final = 32
#: More than any join file has.
_MOST_BYTES: Final = 4096


@dataclass(frozen=True)
class MasterKey:
    """What a master needs: its own secret key and the public key of its workers, in ZeroMQ's Z85 text."""

    secret: bytes = field(repr=False)
    workers_public: bytes

    def text(self) -> str:
        """Return the content of the master's join file."""
        return _text(_MASTER, self.secret, self.workers_public)


@dataclass(frozen=True)
class WorkerKey:
    """What a worker needs: the public key of its master and the workers' secret key, in ZeroMQ's Z85 text."""

    master_public: bytes
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """Return the content of a worker's join file."""
        return _text(_WORKER, self.master_public, self.secret)

    @property
    def public(self) -> bytes:
        """The public key that belongs to the secret one."""
        return bytes(zmq.curve_public(self.secret))


@dataclass(frozen=True)
class Keys:
    """Both halves."""

    master: MasterKey
    worker: WorkerKey


def make() -> Keys:
    """Return new keys from the system's random numbers."""
    master_public, master_secret = zmq.curve_keypair()
    worker_public, worker_secret = zmq.curve_keypair()
    return Keys(MasterKey(master_secret, worker_public), WorkerKey(master_public, worker_secret))


def write(path: Path, keys: Keys) -> None:
    """Write the workers' join file and beside it the master's, readable by their owner only; raises RunError."""
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
            # No half is left that would look like a whole.
            if each == path:
                with suppress(OSError):
                    own.unlink()
            raise RunError(f"the join file {each} cannot be written: {why(error)}", ExitCode.USAGE) from None


def master_path(path: Path) -> Path:
    """Return where the master keeps its own half."""
    return path.with_name(path.name + MASTER_SUFFIX)


def for_master(path: Path | None) -> MasterKey | None:
    """Return the key of a master by its `--join` file or the environment, None if neither is given.

    Makes the file, and the master's own half beside it, if both are missing. Raises RunError.
    """
    if path is None:
        text = os.environ.get(MASTER_VARIABLE)
        return None if not text else _master(text, f"the environment variable {MASTER_VARIABLE}")
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
    """Return the key of a worker by its `--join` file or the environment, None if neither is given; raises RunError."""
    if path is None:
        text = os.environ.get(WORKER_VARIABLE)
        return None if not text else _worker(text, f"the environment variable {WORKER_VARIABLE}")
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
    """Return the two keys of a join text; raises RunError, without a word of the text."""
    found, *parts = text.strip().split(".")
    if found != kind and found in (_MASTER, _WORKER):
        other = "a worker's" if found == _WORKER else "the master's"
        raise RunError(f"{where} is {other} half of the keys, and {whose} is needed here", ExitCode.USAGE)
    raw = [_decoded(part) for part in parts]
    if found != kind or len(raw) != 2 or any(len(key) != _KEY_BYTES for key in raw):
        raise RunError(
            f"{where} is no join file of loadgen: copy the one that the master wrote, or make one with"
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
    """Return the text of a join file that nobody else may read; raises RunError."""
    try:
        # Not blocking: it may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RunError(f"the join file {path} is no regular file", ExitCode.USAGE)
            # A platform that mounts a secret owns it and lets its group read; what is ours can be closed.
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
