"""Find a target's capacity: the highest load at which runs meet all goals.

`search` decides the next load to try (a pure function), `axes` turns a load into overrides of the scenario, `trial`
makes one run and reads its summary, `record` writes capacity.json, `conduct` runs the whole search, and `verify` checks
a finished one.
"""
