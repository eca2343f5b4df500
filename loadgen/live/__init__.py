"""Live displays of a run: Locust's web UI, Prometheus and OpenTelemetry.

All of them read `state.LiveState` on the master, the sum of the reports that workers send once a second, and compute
nothing themselves. An unknown value is None, never 0.
"""
