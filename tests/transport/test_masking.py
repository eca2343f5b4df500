"""Test the frames that a client sends, by reading them with the websockets library."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from loadgen.transport.masking import _masked, fragments, masked

KINDS = [pytest.param(_masked, id="library"), pytest.param(masked, id="native")]


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.binary(max_size=300) | st.sampled_from([125, 126, 65_535, 65_536, 70_001]).map(bytes), st.booleans()
)
def test_a_server_reads_the_message_that_was_sent(kind: object, message: bytes, binary: bool) -> None:
    opcode = Opcode.BINARY if binary else Opcode.TEXT
    server = Protocol(SERVER, state=State.OPEN, max_size=None)
    server.receive_data(kind(opcode, message))  # type: ignore[operator]
    (frame,) = server.events_received()
    assert (frame.opcode, bytes(frame.data), frame.fin) == (opcode, message, True)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_has_a_mask_of_its_own(kind: object) -> None:
    masks = {kind(Opcode.TEXT, b"")[2:] for _ in range(2_000)}  # type: ignore[operator]
    # Two of 2,000 random masks of four bytes are equal with a probability of 1 in 2,000.
    assert len(masks) >= 1_998


@pytest.mark.parametrize("kind", KINDS)
def test_a_forked_process_does_not_repeat_the_masks_of_its_parent(kind: object) -> None:
    kind(Opcode.TEXT, b"")  # type: ignore[operator]
    here, there = os.pipe()
    child = os.fork()
    if not child:
        os.write(there, kind(Opcode.TEXT, b""))  # type: ignore[operator]
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(here, 6) != kind(Opcode.TEXT, b"")  # type: ignore[operator]
    os.close(here)
    os.close(there)


@given(st.integers(0, 100_000), st.sampled_from([1_000, 32 * 1024]), st.booleans())
def test_a_long_message_goes_in_frames_of_the_given_size(size: int, most: int, binary: bool) -> None:
    opcode = Opcode.BINARY if binary else Opcode.TEXT
    message = os.urandom(size)
    server = Protocol(SERVER, state=State.OPEN, max_size=None)
    server.receive_data(fragments(opcode, message, most))
    frames: list[Frame] = server.events_received()  # type: ignore[assignment]
    assert b"".join(bytes(frame.data) for frame in frames) == message
    assert all(len(frame.data) <= most for frame in frames)
    assert [frame.fin for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert [frame.opcode for frame in frames] == [opcode] + [Opcode.CONT] * (len(frames) - 1)
    assert len(frames) == max(1, -(-size // most))
