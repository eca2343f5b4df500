"""Check that the parts of a protocol file fit together, and turn the file into a description.

The models have already checked each part by itself.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from loadgen.config.problems import Path, Problem
from loadgen.protocol.generic.description import (
    ChannelForm,
    Delivery,
    Description,
    EventNames,
    Exchange,
    HttpPublish,
    Identity,
    KeepAlive,
    Reply,
    StampedForm,
    Step,
)
from loadgen.protocol.generic.frames import Written, names, pieces
from loadgen.protocol.generic.login import modes_of
from loadgen.protocol.generic.patterns import JsonPattern, Pattern, TextPattern
from loadgen.protocol_file.model import (
    JsonMatch,
    ProtocolFile,
    PublishHttp,
    PublishWebSocket,
    Stamped,
    Subscribe,
    Unsubscribe,
)

_IDENTITIES: tuple[Identity, ...] = ("id", "number", "channel")
_SINGLE, _BATCH = frozenset({"event", "event_json", "event_form"}), frozenset({"events", "events_json"})
_LINE_END = "\r\n"


def description_of(file: ProtocolFile, name: str) -> Description:
    """Return the `Description` for a file in which :func:`problems_of` has found no problem."""
    publish = file.publish
    deliver = file.deliver
    return Description(
        name=name,
        channels=ChannelForm(file.channels.lead, file.channels.separator, file.channels.wildcard),
        url=file.connect.url,
        deliver=Delivery(
            _pattern(deliver),
            identity_of(deliver),
            deliver.when if isinstance(deliver, JsonMatch) else {},
            deliver.at if isinstance(deliver, JsonMatch) else {},
        ),
        messages=file.connect.messages,
        transport=file.connect.transport,
        events=EventNames(file.connect.events, file.connect.error_events),
        join=file.connect.join,
        binary=file.connect.frames == "binary",
        subprotocols=file.connect.subprotocols,
        headers=file.connect.headers,
        opening=[
            Step(step.send, None if step.expect is None else _pattern(step.expect), step.with_login)
            for step in file.opening
        ],
        subscribe=_exchange(file.subscribe),
        unsubscribe=_exchange(file.unsubscribe),
        publish=_exchange(publish.websocket),
        publish_http=None if publish.http is None else _http(publish.http),
        replies=[Reply(_pattern(reply.on), reply.send) for reply in file.replies],
        ignore=[_pattern(match) for match in file.ignore],
        errors=[_pattern(match) for match in file.errors],
        keepalive=None
        if file.keepalive is None
        else KeepAlive(file.keepalive.send, file.keepalive.every_ns, file.keepalive.timeout_ns),
        stamped=None
        if file.stamped is None
        else StampedForm(file.stamped.head, file.stamped.send, file.stamped.deliver),
        batches=all(_of_batch(written) for written in _bodies(file)),
        environment=file.environment(),
        login=file.login(),
        login_needed=file.login_needed(),
        login_in_opening=bool(file.login_in_opening()),
    )


def identity_of(match: str | JsonMatch) -> Identity | None:
    """Return by which value (id, number or channel) a message pattern names a request or subscription, or None."""
    found = _names(match)
    return next((name for name in _IDENTITIES if name in found), None)


def problems_of(file: ProtocolFile) -> Iterator[Problem]:
    """Yield the problems between the parts of a file; each part by itself is valid."""
    yield from _url_problems(file)
    yield from _transport_problems(file)
    yield from _login_problems(file)
    yield from _match_problems(file)
    yield from _delivery_problems(file)
    for path, exchange in _exchanges(file):
        yield from _exchange_problems(path, exchange)
    yield from _event_problems(file)
    if file.stamped is not None:
        yield from _stamped_problems(file, file.stamped)
    if file.unsubscribe is not None and file.subscribe is None:
        yield Problem(("unsubscribe",), "goes with 'subscribe', which is not there; drop it")


def _url_problems(file: ProtocolFile) -> Iterator[Problem]:
    one, several = _has(file.connect.url, "channel"), _has(file.connect.url, "channels")
    by_url = one or several
    if one and several:
        yield Problem(("connect", "url"), "has both {channel} and {channels}; keep one of them")
    if several and identity_of(file.deliver) != "channel":
        yield Problem(
            ("connect", "url"),
            "has {channels}, and 'deliver' does not name the channel, so that nobody knows whose it is; write {channel}"
            " in one of them",
        )
    if by_url and file.subscribe is not None:
        yield Problem(
            ("connect", "url"), "has {channel}, and there is 'subscribe' too; keep one way to subscribe"
        )
    if not by_url and file.subscribe is None:
        yield Problem(
            ("connect", "url"), "has no {channel}, and there is no 'subscribe'; say how to subscribe"
        )
    scheme = "http" if file.connect.transport == "sse" else "ws"
    ways: list[tuple[Path, str, str]] = [(("connect", "url"), file.connect.url, scheme)]
    if file.publish.http is not None:
        ways.append((("publish", "http", "url"), file.publish.http.url, "http"))
    for path, url, scheme in ways:
        if not url.isascii() or not url.isprintable() or " " in url:
            yield Problem(path, "has a space or a character that no URL has; write it percent-encoded")
        rest = url.removeprefix("{target}")
        if rest == url:
            parts = urlsplit(url)
            if parts.scheme not in (scheme, scheme + "s") or not parts.hostname:
                yield Problem(path, f"must begin with {{target}}, '{scheme}://' or '{scheme}s://'")
            elif any(not isinstance(piece, str) for piece in pieces(parts.netloc)):
                yield Problem(path, "has a placeholder in its host; it may have one in its path or query")
        elif rest and rest[0] not in "/?":
            yield Problem(path, "must go on with '/' or '?' after {target}, which is a whole URL")
        if _has(rest, "target"):
            yield Problem(path, "has {target} elsewhere than at its beginning")
    http = file.publish.http
    if http is not None and not (_has(http.url, "channel") or _has_any(http.body, "channel")):
        yield Problem(
            ("publish", "http"), "says nowhere to which channel: write {channel} in its url or body"
        )


def _transport_problems(file: ProtocolFile) -> Iterator[Problem]:
    """Yield a problem for each setting that does not fit the transport."""
    connect = file.connect
    if connect.transport == "websocket":
        for key, given in (("events", connect.events), ("error_events", connect.error_events)):
            if given:
                yield Problem(("connect", key), "goes with 'transport: sse' only; drop it")
        return
    receives = "cannot be: server-sent events only come from the service; "
    for key, whole in (("opening", file.opening), ("subscribe", file.subscribe), ("replies", file.replies)):
        if whole:
            yield Problem((key,), receives + "say all in connect.url and connect.headers")
    if file.publish.websocket is not None:
        yield Problem(("publish", "websocket"), receives + "say how to publish over HTTP")
    if file.keepalive is not None and file.keepalive.every_ns is not None:
        yield Problem(("keepalive", "every"), receives + "give a timeout alone")
    if connect.subprotocols:
        yield Problem(("connect", "subprotocols"), "goes with a WebSocket only; drop it")
    if connect.frames != "text":
        yield Problem(("connect", "frames"), "goes with a WebSocket only; drop it")
    if connect.messages == "lines":
        yield Problem(("connect", "messages"), "must be text or json: each event is one message")


def _login_problems(file: ProtocolFile) -> Iterator[Problem]:
    try:
        modes_of(file.login())
    except ValueError as error:
        yield Problem(("opening",) if file.login_in_opening() else ("connect",), str(error))
    for number, step in enumerate(file.opening):
        if step.with_login is not None and not file.login():
            yield Problem(
                ("opening", number, "with_login"),
                "is never sent: the file has no placeholder such as {login.password}, so that no client has a login",
            )


def _match_problems(file: ProtocolFile) -> Iterator[Problem]:
    """Yield a problem for each message pattern that does not fit the kind of messages (`connect.messages`)."""
    json = file.connect.messages == "json"
    for path, match in _matches(file):
        if json and isinstance(match, str):
            yield Problem(
                path, "must be a mapping such as {when: {/type: data}}, since connect.messages is json"
            )
        elif not json and not isinstance(match, str):
            yield Problem(
                path, "has JSON pointers, and connect.messages is not json; set it, or write a text"
            )
        elif isinstance(match, str) and path != ("deliver",):
            if _has(match, "bytes"):
                yield Problem(path, "has {bytes}, which only a delivery may have; write {*}")
            if file.connect.messages == "lines" and _LINE_END in match:
                yield Problem(path, "has the end of a line in it; write the line without it")


def _delivery_problems(file: ProtocolFile) -> Iterator[Problem]:
    match, path = file.deliver, ("deliver",)
    found, identity = _names(match), identity_of(match)
    if not found & _SINGLE:
        yield Problem(
            path, "does not say where the event is; write {event}, or the pointer as event or event_json"
        )
    if file.subscribe is not None and identity is not None and not _has_any(file.subscribe.send, identity):
        yield Problem(path, f"names the subscription by {identity}, which subscribe.send does not send")
    if file.subscribe is None and identity in ("id", "number"):
        yield Problem(
            path, f"has {identity}, which nothing has sent: the subscription is in the URL; leave it out"
        )
    if identity == "channel" and file.channels.wildcard is not None:
        yield Problem(
            ("channels", "wildcard"),
            "cannot be used: a delivery names only its channel, so that its pattern would be unknown",
        )
    if file.connect.messages == "lines" and isinstance(match, str):
        head, end, rest = match.partition(_LINE_END)
        if end and rest not in ("", "{event}", "{event}" + _LINE_END):
            yield Problem(path, "has something else than {event} after its first line")
        elif bool(end and rest) != ("bytes" in found) or (_has(head, "event") and rest):
            yield Problem(
                path, "must have {bytes} in its first line and {event} after it, or {event} in its only line"
            )
    elif "bytes" in found:
        yield Problem(path, "has {bytes}, which only a stream has where connect.messages is lines; write {*}")
    if file.connect.messages == "text" and match == "{event}":
        for other, _ in _matches(file):
            if other != path and other[0] != "opening":
                yield Problem(other, "would never be seen: 'deliver' is {event} and so fits every message")


def _exchange_problems(path: Path, exchange: Subscribe | Unsubscribe | PublishWebSocket) -> Iterator[Problem]:
    if exchange.accepted is None:
        if exchange.refused is not None:
            yield Problem(
                (*path, "refused"),
                "is there without 'accepted', so that it belongs to no request; put it under 'errors'",
            )
        return
    identity = identity_of(exchange.accepted)
    if identity is not None and not _has_any(exchange.send, identity):
        yield Problem(
            (*path, "accepted"),
            f"names the request by {identity}, which 'send' does not send; write {{{identity}}} there",
        )
    if exchange.refused is not None and identity_of(exchange.refused) != identity:
        yield Problem(
            (*path, "refused"),
            f"names the request by {identity_of(exchange.refused) or 'its order'}, and 'accepted' by"
            f" {identity or 'its order'}; both must do the same",
        )


def _stamped_problems(file: ProtocolFile, stamped: Stamped) -> Iterator[Problem]:
    if file.connect.messages != "lines":
        yield Problem(("stamped",), "goes with 'connect.messages: lines' only; drop it")
    if file.publish.websocket is None:
        yield Problem(("stamped",), "goes with publish.websocket, which is not there; drop it")
    wanted = identity_of(file.deliver)
    if wanted is not None and not _has(stamped.deliver, wanted):
        yield Problem(
            ("stamped", "deliver"),
            f"does not name the subscription by {wanted}, as 'deliver' does; write {{{wanted}}}",
        )


def _event_problems(file: ProtocolFile) -> Iterator[Problem]:
    ways: list[tuple[Path, Written]] = []
    by_url = _has(file.connect.url, "channel") or _has(file.connect.url, "channels")
    if file.publish.websocket is not None:
        ways.append((("publish", "websocket", "send"), file.publish.websocket.send))
        if not _has_any(file.publish.websocket.send, "channel") and not by_url:
            yield Problem(("publish", "websocket", "send"), "does not say to which channel; write {channel}")
        if by_url and file.subscribe is None:
            yield Problem(
                ("publish", "websocket"),
                "cannot be used where connect.url has {channel}: those who publish have no channel of their own;"
                " say how to publish over HTTP",
            )
    if file.publish.http is not None:
        ways.append((("publish", "http", "body"), file.publish.http.body))
    for path, written in ways:
        found = {name for name, _ in names(written)}
        if not found & (_SINGLE | _BATCH):
            yield Problem(path, "does not send the event; write {event}, or {events} for a batch")
        elif found & _BATCH and found & (_SINGLE | {"bytes"}):
            yield Problem(path, "has both one event and a batch; keep one of them")


def _matches(file: ProtocolFile) -> Iterator[tuple[Path, Any]]:
    """Yield each pattern that recognises a message of the connection, with the pattern's path in the file."""
    for number, step in enumerate(file.opening):
        if step.expect is not None:
            yield ("opening", number, "expect"), step.expect
    for path, exchange in _exchanges(file):
        for key in ("accepted", "refused"):
            match = getattr(exchange, key)
            if match is not None:
                yield (*path, key), match
    yield ("deliver",), file.deliver
    for number, reply in enumerate(file.replies):
        yield ("replies", number, "on"), reply.on
    for key in ("ignore", "errors"):
        for number, match in enumerate(getattr(file, key)):
            yield (key, number), match


def _exchanges(file: ProtocolFile) -> Iterator[tuple[Path, Subscribe | Unsubscribe | PublishWebSocket]]:
    if file.subscribe is not None:
        yield ("subscribe",), file.subscribe
    if file.unsubscribe is not None:
        yield ("unsubscribe",), file.unsubscribe
    if file.publish.websocket is not None:
        yield ("publish", "websocket"), file.publish.websocket


def _bodies(file: ProtocolFile) -> Iterator[Written]:
    if file.publish.websocket is not None:
        yield file.publish.websocket.send
    if file.publish.http is not None:
        yield file.publish.http.body


def _exchange(part: Subscribe | Unsubscribe | PublishWebSocket | None) -> Exchange | None:
    if part is None:
        return None
    return Exchange(
        part.send,
        None if part.accepted is None else _pattern(part.accepted),
        None if part.refused is None else _pattern(part.refused),
        None if part.accepted is None else identity_of(part.accepted),
    )


def _http(part: PublishHttp) -> HttpPublish:
    return HttpPublish(
        part.url,
        part.method,
        part.headers,
        part.body,
        frozenset(part.expect),
        None if part.refused is None else _pattern(part.refused),
    )


def _pattern(match: str | JsonMatch) -> Pattern:
    return TextPattern(match) if isinstance(match, str) else JsonPattern(match.when, match.at)


def _names(match: str | JsonMatch) -> set[str]:
    if isinstance(match, JsonMatch):
        return set(match.at)
    return {piece[0] for piece in pieces(match) if not isinstance(piece, str)}


def _has(text: str, name: str) -> bool:
    return (name, False) in list(pieces(text))


def _has_any(written: Written, name: str) -> bool:
    return (name, False) in list(names(written))


def _of_batch(written: Written) -> bool:
    return any(name in _BATCH for name, _ in names(written))
