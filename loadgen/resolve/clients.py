"""The plan of each client: its subscriptions, its publishes with their times, and its behaviour.

A plan depends only on the resolved run and the client's number, so each worker computes the plans of its own clients
only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random

from loadgen.data.cells import Cell, text_of
from loadgen.data.tables import Tables
from loadgen.pacing import Pace, offsets_ns
from loadgen.payloads.makers import Maker, Makers
from loadgen.payloads.stamping import Stamping
from loadgen.resolve.behaviour import ORDINARY, Behaviour, behaviour_of
from loadgen.resolve.group import Group
from loadgen.resolve.publishing import Publishing
from loadgen.resolve.replies import ReplyPlan, reply_plan
from loadgen.resolve.rows import ClientRows, RequestDraw
from loadgen.resolve.run import ResolvedRun, source_of
from loadgen.resolve.sampling import ChannelDraw, ChannelTable, draw_channel
from loadgen.resolve.stays import stays_of
from loadgen.resolve.totals import ramp_offset_ns
from loadgen.scenario.template import Template


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """One subscription of a client; its number is unique in the whole run."""

    number: int
    channel: str
    replies: int | None = field(default=None, repr=False)
    """Number of replies by the client to each event of the subscription, or None if it does not reply."""


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """The publishes of one client."""

    over_http: bool
    """True to send requests over HTTP, False to send them over the client's own connection."""
    batch: int
    """Events in one request."""
    payload_bytes: int
    in_flight: int | None
    """Most HTTP requests that may be unanswered at once; None if requests go over the client's connection."""
    pace: Pace
    """The load of the whole group, in requests per second; the times of its load curve start with the warm-up."""
    clients: int
    index: int
    """Number of the client within the group, from 0."""
    duration_ns: int
    """Length of the schedule: warm-up plus measure phase."""
    _seed: str
    _group: str
    _number: int
    _draw: Callable[[], ChannelDraw | RequestDraw]
    padded: bool = True
    """True if events have no content but padding, all to the same size."""
    _make: Callable[[], Maker] | None = None

    def offsets_ns(self, duration_ns: int | None = None) -> Iterator[int]:
        """Yield the due time of each request, in ns from the start of the warm-up."""
        return offsets_ns(
            self.pace,
            clients=self.clients,
            index=self.index,
            seed=f"{self._seed}/{self._group}",
            duration_ns=self.duration_ns if duration_ns is None else duration_ns,
        )

    def channels(self) -> ChannelDraw | RequestDraw:
        """Return the channels of the requests, in the order of the schedule and beginning with the first."""
        return self._draw()

    def maker(self) -> Maker | None:
        """Return the object that makes events, or None if they are padding with the stamp in its default place."""
        return None if self._make is None else self._make()


@dataclass(frozen=True, slots=True)
class JourneyPlan:
    """The plan of a client that runs the tasks of a user class.

    Its subscriptions are numbered ``first_subscription``, ``first_subscription + stride``, and so on. No other
    client, of this or another worker, has the same numbers.
    """

    stays: tuple[tuple[int, int | None], ...]
    """(begin, end) of each period in which the client runs its tasks; see `loadgen.resolve.stays.Stay`."""
    first_subscription: int
    stride: int
    seed: str


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """The plan of one client."""

    number: int
    """Number of the client, unique in the whole run; numbers start at 0."""
    group: str
    index: int
    """Number of the client within the group, from 0."""
    subscriptions: tuple[SubscriptionPlan, ...]
    publish: PublishPlan | None
    ramp_offset_ns: int
    """Time at which the client connects, in ns from the start of the ramp."""
    behaviour: Behaviour = ORDINARY
    values: Mapping[str, Cell] = field(default_factory=dict, repr=False)
    """The values of the client's rows of data, by their names in templates, such as ``people.id``; some are secret."""
    place: str | None = None
    """File and line of the row from which the client has its login, or None if no column is part of its login."""
    respond: ReplyPlan | None = None
    """The client's replies to the events of one of its subscriptions."""
    journey: JourneyPlan | None = None
    """The tasks of a user class that the client runs, or None if it runs none."""


class Clients:
    """Computes the plan of each client of a run from its number; numbers follow the order of groups in the scenario.

    ``tables`` holds the data rows that publish requests draw from. ``rows`` reads each client's own values from the
    data files. A process that lacks these files leaves ``rows`` out, and passes the values to :meth:`client`.
    """

    def __init__(
        self, run: ResolvedRun, tables: Tables | None = None, rows: ClientRows | None = None
    ) -> None:
        self._run = run
        self._data = Tables() if tables is None else tables
        self._rows = rows
        self._seed = str(run.seed)
        #: Writes the stamps into the run's events, and reads them from deliveries.
        self.stamping = Stamping(run.stamps)
        self._makers = {
            name: Makers(publishing.payload, publishing.payload_bytes, self.stamping, self._data, name)
            for name, publishing in run.publishing.items()
            if publishing.payload is not None or not self.stamping.plain
        }
        self._payload_names = {name: each.payload_names for name, each in run.publishing.items()}
        self._subscribe = {
            group.name: [Template.parse(source) for source in group.subscribe] for group in run.groups
        }
        self._tables = {
            name: ChannelTable(Template.parse(publishing.channel), run.variables)
            for name, publishing in run.publishing.items()
            if not any(
                map(source_of, (*Template.parse(publishing.channel).names, *self._payload_names[name]))
            )
        }

    def __len__(self) -> int:
        """Return the number of clients."""
        return self._run.totals.clients

    def client(
        self, number: int, values: Mapping[str, Cell] | None = None, place: str | None = None
    ) -> ClientPlan:
        """Return the plan of the client with the global number ``number``.

        ``values`` are the values of the client's rows, or None to read them and the place from the data files.
        ``place`` becomes `ClientPlan.place`.

        Raises:
            IndexError: there is no such client.
            KeyError: a value is missing.
        """
        group = self._run.group_of(number)
        index = number - group.first
        # A client that runs a user class connects only after the ramp, so it has no offset in the ramp.
        offset_ns = 0 if group.users is not None else ramp_offset_ns(index, group.ramp_per_s)
        if values is None:
            values = {} if self._rows is None else self._rows.values(group, number)
            place = None if self._rows is None else self._rows.place(group, number)
        return ClientPlan(
            number=number,
            group=group.name,
            index=index,
            subscriptions=self._subscriptions(group, number, index, values),
            publish=self._publish(group, number, index, values),
            ramp_offset_ns=offset_ns,
            behaviour=behaviour_of(group, self._seed, number, index, offset_ns),
            values=values,
            place=place,
            respond=self._respond(group, number, index, values),
            journey=None if group.users is None else self._journey(group, number, index),
        )

    def _journey(self, group: Group, number: int, index: int) -> JourneyPlan:
        totals = self._run.totals
        before = sum(each.count for each in self._run.journeys if each.first < group.first)
        return JourneyPlan(
            stays_of(group, index, self._run.phases.warmup_ns),
            totals.subscriptions + before + index,
            totals.journeys,
            f"{self._seed}/journey/{number}",
        )

    def channels(
        self, group: Group, number: int, values: Mapping[str, Cell] | None = None
    ) -> tuple[str, ...]:
        """Return the channels to which a client of the group subscribes, one for each of the group's subscriptions.

        ``values`` are those of the client's rows of data.
        """
        texts = {name: text_of(cell) for name, cell in (values or {}).items()}
        index = number - group.first
        random = Random(f"{self._seed}/subscribe/{number}")
        return tuple(
            draw_channel(template.bind(texts), self._run.variables, index, random)
            for template in self._subscribe[group.name]
        )

    def _subscriptions(
        self, group: Group, number: int, index: int, values: Mapping[str, Cell]
    ) -> tuple[SubscriptionPlan, ...]:
        channels = self.channels(group, number, values)
        first = group.first_subscription + index * len(channels)
        respond = group.respond
        return tuple(
            SubscriptionPlan(
                first + entry,
                channel,
                respond.count if respond is not None and respond.entry == entry else None,
            )
            for entry, channel in enumerate(channels)
        )

    def _respond(self, group: Group, number: int, index: int, values: Mapping[str, Cell]) -> ReplyPlan | None:
        respond = group.respond
        if respond is None:
            return None
        subscription = group.first_subscription + index * len(group.subscribe) + respond.entry
        texts = {name: text_of(cell) for name, cell in values.items()}
        own = Template.parse(respond.channel).bind(texts)
        return reply_plan(self._run, respond, subscription, number, index, own)

    def _publish(
        self, group: Group, number: int, index: int, values: Mapping[str, Cell]
    ) -> PublishPlan | None:
        publish = group.publish
        if publish is None:
            return None
        return PublishPlan(
            over_http=publish.over_http,
            batch=publish.batch,
            payload_bytes=publish.payload_bytes,
            in_flight=publish.in_flight,
            pace=publish.pace,
            clients=group.count,
            index=index,
            duration_ns=self._run.phases.publishing_ns,
            _seed=self._seed,
            _group=group.name,
            _number=number,
            _draw=self._channel_draw(group, publish, number, index, values),
            padded=publish.payload is None,
            _make=self._maker(group, number, index, values),
        )

    def _maker(
        self, group: Group, number: int, index: int, values: Mapping[str, Cell]
    ) -> Callable[[], Maker] | None:
        makers = self._makers.get(group.name)
        if makers is None:
            return None
        return partial(
            makers.maker, seed=self._seed, number=number, index=index, clients=group.count, own=values
        )

    def _channel_draw(
        self, group: Group, publish: Publishing, number: int, index: int, values: Mapping[str, Cell]
    ) -> Callable[[], ChannelDraw | RequestDraw]:
        table = self._tables.get(group.name)
        if table is not None:
            return lambda: ChannelDraw(table, index, Random(f"{self._seed}/publish/{number}"))
        more = [name.partition(".")[0] for name in self._payload_names[group.name] if name not in values]
        template = Template.parse(publish.channel)
        return partial(RequestDraw, template, self._run, group, number, values, self._data, more)
