"""The options of a run on Locust's command line."""

from argparse import ArgumentParser
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from loadgen.run.option import Reader
from loadgen.run.options import ENTRIES, Entry, RunOptions

#: The harness's own options that it adds to Locust's command line, by `Entry.locust_name`. Locust sends a master's
#: options to its workers, but a worker's values of these options are kept.
OF_LOCUST: Final = {entry.locust_name: entry for entry in ENTRIES.values() if entry.of_locust}


def arguments(options: RunOptions) -> list[str]:
    """Return the arguments for the Locust subprocess: the options that have a value, once for each item of a list."""
    role = Reader.WORKER if options.worker else Reader.MASTER
    return [
        argument
        for entry in ENTRIES.values()
        if entry.option.reader in (role, Reader.BOTH)
        for argument in _written(entry, getattr(options, entry.name))
    ]


def add_options(parser: ArgumentParser) -> None:
    """Add the harness's options to Locust's parser. They form a group, so that Locust's web form omits them."""
    group = parser.add_argument_group("Event API load (loadgen)")
    for name, entry in OF_LOCUST.items():
        option = entry.option
        settings: dict[str, Any] = {"dest": name}
        # Escape `%`, since argparse formats help texts with it.
        settings["help"] = (option.locust_help or option.help).replace("%", "%%")
        if entry.type is bool:
            settings["action"] = "store_true"
        else:
            settings["metavar"] = option.metavar
            settings["default"] = _locust_default(entry)
            if entry.repeatable:
                settings["action"] = "append"
            if entry.type in (int, float):
                settings["type"] = entry.type
            if issubclass(entry.type, StrEnum):
                settings["choices"] = [each.value for each in entry.type]
        group.add_argument(entry.locust_flag, **settings)
    # Locust listens on all interfaces by default; the harness does so only if an option asks for it.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")


def _locust_default(entry: Entry) -> Any:
    """Return an option's default value on Locust's command line; paths become text."""
    if entry.repeatable:
        return []
    default = entry.option.locust_default if entry.default is None else entry.default
    return str(default) if isinstance(default, Path | StrEnum) else default


def _written(entry: Entry, value: Any) -> list[str]:
    if entry.type is bool:
        return [entry.locust_flag] if value is not entry.option.locust_opposite else []
    values = value if entry.repeatable else [] if value is None else [value]
    # Join option and value by an equals sign, because a value may begin with a dash.
    return [f"{entry.locust_flag}={each}" for each in values]
