"""GraphQL subscriptions of AWS AppSync: endpoints, operations, messages and sessions.

Docstrings mark each fact that is not in AWS's guide: *source* names a client's code or a recorded session, *secondary
source* others who report the fact, and *assumption* was not verified anywhere.
"""
