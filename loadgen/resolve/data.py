"""Read the data of a scenario, and check that there are enough rows and that each row makes a valid channel."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from loadgen.config.problems import Places, Problem, ScenarioError
from loadgen.config.text import dotted, redacted, shown
from loadgen.data.cells import text_of
from loadgen.data.columns import header
from loadgen.data.errors import DataError
from loadgen.data.readers import rows
from loadgen.data.table import Table
from loadgen.data.tables import Tables
from loadgen.payloads.lines import table_name
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve.checks import largest, payloads, templates
from loadgen.resolve.logins import demands, login_columns
from loadgen.resolve.message_files import read_messages, sources_of, unusable_payloads
from loadgen.resolve.responding import without_request
from loadgen.resolve.row_sentences import first_ten, kept, with_row
from loadgen.scenario.data import Data, columns_in, split
from loadgen.scenario.login_columns import columns_of, filled
from loadgen.scenario.scenario import Scenario
from loadgen.scenario.template import Template


def read_data(
    scenario: Scenario, places: Places, folder: Path, rules: ProtocolRules
) -> tuple[Scenario, Tables]:
    """Read the used columns of a scenario's data from its folder.

    Return the scenario with the number of rows of each file, and the rows.

    Raises:
        ScenarioError: a file cannot be used, or its rows do not fit the clients; the error has a line for each problem.
    """
    in_channels = (
        name for _, source, _ in templates(scenario.clients, rules) for name in Template.parse(source).names
    )
    in_payloads = (name for _, made in payloads(scenario.clients) for name in sources_of(made))
    in_logins = (name for group in scenario.clients.values() for name in login_columns(group))
    used = columns_in(chain(in_channels, in_payloads, in_logins))
    coded = [name for name, group in scenario.clients.items() if group.users is not None]
    tables: dict[str, Table] = {}
    problems: list[str] = []
    for name, data in scenario.data.items():
        path = ("data", name, data.kind)
        try:
            columns = used.get(name, [])
            if coded:
                # The code of a user class may read any column except secret ones, so read them all.
                known = header(
                    _inside(folder, data.file), data.kind, name=data.file, separator=data.separator
                )
                columns = [*columns, *(each for each in known if each not in (*columns, *data.secret))]
            tables[name] = _table(data, columns, folder)
        except _Outside as error:
            problems.append(redacted(f"{places.place(path)}: {dotted(path)} {error}"))
        except DataError as error:
            problems += error.problems
    for above, made in payloads(scenario.clients):
        if made.file is None:
            continue
        where = (*above, "file")
        try:
            file = _inside(folder, made.file)
            tables[table_name(str(above[1]))] = read_messages(made, file, scenario.stamps, rules.event_bytes)
        except _Outside as error:
            problems.append(redacted(f"{places.place(where)}: {dotted(where)} {error}"))
        except DataError as error:
            problems += error.problems
    opened = Tables(tables)
    if not problems:
        problems = list(places.sentences(_too_few(scenario, tables)))
    if not problems:
        problems = [
            *first_ten(_unusable(scenario, tables, rules)),
            *first_ten(_unusable_logins(scenario, tables)),
            *unusable_payloads(scenario, tables, rules),
        ]
    if problems:
        opened.close()
        raise ScenarioError(problems)
    counted = {
        name: data.model_copy(update={"first": len(tables[name])}) for name, data in scenario.data.items()
    }
    return scenario.model_copy(update={"data": counted}) if counted else scenario, opened


class _Outside(Exception):  # noqa: N818  reported as a problem of the scenario
    """The file is not in the scenario's folder; the message completes a sentence that begins with its path."""


def _inside(folder: Path, file: str) -> Path:
    """Return the path of a file; raises _Outside if it is not in the scenario's folder."""
    path = folder / file
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        # The path has a loop of links or a null character. Return it, since reading the file will report the problem.
        inside = True
    if not inside:
        # A scenario from another person must not make the harness read arbitrary files.
        raise _Outside(
            f"names {shown(file)}, which is outside the scenario's folder; put the file beside the scenario"
        )
    return path


def _table(data: Data, columns: list[str], folder: Path) -> Table:
    path = _inside(folder, data.file)
    name = data.file if data.file.isprintable() else shown(data.file)
    found = rows(path, data.kind, columns, name=name, separator=data.separator)
    return kept(islice(found, data.first), columns, name, "rows")


def _too_few(scenario: Scenario, tables: dict[str, Table]) -> Iterator[Problem]:
    """Yield a problem for each group with more clients than rows in a data file that gives each client its own row."""
    for group_name, group in scenario.clients.items():
        for source, data in scenario.data.items() if group.users is not None else ():
            have = len(tables[source])
            if data.assign == "by-client" and group.count > have:
                yield _few(group_name, group.count, source, data, have)
        sources = [*group.subscribe, *([group.publish.channel] if group.publish is not None else [])]
        if group.respond is not None:
            sources.append(without_request(group.respond.publish.channel))
        names = [name for each in sources for name in Template.parse(each).names]
        names += login_columns(group)
        if group.publish is not None and group.publish.made is not None:
            names += sources_of(group.publish.made)
        for source in columns_in(iter(names)):
            have, data = len(tables[source]), scenario.data[source]
            if data.assign == "by-client" and group.count > have:
                yield _few(group_name, group.count, source, data, have)


def _few(name: str, count: int, source: str, data: Data, have: int) -> Problem:
    return Problem(
        ("clients", name, "count"),
        f"is {count:,}, and {data.file} has {have:,} {'row' if have == 1 else 'rows'} to use:"
        f" give it more rows, or use rows again with 'assign: in-turn' in data.{source}",
    )


def _unusable(
    scenario: Scenario, tables: dict[str, Table], rules: ProtocolRules
) -> Iterator[tuple[str, str]]:
    """Yield the data file and an error message for each row that makes an invalid channel."""
    for path, source, validate in templates(scenario.clients, rules):
        template = Template.parse(source)
        used = [meant for meant in map(split, dict.fromkeys(template.names)) if meant is not None]
        if not used:
            continue
        longest = largest(template, scenario.variables)
        group = scenario.clients[str(path[1])]
        # Two files have too many combinations of rows to check all, so combine only rows with the same row number.
        by_request = path[2] == "publish"
        limits = [
            _rows_used(scenario.data[name], len(tables[name]), group.count, by_request) for name, _ in used
        ]
        for row in range(max(limits)):
            values = {
                f"{name}.{column}": text_of(tables[name].cell(column, min(row, limit - 1)))
                for (name, column), limit in zip(used, limits, strict=True)
            }
            why = _why_invalid(template, {**longest, **values}, validate)
            if why is None:
                continue
            name = used[limits.index(max(limits))][0]
            yield with_row(scenario.data[name], tables[name], row, path, why)


def _unusable_logins(scenario: Scenario, tables: dict[str, Table]) -> Iterator[tuple[str, str]]:
    """Yield a file and a sentence for each row with a value that no login can use; none repeats the value."""
    for name, group in scenario.clients.items():
        for path, text, demand in demands(group):
            used = columns_in(columns_of(text))
            limits = {
                each: _rows_used(scenario.data[each], len(tables[each]), group.count, by_request=False)
                for each in used
            }
            source = max(limits, key=lambda each: limits[each])
            for row in range(limits[source]):
                values = {
                    f"{each}.{column}": tables[each].cell(column, min(row, limits[each] - 1))
                    for each, columns in used.items()
                    for column in columns
                }
                why = demand("" if None in values.values() else filled(text, values))
                if why is None:
                    continue
                yield with_row(scenario.data[source], tables[source], row, ("clients", name, *path), why)


def _rows_used(data: Data, have: int, clients: int, by_request: bool) -> int:
    """Return how many rows of a data file a group's clients may use: always the first ones."""
    if data.assign == "by-client" or (data.assign == "in-turn" and not by_request):
        return min(have, clients)
    return have


def _why_invalid(
    template: Template, values: Mapping[str, object], validate: Callable[[str], object]
) -> str | None:
    for name in template.names:
        text = str(values[name])
        if not text:
            return f"{name} is empty"
        if "/" in text:
            return f"{name} has a '/', which would begin another segment"
    try:
        validate(template.render(values))
    except ValueError as error:
        return str(error)
    return None
