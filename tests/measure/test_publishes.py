"""Test that recording all events of a request at once gives the same rows as recording event by event."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure import publishes
from loadgen.measure.publishes import Events, PublishBuffer
from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import EventRow
from loadgen.measure.running import RunningStatistics
from loadgen.measure.spool import SpoolWriter, read_batches
from tests.measure.event_rows import events_of as of_rows
from tests.measure.event_rows import own_lateness_ns, record

KINDS: dict[str, Any] = {
    "python": PublishBuffer,
    **({"native": native.PublishRows} if native.available else {}),
}


class Request(NamedTuple):
    """A request and its outcome, as the arguments of `publishes.record` after the first."""

    publisher: int
    sequences: Sequence[int]
    batch: int
    channel: str
    intended_ns: int
    slot_ns: int | None
    sent_ns: int | None
    acked_ns: int | None
    status: str
    error: str | None
    sizes: Sequence[int]
    refused: Mapping[int, str]
    connection_wait_ns: int | None
    remote_address: str | None
    cause: tuple[int, int, int] | None

    def rows(self) -> list[EventRow]:
        """Return one row for each event of the request, made without the code under test."""
        return [
            EventRow(
                self.publisher,
                self.sequences[index],
                self.batch,
                self.channel,
                self.intended_ns,
                self.slot_ns,
                self.sent_ns,
                self.acked_ns,
                "rejected" if index in self.refused else self.status,
                self.refused.get(index, self.error),
                size,
                self.connection_wait_ns,
                self.remote_address,
                *(self.cause or ()),
            )
            for index, size in enumerate(self.sizes)
        ]


def _or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


_INT32 = st.integers(-1, 2**31 - 1)
_INT40 = st.integers(0, 2**40)
_COUNTS = st.integers(0, 7)
_TIMES = st.integers(0, 2**62) | st.integers(0, 50)
_TEXTS = st.sampled_from(["/default/a", "/default/b", "", "é \U0001f389", "10.0.0.1:443"]) | st.text(
    max_size=6
).filter(lambda text: text.isprintable())
# Make strategies only once, because hypothesis examines each new strategy.
_GAPS = _or_none(st.sets(st.integers(0, 7)))
_SIZES = [st.lists(st.integers(0, 2**31 - 1), min_size=count, max_size=count) for count in range(8)]
_STATUSES = st.sampled_from(["accepted", "sent", "error", "unanswered", "unmade", "unsent"])
_REFUSED = st.dictionaries(st.integers(0, 8), st.sampled_from(["too rude", "too large"]), max_size=4)
_FORMS = st.sampled_from([list, tuple])
_TIMES_OR_NONE, _TEXTS_OR_NONE = _or_none(_TIMES), _or_none(_TEXTS)
_WAITS = _or_none(st.integers(-(2**40), 2**40))
_CAUSES = _or_none(st.tuples(_INT32, _INT40, _INT32))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw a publish request: some of its events may never have been made, and some may have been refused."""
    count, first = draw(_COUNTS), draw(_INT40)
    sequences: Sequence[int] = range(first, first + count)
    gaps = draw(_GAPS)
    if gaps is not None:
        sequences = [number for number in sequences if number - first not in gaps]
    sizes = draw(_SIZES[len(sequences)])
    return Request(
        draw(_INT32),
        sequences,
        draw(_INT40),
        draw(_TEXTS),
        draw(_TIMES),
        draw(_TIMES_OR_NONE),
        draw(_TIMES_OR_NONE),
        draw(_TIMES_OR_NONE),
        draw(_STATUSES),
        draw(_TEXTS_OR_NONE),
        draw(_FORMS)(sizes),
        draw(_REFUSED),
        draw(_WAITS),
        draw(_TEXTS_OR_NONE),
        draw(_CAUSES),
    )


def events_of(kind: Any, several: Sequence[Request]) -> Events:
    """Record publish requests in a new buffer of class ``kind``, and return the events that it then holds."""
    made = kind()
    for one in several:
        refused = publishes.record(made.add, *one)
        assert refused == sum(row.status == "rejected" for row in one.rows())
    return Events(*made.take())


# Both kinds of buffer are tested with the same examples, since drawing them takes most of the time.
@given(several=st.lists(requests(), max_size=8))
@settings(deadline=None)
def test_runs_expand_to_the_rows_of_recording_event_by_event(several: list[Request]) -> None:
    rows = [row for one in several for row in one.rows()]
    for kind in KINDS.values():
        events = events_of(kind, several)
        assert list(events) == rows
        assert len(events) == len(rows)
        written = events.batch(3).to_pylist()
        assert written == [{"worker": 3, **row._asdict()} for row in rows]
    assert list(of_rows(rows)) == rows


@given(several=st.lists(requests(), max_size=8), since_ns=_TIMES)
@settings(deadline=None)
def test_figures_of_runs_are_those_of_their_events(several: list[Request], since_ns: int) -> None:
    rows = [row for one in several for row in one.rows()]
    for kind in KINDS.values():
        events = events_of(kind, several)
        assert events.sent == sum(row.sent_ns is not None for row in rows)
        late_ns, counts = events.own_lateness_ns()
        assert np.repeat(late_ns, counts).tolist() == [
            own_lateness_ns(row) for row in rows if own_lateness_ns(row) is not None
        ]
        late_ns, counts = events.own_lateness_ns(since_ns)
        assert np.repeat(late_ns, counts).tolist() == [
            own_lateness_ns(row)
            for row in rows
            if own_lateness_ns(row) is not None and row.intended_ns >= since_ns
        ]
        assert events.answer_times_ns().tolist() == [
            row.acked_ns - row.sent_ns for row in rows if row.acked_ns is not None and row.sent_ns is not None
        ]
        failed = Counter(row.error or row.status for row in rows if row.status not in ("accepted", "sent"))
        assert dict(events.failed()) == failed


@given(several=st.lists(requests(), max_size=8), measure_ns=_TIMES, every=st.integers(1, 3))
@settings(deadline=None)
def test_a_live_report_counts_events(several: list[Request], measure_ns: int, every: int) -> None:
    def expected(channel: str) -> int | None:
        return None if channel == "" else len(channel)

    rows = [row for one in several for row in one.rows()]
    report = RunningStatistics(expected, every).published(of_rows(rows), measure_ns)
    measured = [row for row in rows if row.intended_ns >= measure_ns]
    accepted = [row for row in rows if row.status == "accepted"]
    assert report["statuses"] == Counter(row.status for row in rows)
    assert report["due"] == len(measured)
    assert report["unsent"] == sum(row.status in ("unsent", "unmade") for row in measured)
    assert report["accepted"] == sum(row.status == "accepted" for row in measured)
    assert report["sampled_events"] == [
        [row.publisher, row.sequence, expected(row.channel)]
        for row in accepted
        if (row.publisher + row.sequence) % every == 0
    ]
    due: dict[int, list[int | None]] = {}
    for row in accepted:
        due.setdefault((row.intended_ns - measure_ns) // 1_000_000_000, []).append(expected(row.channel))
    assert dict(report["expected"]) == {
        second: None if None in each else sum(filter(None, each)) for second, each in due.items()
    }


REQUEST = Request(3, range(5, 8), 4, "/a", 1, 2, 3, 4, "accepted", None, [7, 8, 9], {}, 0, "r", None)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"publisher": 2**63}, Exception),
        ({"intended_ns": "soon"}, Exception),
        ({"sizes": [1, 2.5, 3]}, TypeError),
        ({"sizes": [1, 2, 2**63]}, OverflowError),
    ],
)
def test_a_request_that_cannot_be_recorded_leaves_no_trace(kind: Any, wrong: Any, error: Any) -> None:
    made = kind()
    publishes.record(made.add, *REQUEST)
    with pytest.raises(error):
        publishes.record(made.add, *REQUEST._replace(**wrong))
    publishes.record(made.add, *REQUEST._replace(sizes=[4, 5, 6]))
    assert [row.bytes for row in Events(*made.take())] == [7, 8, 9, 4, 5, 6]


class Interrupted(BaseException):
    """An exception that a test raises in place of an interrupt such as KeyboardInterrupt."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_interrupt_at_any_moment_keeps_what_was_recorded(kind: Any) -> None:
    refused = REQUEST._replace(refused={1: "no"})
    for moment in range(2_000):
        made, left = kind(), moment

        def interrupt(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith("publishes.py"):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left < 0:
                    raise Interrupted
            return interrupt

        publishes.record(made.add, *REQUEST)
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            publishes.record(made.add, *refused)
            over = True
        except Interrupted:
            over = False
        finally:
            sys.settrace(before)
        publishes.record(made.add, *REQUEST._replace(batch=9))
        rows = list(Events(*made.take()))
        assert rows[:3] == REQUEST.rows()
        assert rows[-3:] == REQUEST._replace(batch=9).rows()
        assert rows[3:-3] == refused.rows()[: len(rows) - 6], (
            "each event is there with its own size, or not at all"
        )
        if over:
            assert len(rows) == 9
            return
    raise AssertionError("the interrupt came every time")


@pytest.mark.parametrize("python_only", [False, True])
def test_each_flush_writes_the_publishes_since_the_last(
    tmp_path: Path, python_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if python_only:
        monkeypatch.setattr(native, "available", False)
    recorder = Recorder(7, SpoolWriter(tmp_path, 2))
    publishes.record(recorder.publish, *REQUEST)
    first = recorder.flush()
    assert (len(first.events), first.published, first.late_max_ns, first.answered_ns.tolist()) == (
        3,
        3,
        1,
        [1, 1, 1],
    )
    assert not recorder.flush().events
    row = REQUEST.rows()[0]
    record(recorder.publish, row)
    recorder.flush()
    assert recorder.events == 4
    written = [each for batch in read_batches(tmp_path / "events-0002.arrows") for each in batch.to_pylist()]
    assert written == [{"worker": 2, **each._asdict()} for each in [*REQUEST.rows(), row]]
