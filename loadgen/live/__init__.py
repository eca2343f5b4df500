"""What is known of a run while it goes on, and the ways to look at it: Locust's web UI, Prometheus, OpenTelemetry.

There is one source, `state.LiveState` on the master: the sum of what workers report once a second. Each way to look
reads it and computes nothing of its own. What is not known is None, never 0.
"""
