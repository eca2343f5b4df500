"""Client frames, read back by the `websockets` library's server."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from loadgen.transport.client_frames import client_frame

LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536, 200_000)


def read(data: bytes) -> Frame:
    """Return the one frame that a server reads; it refuses a frame without a mask."""
    server = Protocol(Side.SERVER, state=OPEN, max_size=None)
    server.receive_data(data)
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    return frame


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_every_length_is_read_as_it_was_written(length: int, opcode: Opcode) -> None:
    payload = os.urandom(length)
    assert read(client_frame(opcode, payload)) == Frame(opcode, payload)


@given(st.binary(max_size=300))
def test_any_payload_is_read_as_it_was_written(payload: bytes) -> None:
    assert read(client_frame(Opcode.BINARY, payload)) == Frame(Opcode.BINARY, payload)


def test_a_ping_is_a_control_frame() -> None:
    assert read(client_frame(Opcode.PING, b"")) == Frame(Opcode.PING, b"")


def test_no_mask_is_used_twice() -> None:
    masks = [client_frame(Opcode.TEXT, b"")[2:] for _ in range(3_000)]
    assert len(set(masks)) >= 2_998


def test_a_forked_process_does_not_repeat_the_masks_of_its_parent() -> None:
    client_frame(Opcode.TEXT, b"")
    here, there = os.pipe()
    child = os.fork()
    if not child:
        os.write(there, client_frame(Opcode.TEXT, b""))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(here, 6) != client_frame(Opcode.TEXT, b"")
    os.close(here)
    os.close(there)
