"""The figures of a run: latencies, rates, recovery, cost."""
