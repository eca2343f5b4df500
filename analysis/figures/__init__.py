"""Compute a run's figures: latencies, rates, recovery, cost."""
