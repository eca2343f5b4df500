"""GraphQL subscriptions of AWS AppSync: endpoints, operations, messages and sessions.

Certainty of what is not in AWS's guide is given in each docstring: *src* is the source of a client or a recorded
session, *2nd* is a secondary source, and *assumption* was not verified anywhere.
"""
