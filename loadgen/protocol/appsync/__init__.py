"""AWS AppSync Events: channels, messages, authorization, errors, limits and endpoints; no I/O.

The source of each fact is tagged as in the fact sheet, docs/reference/appsync-events.md:
(doc) AWS page, (real) seen on AWS, (fixture) a client's mocked test,
(2nd) secondary source, (inf) inferred, (?) unverified. The last three are assumptions.
"""
