"""Make rows of a subscription with several lives (periods from a subscribe to its end), each ended in a given way."""

from collections.abc import Sequence

from tests.analysis.synthetic import MS, ZERO, Row, connection, subscription


def lives_of(
    intents: Sequence[str | None], known: Sequence[bool] | None = None
) -> tuple[list[Row], list[Row]]:
    """Return the rows of the subscription and of its connection, for lives of 30 ms every 45 ms.

    ``intents`` say how each life ends; `unsubscribe` keeps the connection. ``known`` says which lives were acknowledged
    (all by default).
    """
    lives: list[Row] = []
    connections: list[Row] = []
    life = turn = 0
    for place, intent in enumerate(intents):
        begin_ms = place * 45
        acknowledged = known is None or known[place]
        lives.append(
            subscription(
                1,
                "/default/a",
                (begin_ms + 5) * MS if acknowledged else None,
                (begin_ms + 30) * MS,
                acknowledged_ns=ZERO + begin_ms * MS if acknowledged else None,
                life=life,
                turn=turn,
                intent=intent,
            )
        )
        if intent == "unsubscribe":
            turn += 1
        else:
            connections.append(connection(1, life, None if intent else "gone", intent=intent))
            life, turn = life + 1, 0
    connections.append(connection(1, life))
    return lives, connections
