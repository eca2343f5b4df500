from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport.records import RecordBoundary


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_the_boundary_is_reached_exactly_where_all_records_are_whole(
    bodies: list[bytes], cuts: list[int]
) -> None:
    records = [b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body for body in bodies]
    stream = b"".join(records)
    whole = {sum(map(len, records[:count])) for count in range(len(records) + 1)}
    boundary = RecordBoundary()
    assert boundary.reached
    begin = 0
    for end in sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)}):
        boundary.follow(memoryview(stream)[begin:end])
        assert boundary.reached == (end in whole)
        begin = end
