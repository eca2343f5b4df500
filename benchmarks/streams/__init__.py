"""Shared parts of the growth and endurance benchmarks: a sender of many subscriptions and sizes, and our receiver."""
