"""Track the record boundaries of a TLS stream (RFC 8446, section 5.1)."""

_HEADER_BYTES = 5


class RecordBoundary:
    """Tracks whether the ciphertext received so far ends at a record boundary.

    OpenSSL does not report this: it consumes an incomplete record from its input, and then reports that nothing is
    pending.
    """

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        #: Bytes missing from the current record, and the received part of the next record's header.
        self._left = 0
        self._header = b""

    @property
    def reached(self) -> bool:
        """True if all records so far are complete."""
        return not self._left and not self._header

    def follow(self, data: bytes | memoryview) -> bool:
        """Account for the ciphertext of one read; return True if it ends at a record boundary."""
        if self._header:
            data, self._header = self._header + bytes(data), b""
        place, end = self._left, len(data)
        while end - place >= _HEADER_BYTES:
            place += _HEADER_BYTES + (data[place + 3] << 8 | data[place + 4])
        if place < end:
            self._header = bytes(data[place:])
            place = end
        self._left = place - end
        return not self._left and not self._header
