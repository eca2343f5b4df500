"""The rules that recognise the messages of a protocol file's service, in order; shared by all connections."""

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from loadgen.protocol.generic.description import Description, Identity
from loadgen.protocol.generic.frames import Frame
from loadgen.protocol.generic.patterns import Pattern, TextPattern, regex


class Rule(NamedTuple):
    """The handling of a message that matches a pattern."""

    pattern: Pattern
    kind: Literal["accepted", "refused", "reply", "ignore", "error", "deliver"]
    identity: Identity | None = None
    #: The queue of the requests that await this kind of answer, if answers come in the order of the requests (see
    #: `Requests`).
    queue: str = ""
    frame: Frame | None = None


def rules_of(description: Description, reply_frames: Sequence[Frame]) -> list[Rule]:
    """Return the rules that recognise the service's messages, in the order in which they are tried."""
    rules: list[Rule] = []
    for exchange in (description.publish, description.subscribe, description.unsubscribe):
        if exchange is None or exchange.accepted is None:
            continue
        queue = exchange.accepted.written
        answers: tuple[tuple[Pattern | None, Literal["refused", "accepted"]], ...] = (
            (exchange.refused, "refused"),
            (exchange.accepted, "accepted"),
        )
        for pattern, kind in answers:
            known = {(rule.pattern.written, rule.kind, rule.identity, rule.queue) for rule in rules}
            # Two kinds of request may have the same answer. One rule is enough: the waiting request determines the
            # kind.
            if pattern is not None and (pattern.written, kind, exchange.identity, queue) not in known:
                rules.append(Rule(pattern, kind, exchange.identity, queue))
    rules += [
        Rule(reply.on, "reply", frame=frame)
        for reply, frame in zip(description.replies, reply_frames, strict=True)
    ]
    rules += [Rule(pattern, "ignore") for pattern in description.ignore]
    rules += [Rule(pattern, "error") for pattern in description.errors]
    return [*rules, Rule(description.deliver.pattern, "deliver")]


def line_pattern(pattern: Pattern) -> "tuple[Callable[..., re.Match[bytes] | None], bool]":
    """Return a function that matches a delivery's first line in a byte stream, and True if it states the event's size.

    The function takes the bytes and an offset. With a size, the event follows the matched line and has this size in
    bytes; without a size, the event is part of the line.
    """
    assert isinstance(pattern, TextPattern)
    head, line_end, rest = pattern.written.partition("\r\n")
    compiled = re.compile((regex(head).replace(".*", r"[^\r\n]*") + r"\r\n").encode())
    return compiled.match, bool(line_end and rest)
