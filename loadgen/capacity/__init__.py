"""How much a target can take: the highest load that meets all goals, found by runs.

`search` says which load to try next (pure), `axes` what a load means in a scenario, `trial` makes one run and reads its
summary, `record` keeps what was found in capacity.json, `conduct` puts them together.
"""
