"""The frames and patterns of a service that a protocol file describes, made once and shared by all connections."""

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec

from loadgen import native
from loadgen.protocol import unreadable
from loadgen.protocol.generic.description import Description
from loadgen.protocol.generic.description import Step as Described
from loadgen.protocol.generic.frames import Frame, Written, filled, names
from loadgen.protocol.generic.lanes import template_of
from loadgen.protocol.generic.login import PLACEHOLDERS, FileLogin
from loadgen.protocol.generic.login_frame import LoginFrame
from loadgen.protocol.generic.opening import HOLD, Step
from loadgen.protocol.generic.patterns import quick
from loadgen.protocol.generic.rules import line_pattern, rules_of
from loadgen.protocol.generic.stamped import StampedLines

#: Maximum number of channels whose names on the wire are cached: the same channels are used again and again.
CHANNELS_KNOWN: Final = 65_536


class Dialect:
    """The frames, rules and patterns of a protocol file, with environment variables filled in.

    Raises:
        ValueError: an environment variable that the protocol file names is not set.
    """

    def __init__(self, description: Description, environment: Mapping[str, str]) -> None:
        missing = sorted(description.environment - environment.keys())
        if missing:
            raise ValueError(
                f"the environment variable {missing[0]}, which the protocol file of {description.name} names, is not"
                " set"
            )
        self.description = description
        #: The login of the client, or None if it has none.
        self.login: FileLogin | None = None
        self._environment = {name: environment[name] for name in description.environment}
        # All forms in which a service may repeat a secret; the longest first, so that no part of a secret remains.
        self._secrets = sorted(
            _forms((value, f"{{env:{name}}}") for name, value in self._environment.items()),
            key=lambda secret: -len(secret[0]),
        )
        #: The steps that open a connection. In a client's copy, `with_login` replaces the steps that send the login.
        self.opening = self._steps()
        self.subscribe_frame = self._frame_of(description.subscribe)
        self.unsubscribe_frame = self._frame_of(description.unsubscribe)
        self.publish_frame = self._frame_of(description.publish)
        self.rules = rules_of(description, [self.frame(reply.send) for reply in description.replies])
        deliver = description.deliver
        self.quick = quick(deliver.when, deliver.at) if description.messages == "json" else None
        self.line = line_pattern(deliver.pattern) if description.messages == "lines" else None
        #: The template by which native code reads deliveries, or None if Python must read them.
        by_frame = native.available and description.transport == "websocket"
        self.template = template_of(description) if by_frame else None
        self._stamped = description.stamped
        #: Writes and reads messages with stamps in a header, or None if the protocol file does not describe such
        #: messages.
        self.stamped = None if self._stamped is None else StampedLines(self._stamped, deliver.identity)
        keepalive = description.keepalive
        self.keepalive_frame = (
            None if keepalive is None or keepalive.send is None else self.frame(keepalive.send)
        )
        #: Cached function that returns the service's name of a channel.
        self.wire = lru_cache(maxsize=CHANNELS_KNOWN)(description.channels.wire)

    def with_login(self, login: FileLogin) -> "Dialect":
        """Return a copy of the dialect that fills in one client's login.

        Raises:
            UnfitLoginError: a value of the login cannot be written into a message that opens the connection.
        """
        made = copy(self)
        made.login = login
        if self.description.login_in_opening:
            made.opening = [made._own_step(number, step) for number, step in enumerate(self.opening)]
            for step in made.opening:
                if isinstance(step.frame, LoginFrame):
                    step.frame.render()
        return made

    def _steps(self) -> list[Step]:
        steps = [
            Step(self._opening_frame(number, step), step.expect)
            for number, step in enumerate(self.description.opening)
        ]
        return [*steps, HOLD] if self.description.subscribe is None else steps

    def _own_step(self, number: int, step: Step) -> Step:
        """Return a step of the opening with this client's login, or ``step`` itself if it does not use the login."""
        if step is HOLD or step.frame is None:
            return step
        described = self.description.opening[number]
        if described.with_login is None and not isinstance(step.frame, LoginFrame):
            return step
        return Step(self._opening_frame(number, described), None)

    def _opening_frame(self, number: int, step: Described) -> Frame | LoginFrame | None:
        if step.expect is not None:
            return None
        written, key = step.send, "send"
        if self.login is not None and step.with_login is not None:
            written, key = step.with_login, "with_login"
        if any(name in PLACEHOLDERS for name, of_environment in names(written) if not of_environment):
            return LoginFrame(written, self._environment, self.login, f"opening.{number}.{key}")
        return self.frame(written)

    def carry_stamps(self, name: str) -> None:
        """Send and read the stamps of events in the message header ``name`` from now on."""
        assert self._stamped is not None
        self.stamped = StampedLines(self._stamped, self.description.deliver.identity, name)

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, cut, and without secrets."""
        return unreadable.shown(message, self._hidden())

    def redacted(self, text: str) -> str:
        """Return a text of the service, cut, with each secret replaced by its `{env:NAME}`."""
        for secret, name in self._hidden():
            text = text.replace(secret, name)
        return unreadable.cut(text)

    def frame(self, written: Written) -> Frame:
        """Return the frame for a template in the protocol file."""
        return Frame(written, self._environment)

    def text(self, written: str) -> str:
        """Return a text from the protocol file with environment variables filled in."""
        return filled(written, self._login_in(written), self._environment)

    def _login_in(self, written: str) -> dict[str, str]:
        """Return the values of all `{login.…}` placeholders, or an empty mapping if the text contains none."""
        return {} if self.login is None or "{login." not in written else self.login.values()

    def headers(self, written: Mapping[str, str]) -> dict[str, str]:
        """Return headers from the protocol file with environment variables filled in."""
        return {name: self.text(value) for name, value in written.items()}

    def fill(
        self, url: str, target: str, values: Mapping[str, str] | None = None, *, secrets: bool = True
    ) -> str:
        """Return a URL from the protocol file with ``target`` and ``values`` filled in.

        Environment variables and the client's login are percent-encoded. If ``secrets`` is false, their placeholders
        stay unfilled, so that the URL may be shown.
        """
        login = (
            {name: quote(value, safe="") for name, value in self._login_in(url).items()} if secrets else {}
        )
        environment = (
            {name: quote(value, safe="") for name, value in self._environment.items()} if secrets else {}
        )
        return filled(url, {"target": target, **login, **(values or {})}, environment)

    def _hidden(self) -> list[tuple[str, str]]:
        """Return each form of a secret that a service may repeat, with its replacement; the longest first."""
        if self.login is None:
            return self._secrets
        return sorted([*self._secrets, *_forms(self.login.secrets())], key=lambda secret: -len(secret[0]))

    def _frame_of(self, exchange: object) -> Frame | None:
        send = getattr(exchange, "send", None)
        return None if send is None else self.frame(send)


def _forms(secrets: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each secret in all forms in which a service may repeat it, with its replacement."""
    for value, instead in secrets:
        for form in {
            value,
            quote(value, safe=""),
            msgspec.json.encode(value).decode()[1:-1],
            json.dumps(value)[1:-1],
        }:
            if form:
                yield form, instead
