"""Assign rows of data to clients and publish requests, in the same way for any number of worker processes.

Only ``Random.random()`` with a text as seed is used, because Python guarantees its sequence across versions.
"""

from collections.abc import Callable
from random import Random
from typing import Literal

Assign = Literal["by-client", "random", "in-turn"]


def client_row(assign: Assign, rows: int, *, seed: str, name: str, number: int, index: int) -> int:
    """Return the row of the client that is the ``index``-th of its group and has the number ``number`` in the run.

    `by-client` gives row ``index``. `in-turn` gives the same, but begins again after the last row. `random` draws a
    row.

    Raises:
        IndexError: the assignment is `by-client` and there are too few rows.
    """
    if assign == "random":
        return int(Random(f"{seed}/data/{name}/{number}").random() * rows)
    if assign == "in-turn":
        return index % rows
    if index >= rows:
        raise IndexError(f"client {index} of the group has no row: there are {rows}")
    return index


def request_rows(
    assign: Assign, rows: int, *, seed: str, name: str, number: int, index: int, clients: int
) -> Callable[[], int]:
    """Return a function that gives the row of the client's next publish request.

    `by-client` always gives the client's row. `in-turn` gives successive rows to successive requests of the group,
    provided that its clients publish at the same rate. `random` draws a row for each request.

    Raises:
        IndexError: the assignment is `by-client` and there are too few rows.
    """
    if assign == "random":
        draw = Random(f"{seed}/data/{name}/publish/{number}").random
        return lambda: int(draw() * rows)
    if assign == "by-client":
        row = client_row(assign, rows, seed=seed, name=name, number=number, index=index)
        return lambda: row
    following = index - clients

    def in_turn() -> int:
        nonlocal following
        following += clients
        return following % rows

    return in_turn
