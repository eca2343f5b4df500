"""Shared parts of the growth and endurance benchmarks: a sender, and a receiver that uses our receive path."""
