"""Test stamping all events of a request in one call, with the C extension and in pure Python."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure.stamp import encode_event
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Body, Stamping, plain, size_of, stamped

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers(0, 2**63 - 1)
MEMBERS = TEXTS.map(lambda text: text and json.dumps({"n": text}, ensure_ascii=False)[1:-1])


def in_python(*arguments: object) -> tuple[Sequence[object], Sequence[int]]:
    """Call `stamped` as if the C extension had not been built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "available", False)
        return stamped(*arguments)  # type: ignore[arg-type]


@given(
    st.integers(0, 2**31),
    st.integers(-1, 2**31),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(MEMBERS, max_size=5),
    st.integers(0, 300),
)
def test_usual_events_are_those_encoded_one_by_one(
    token: int, publisher: int, first: int, intended_ns: int, sent_ns: int, members: list[str], size: int
) -> None:
    sequences = range(first, first + len(members))
    if sequences and sequences[-1] >= 2**63:
        sequences = range(len(members))
    bodies = [plain(size, each) for each in members]
    expected = [
        encode_event(token, publisher, sequence, intended_ns, sent_ns, size, each)
        for sequence, each in zip(sequences, members, strict=True)
    ]
    for events, sizes in (
        stamped(token, publisher, sequences, intended_ns, sent_ns, bodies),
        in_python(token, publisher, sequences, intended_ns, sent_ns, bodies),
    ):
        assert list(events) == expected
        assert list(sizes) == [len(each.encode()) for each in expected]


@st.composite
def body(draw: st.DrawFn, stamping: Stamping) -> Body:
    if draw(st.booleans()):
        return stamping.padded(draw(st.integers(1, 300)), draw(MEMBERS))
    known = draw(st.integers(0, 2**32 - 1)) if stamping.stamps.integrity else None
    return stamping.whole(draw(TEXTS), draw(TEXTS), known=known)


@given(st.data(), NUMBERS, st.booleans(), st.booleans(), st.lists(st.integers(0, 2**40), max_size=5))
def test_every_body_is_sealed_alike_one_by_one_and_together(
    data: st.DataObject, at_ns: int, elsewhere: bool, integrity: bool, sequences: list[int]
) -> None:
    stamping = Stamping(Stamps(Place("member", "trace") if elsewhere else Place(), integrity))
    bodies = [data.draw(body(stamping)) for _ in sequences]
    alone = [
        stamping.event(7, 3, sequence, at_ns, 5, each)
        for sequence, each in zip(sequences, bodies, strict=True)
    ]
    for events, sizes in (
        stamped(7, 3, sequences, at_ns, 5, bodies),
        in_python(7, 3, sequences, at_ns, 5, bodies),
    ):
        assert list(events) == alone
        assert list(sizes) == [size_of(each) for each in alone]


@pytest.mark.skipif(not native.available, reason="the native part was not built")
def test_bodies_of_another_shape_are_refused() -> None:
    for wrong in ([("a",)], [("a", "b", "c")], [(b"a", "b", None)], ["abc"], [("a", "b", 2**62)]):
        with pytest.raises((TypeError, MemoryError)):
            native.stamped(1, 2, [3], 4, 5, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for each"):
        native.stamped(1, 2, [3, 4], 4, 5, [("a", "b", None)])
    with pytest.raises(OverflowError):
        native.stamped(1, 2, [2**63], 4, 5, [("a", "b", None)])
    with pytest.raises(UnicodeEncodeError):
        native.stamped(1, 2, [3], 4, 5, [("\ud800", "b", None)])
