"""Gates: what a run must show to pass, in the words people use, as `delivery.latency.p99 < 150ms`.

`metrics` names what can be gated, `grammar` reads a gate, `evaluate` decides it, `outputs` says it to people and
machines. The first two need only the standard library: scenario files are checked with them.
"""
