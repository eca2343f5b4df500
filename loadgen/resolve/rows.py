"""The values that clients and publish requests take from the rows of data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from loadgen.data.assignment import client_row, request_rows
from loadgen.data.cells import Cell, text_of
from loadgen.data.tables import Tables
from loadgen.payloads.lines import COLUMNS as MESSAGE_COLUMNS
from loadgen.payloads.plans import Lines
from loadgen.resolve.group import Group
from loadgen.resolve.responding import of_request
from loadgen.resolve.run import ResolvedRun, Variable, source_of
from loadgen.resolve.sampling import draw_channel
from loadgen.scenario.template import Template


def own_names(run: ResolvedRun, group: Group) -> tuple[str, ...]:
    """Return the names of columns whose values the clients of a group take from their own rows.

    Columns that only publish requests use are included if their data file assigns its rows `by-client`.
    """
    if group.users is not None:
        # The code of a user class may read any column, so return all columns.
        return tuple(f"{source}.{column}" for source, data in run.data.items() for column in data.columns)
    names = [name for source in group.subscribe for name in Template.parse(source).names]
    if group.publish is not None:
        names += [
            name
            for name in (*Template.parse(group.publish.channel).names, *group.publish.payload_names)
            if (source := source_of(name)) is not None and run.data[source].assign == "by-client"
        ]
    if group.logins is not None:
        names += group.logins.columns
    if group.respond is not None:
        names += [name for name in Template.parse(group.respond.channel).names if not of_request(name)]
    return tuple(dict.fromkeys(name for name in names if source_of(name) is not None))


def request_columns(run: ResolvedRun) -> dict[str, list[str]]:
    """Return the columns that publish requests use, by table.

    Tables with `assign: by-client` are left out: there each client has its own row, whatever the request.
    """
    found: dict[str, list[str]] = {}
    for publishing in run.publishing.values():
        if isinstance(publishing.payload, Lines):
            found[publishing.payload.table] = list(MESSAGE_COLUMNS)
        for name in (*Template.parse(publishing.channel).names, *publishing.payload_names):
            source = source_of(name)
            if source is None or run.data[source].assign == "by-client":
                continue
            columns = found.setdefault(source, [])
            if (column := name.removeprefix(f"{source}.")) not in columns:
                columns.append(column)
    return found


def rows_of(run: ResolvedRun, table: str) -> int:
    """Return the number of rows of a table; publish requests draw rows from it."""
    if table in run.data:
        return run.data[table].rows
    return next(
        publishing.payload.rows
        for publishing in run.publishing.values()
        if isinstance(publishing.payload, Lines) and publishing.payload.table == table
    )


class ClientRows:
    """The values of each client's own rows, read from the tables.

    Only a process that has the tables of all data files can create it.
    """

    def __init__(self, run: ResolvedRun, tables: Tables) -> None:
        """Use the tables of a resolved run's data; raises KeyError if one is missing."""
        self._run = run
        self._tables = {name: tables[name] for name in run.data}
        self._names = {
            group.name: [(name, *name.split(".", 1)) for name in own_names(run, group)]
            for group in run.groups
        }

    def row(self, source: str, group: Group, number: int) -> int:
        """Return the row, from 0, of the data file named ``source`` that is assigned to the client with this number."""
        data = self._run.data[source]
        return client_row(
            data.assign,
            data.rows,
            seed=str(self._run.seed),
            name=source,
            number=number,
            index=number - group.first,
        )

    def place(self, group: Group, number: int) -> str | None:
        """Return the file and line of the row with a client's login, or None if the login uses no column."""
        names = () if group.logins is None else group.logins.columns
        source = next((source for name in names if (source := source_of(name)) is not None), None)
        if source is None:
            return None
        table = self._tables[source]
        return f"{self._run.data[source].file}:{table.line(self.row(source, group, number))}"

    def places(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the file and line of the row with each client's login, keyed by global client number.

        Clients whose login uses no column are left out.
        """
        found = {}
        for number in numbers:
            if (place := self.place(self._run.group_of(number), number)) is not None:
                found[number] = place
        return found

    def of(self, numbers: Iterable[int]) -> dict[int, dict[str, Cell]]:
        """Return the values of clients by their global numbers; clients without values are left out."""
        if not any(self._names.values()):
            return {}
        found = {}
        for number in numbers:
            group = self._run.group_of(number)
            if self._names[group.name]:
                found[number] = self.values(group, number)
        return found

    def values(self, group: Group, number: int) -> dict[str, Cell]:
        """Return the values of a client's rows by their names in templates; ``number`` is unique in the whole run."""
        rows: dict[str, int] = {}
        found = {}
        for name, source, column in self._names[group.name]:
            if source not in rows:
                rows[source] = self.row(source, group, number)
            found[name] = self._tables[source].cell(column, rows[source])
        return found


class RequestDraw:
    """Draws the data-dependent channels of one publisher's requests, in the order of its schedule.

    ``rows`` maps the name of each data file to the row drawn for the request whose channel was returned last.
    """

    __slots__ = ("next", "rows")

    next: Callable[[], str]
    """Return the channel of the next request."""

    def __init__(
        self,
        template: Template,
        run: ResolvedRun,
        group: Group,
        number: int,
        own: Mapping[str, Cell],
        tables: Tables,
        more: Sequence[str] = (),
    ) -> None:
        """``own`` has the values of the client's rows.

        ``more`` names further data files to draw rows from, although the template uses none of their columns.
        """
        bound = template.bind({name: text_of(cell) for name, cell in own.items()})
        index, seed = number - group.first, str(run.seed)
        columns = [(name, *name.split(".", 1)) for name in bound.names if source_of(name) is not None]
        draws = {
            source: request_rows(
                run.data[source].assign,
                run.data[source].rows,
                seed=seed,
                name=source,
                number=number,
                index=index,
                clients=group.count,
            )
            for source in dict.fromkeys([*(source for _, source, _ in columns), *more])
        }
        random = Random(f"{seed}/publish/{number}")
        variables: Mapping[str, Variable] = run.variables
        rows = self.rows = dict.fromkeys(draws, 0)
        if not draws and not bound.names:
            self.next = lambda: bound.texts[0]
            return

        def draw() -> str:
            for source, draw_row in draws.items():
                rows[source] = draw_row()
            values = {
                name: text_of(tables[source].cell(column, rows[source])) for name, source, column in columns
            }
            return draw_channel(bound.bind(values), variables, index, random)

        self.next = draw
