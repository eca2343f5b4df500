"""GraphQL subscriptions of AWS AppSync: endpoints, operations, messages and sessions.

Docstrings mark each fact that is not in AWS's guide: *src* is the source of a client or a recorded session, *2nd* is a
secondary source, and *assumption* was not verified anywhere.
"""
