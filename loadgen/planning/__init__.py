"""Estimate what a scenario costs and needs before it runs: operations, money, quotas and machines.

The entry point is `estimate`. The prices and quotas of AppSync Events are in `data/`, each with its source.
"""
