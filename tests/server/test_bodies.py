"""Test that incomplete request bodies together use bounded memory, and that finished ones free theirs."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.server import bodies as module
from loadgen.server.bodies import Bodies, BodyError, BodyTooLargeError

CHUNK = b"x" * 300
LIMIT_BYTES = 1000


class Content:
    """Stands in for aiohttp's reader of a body; an empty chunk ends the body."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def is_eof(self) -> bool:
        return False

    async def readany(self) -> bytes:
        return await self.chunks.get()


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ALL_BODIES_BYTES", LIMIT_BYTES)
        patch.setattr(module, "BODY_MAX_BYTES", 700)
        yield


def request(content: Content, length: int | None = None) -> Any:
    return SimpleNamespace(content=content, content_length=length)


async def idle() -> None:
    """Let all other tasks run until they wait."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_all_that_are_not_whole_hold_no_more_than_the_bound_and_one_chunk() -> None:
    async def scene() -> None:
        bodies, contents = Bodies(), [Content() for _ in range(20)]
        reading = [asyncio.ensure_future(bodies.read(request(content))) for content in contents]
        most = 0
        for content in contents:
            content.chunks.put_nowait(CHUNK)
            await idle()
            most = max(most, bodies._held_bytes)
        # A chunk is accepted while there is room for one byte, so the held bytes may exceed the limit by one chunk.
        assert LIMIT_BYTES < most <= LIMIT_BYTES + len(CHUNK)
        assert not any(each.done() for each in reading)
        # The end of a body frees the room of its one chunk, which one chunk of another body takes at once.
        contents[0].chunks.put_nowait(b"")
        await idle()
        assert reading[0].result() == CHUNK
        assert bodies._held_bytes == most
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        assert bodies._held_bytes == 0

    asyncio.run(scene())


def test_a_body_that_grows_too_large_is_given_up_and_holds_nothing() -> None:
    async def scene() -> None:
        bodies, content = Bodies(), Content()
        for _ in range(3):
            content.chunks.put_nowait(CHUNK)
        with pytest.raises(BodyTooLargeError):
            await bodies.read(request(content))
        assert bodies._held_bytes == 0
        with pytest.raises(BodyTooLargeError):
            await bodies.read(request(Content(), length=701))

    asyncio.run(scene())


def test_a_client_that_is_too_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT_S", 0.01)

    async def scene() -> None:
        bodies, content = Bodies(), Content()
        content.chunks.put_nowait(CHUNK)
        with pytest.raises(BodyError):
            await bodies.read(request(content))
        assert bodies._held_bytes == 0

    asyncio.run(scene())
