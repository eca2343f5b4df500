"""The frames that a client sends: masked, whole messages or fragments (RFC 6455, 5.2 to 5.4)."""

from collections.abc import Callable

from websockets.frames import Frame, Opcode

from loadgen import native


def _masked(opcode: int, message: bytes) -> bytes:
    return Frame(Opcode(opcode), message).serialize(mask=True)


#: Returns the frame of a message with an opcode. The native version takes a tenth of the time of the `websockets`
#: library.
masked: Callable[[int, bytes], bytes] = native.masked if native.available else _masked


def fragments(opcode: int, message: bytes, most_bytes: int) -> bytes:
    """Return the frames of a message, each with a payload of at most ``most_bytes``."""
    frames = bytearray()
    for begin in range(0, len(message), most_bytes):
        frame = bytearray(masked(Opcode.CONT if begin else opcode, message[begin : begin + most_bytes]))
        if begin + most_bytes < len(message):
            frame[0] &= 0x7F  # clear FIN: more frames of the message follow
        frames += frame
    return bytes(frames) or masked(opcode, message)
