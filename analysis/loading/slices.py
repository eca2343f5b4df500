"""Read deliveries that exceed memory in pieces: slices of time, or row groups in the file's order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice, pairwise
from typing import TypeVar

import numpy as np

from analysis.loading.run import Ints, RowGroup, Run, Window

#: Number of deliveries in one slice. Each delivery takes some 100 bytes of memory while the slice is processed.
SLICE_ROWS = 1_500_000
#: Number of events in one stretch. Each event takes some 200 bytes of memory while the stretch is processed.
STRETCH_EVENTS = 3_000_000
_SECOND_NS = 1_000_000_000
_THREADS = 2
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_turn(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield the result of each item in order, working on two items at a time to bound memory.

    If there is only one item, the caller's own thread works on it.
    """
    rest = iter(items)
    first = list(islice(rest, 2))
    if len(first) < 2:
        yield from map(work, first)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[_Result]] = deque()
        for item in chain(first, rest):
            waiting.append(pool.submit(work, item))
            if len(waiting) >= _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def cut_by_weight(window: Window, at_ns: Ints, weight: Ints) -> list[Window]:
    """Cut a window into slices so that the weights in each slice add up to about `SLICE_ROWS`.

    ``weight`` has one weight for each time in ``at_ns``. The times must lie in the window, in any order.
    """
    order = np.argsort(at_ns, kind="stable")
    at_ns, total = at_ns[order], np.cumsum(weight[order])
    if not len(at_ns) or total[-1] <= SLICE_ROWS:
        return [window]
    places = np.searchsorted(total, np.arange(SLICE_ROWS, int(total[-1]), SLICE_ROWS), side="left")
    inside = at_ns[np.minimum(places + 1, len(at_ns) - 1)]
    return _between(window, inside)


def cut_by_second(run: Run, origin_ns: int, edges_ns: Iterable[int], second_ns: int) -> list[Window]:
    """Cut the time range of all deliveries into slices, at whole seconds from ``origin_ns`` and at ``edges_ns``.

    ``second_ns`` is the length of a second. The spread of deliveries over time is known only from the row groups'
    ranges, so the slices are only approximately of equal size.
    """
    groups = run.row_groups
    if not groups:
        return []
    start_ns, end_ns = min(group.start_ns for group in groups), max(group.end_ns for group in groups)
    rough_ns = _rough(groups, sum(group.rows for group in groups) // SLICE_ROWS + 1)
    seconds_ns = (rough_ns - origin_ns) // second_ns * second_ns + origin_ns
    edges = np.concatenate((seconds_ns, np.array(list(edges_ns), dtype=np.int64)))
    return _between(Window(start_ns, end_ns), edges)


def stretches(run: Run, window: Window) -> list[Window]:
    """Cut a window into stretches of about `STRETCH_EVENTS` events, in ascending order.

    The cuts are at whole seconds from the first publish. They divide no publish request, because all events of a
    request are due at the same time.
    """
    groups = run.event_groups
    wanted = sum(group.rows for group in groups) // STRETCH_EVENTS + 1
    if wanted == 1:
        return [window]
    origin_ns = run.first_publish_ns
    return _between(window, (_rough(groups, wanted) - origin_ns) // _SECOND_NS * _SECOND_NS + origin_ns)


def all_stretches(run: Run) -> list[Window | None]:
    """Return stretches of time that cover all events; if there are few events, the only stretch is None (all rows)."""
    groups = run.event_groups
    if sum(group.rows for group in groups) <= STRETCH_EVENTS:
        return [None]
    whole = Window(min(group.start_ns for group in groups), max(group.end_ns for group in groups))
    return [*stretches(run, whole)]


def _rough(groups: Sequence[RowGroup], parts: int) -> Ints:
    """Return the times (ns) that divide the rows of row groups into parts of about the same size."""
    spread = np.concatenate([np.linspace(group.start_ns, group.end_ns - 1, 101)[1:] for group in groups])
    weight = np.repeat([group.rows / 100 for group in groups], 100)
    order = np.argsort(spread)
    total = np.cumsum(weight[order])
    places = np.searchsorted(total, total[-1] * np.arange(1, parts) / parts)
    return np.asarray(spread[order][places], dtype=np.int64)


def _between(window: Window, inside: Ints) -> list[Window]:
    inside = np.unique(inside[(inside > window.start_ns) & (inside < window.end_ns)])
    edges = [window.start_ns, *inside.tolist(), window.end_ns]
    return [Window(begin, end) for begin, end in pairwise(edges)]
