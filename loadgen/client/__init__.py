"""A single client for the commands `publish`, `subscribe` and `probe`, and for the check before a run.

It uses the same transport as the load test, so arrivals are kernel timestamps here too. It does not need Locust.
"""
