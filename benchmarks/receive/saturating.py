"""Send as fast as subscribers read, in C, so that nearly all of the sender's CPU time is the kernel's."""

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from speed.peers import program

HERE = Path(__file__).resolve().parent


@cache
def _compiled() -> Any:
    """Compile saturate.c and return its function, or None if there is no C compiler."""
    compiler = program("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "saturate.so"
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "saturate.c")], check=True
        )
        function = ctypes.CDLL(str(library), use_errno=True).saturate
    function.restype = ctypes.c_int64
    return function


def available() -> bool:
    """Return True if there is a compiler."""
    return _compiled() is not None


def saturate(
    sockets: Sequence[int], writes: Sequence[bytes], stamp: bytes, frames: int, sequence: int, seconds: float
) -> int:
    """Send each subscriber its bytes of ``writes`` again and again for some seconds; return the number of rounds.

    Each of the ``writes`` holds ``frames`` frames of one length, the first with the stamp ``stamp``. Each round puts
    new stamps into the frames, with sequence numbers from ``sequence`` on.

    Raises:
        OSError: a socket is broken.
    """
    people, size = len(writes), len(writes[0])
    buffers = [ctypes.create_string_buffer(write, size) for write in writes]
    events: int = _compiled()(
        (ctypes.c_int * people)(*sockets),
        (ctypes.c_void_p * people)(*map(ctypes.addressof, buffers)),
        people,
        ctypes.c_int64(size),
        frames,
        (ctypes.c_int64 * people)(*(write.index(stamp) for write in writes)),
        ctypes.c_int64(size // frames),
        ctypes.c_int64(1_000_000_000 + sequence),
        ctypes.c_int64(time.monotonic_ns() + int(seconds * 1e9)),
    )
    if events < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return events
