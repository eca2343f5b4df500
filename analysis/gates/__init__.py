"""Gates: conditions that a run must meet to pass, such as `delivery.latency.p99 < 150ms`.

`metrics` lists the metrics that a gate can name, and `grammar` parses gates. Both need only the standard library, as
scenario files are checked with them. `analysis.verdict.evaluate` decides gates and `analysis.report.outputs` shows the
results to people and machines.
"""
