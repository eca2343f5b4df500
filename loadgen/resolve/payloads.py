"""The payload of a group as part of a resolved run, with the sizes of its events for planning."""

from dataclasses import dataclass

from loadgen.config.problems import ScenarioError
from loadgen.data.tables import Tables
from loadgen.payloads.lines import BYTES, HEAD, TAIL, shares_in, table_name
from loadgen.payloads.plans import Payload, Sizes, SizeShare, Stamps
from loadgen.payloads.sizes import mean_of, shares_of, shares_of_draws
from loadgen.payloads.stamping import most_bytes, usual_bytes
from loadgen.resolve.message_files import tried
from loadgen.scenario.payload import Content
from loadgen.scenario.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Sized:
    """A payload and its sizes; see `loadgen.resolve.publishing.Publishing`."""

    payload: Payload
    mean_bytes: int
    shares: tuple[SizeShare, ...] = ()
    largest_bytes: int | None = None
    example: bytes = b""


def sized(scenario: Scenario, group: str, tables: Tables | None) -> Sized:
    """Return the payload of a group that publishes.

    The sizes of messages from a file are exact except for the width of the stamps. For a size distribution, the sizes
    are computed from the distribution. A template is filled in with the rows of its data and the results are measured.

    Raises:
        ScenarioError: the payload depends on files, which ``tables`` lacks.
    """
    publish = scenario.clients[group].publish
    assert publish is not None
    made, stamps = publish.made, scenario.stamps
    if made is None:
        assert publish.payload_bytes is not None
        return Sized(None, publish.payload_bytes)
    try:
        known = Tables() if tables is None else tables
        shares, largest, rows = _shares(made, scenario, group, stamps, known)
        example = _example(made, scenario, group, stamps, known)
    except KeyError:
        raise ScenarioError(
            [f"scenario: clients.{group}.publish.payload was not read from its file"]
        ) from None
    return Sized(made.plan(group, rows), max(1, round(mean_of(shares))), shares, largest, example)


def _shares(
    made: Content, scenario: Scenario, group: str, stamps: Stamps, tables: Tables
) -> tuple[tuple[SizeShare, ...], int, int | None]:
    """Return (payload sizes with their shares, the largest size, the number of messages in the file or None)."""
    if made.file is not None:
        table = tables[table_name(group)]
        return (
            shares_in(table, stamps, made.by_weight),
            max(1, most_bytes(stamps, max(table.values(BYTES)))),
            len(table),
        )
    plan = made.plan(group, None)
    if isinstance(plan, Sizes):
        least = usual_bytes(stamps, len('{"_lg":}') if not stamps.place.beside else len('{"pad":""}'))
        return shares_of_draws(plan, least), plan.most_bytes, None
    found = [
        each.size
        for each in tried(made, stamps, tables, scenario.data, scenario.clients[group].count)
        if each.why is None
    ]
    return (
        shares_of((usual_bytes(stamps, size), 1.0) for size in found),
        max(1, most_bytes(stamps, max(found))),
        None,
    )


def _example(made: Content, scenario: Scenario, group: str, stamps: Stamps, tables: Tables) -> bytes:
    """Return the content of one event without its stamp; empty if events are only padding."""
    if made.file is not None:
        table = tables[table_name(group)]
        head, tail = table.cell(HEAD, 0), table.cell(TAIL, 0)
        text = str(tail) if stamps.place.beside else f"{head}null{tail}"
        return text.encode()
    if made.written is None:
        return b""
    return next(tried(made, stamps, tables, scenario.data, scenario.clients[group].count)).content
