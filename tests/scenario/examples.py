"""A small valid scenario; each test of an error puts one mistake into it."""

GOOD = """\
version: 1
variables:
  article: {count: 20}
clients:
  readers:
    count: 5
    subscribe: "/default/c/{article}/*"
  writers:
    count: 2
    publish:
      channel: "/default/c/{article}/x"
      rate: 100/s
phases:
  warmup: 1s
"""


def edited(old: str, new: str) -> str:
    """Return the valid scenario with one passage replaced."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def with_readers(line: str) -> str:
    """Return the valid scenario with one or more lines added to its readers."""
    return edited("    count: 5\n", f"    count: 5\n    {line}\n")


def with_publish(line: str) -> str:
    """Return the valid scenario with one or more lines added to its ``publish``."""
    return edited("      rate: 100/s\n", f"      rate: 100/s\n      {line}\n")
