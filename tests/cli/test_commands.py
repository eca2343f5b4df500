"""Test that the table of commands agrees with the application; tests/system/cli tests their imports."""

from importlib import import_module

from loadgen.cli import commands


def test_the_table_names_the_commands_of_each_module() -> None:
    app = commands.load(["--help"])
    registered: dict[str, set[str]] = {}
    for command in app.registered_commands:
        assert command.callback is not None
        module = command.callback.__module__.removeprefix("loadgen.cli.")
        registered.setdefault(module, set()).add(command.name or command.callback.__name__)
    for group in app.registered_groups:
        (module,) = (name for name in commands.COMMANDS if _registers(name, group.typer_instance))
        registered.setdefault(module, set()).add(group.name)
    expected = {"app": set(commands.ALWAYS)} | {name: set(each) for name, each in commands.COMMANDS.items()}
    assert registered == expected


def _registers(module: str, group: object) -> bool:
    return getattr(import_module(f"loadgen.cli.{module}"), "commands", None) is group
