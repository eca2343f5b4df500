"""AWS AppSync Events: channels, messages, authorization, errors, limits and endpoints; no I/O.

Docstrings and comments give the source of each fact in parentheses: AWS docs, seen on AWS (by a client's tests or in an
issue, not by us), mocked test (of a client), secondary source or inferred. The last two are assumptions. The fact sheet
with all sources, docs/reference/appsync-events.md, tags them as doc, real, fixture, 2nd and inf.
"""
