"""Where the records of a TLS stream begin and end (RFC 8446, section 5.1)."""

_HEADER_BYTES = 5


class RecordBoundary:
    """Follows the ciphertext of one direction, so that one knows whether it is at a record's beginning.

    OpenSSL does not tell: it takes the beginning of a record out of its input and has nothing pending then.
    """

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        #: Bytes of the record that has begun which are still to come; and of a header, what came.
        self._left = 0
        self._header = b""

    @property
    def reached(self) -> bool:
        """Whether all records so far are whole."""
        return not self._left and not self._header

    def follow(self, data: bytes | memoryview) -> None:
        """Take what came."""
        if self._header:
            data, self._header = self._header + bytes(data), b""
        place, end = self._left, len(data)
        while end - place >= _HEADER_BYTES:
            place += _HEADER_BYTES + (data[place + 3] << 8 | data[place + 4])
        if place < end:
            self._header = bytes(data[place:])
            place = end
        self._left = place - end
