"""Estimate what a scenario costs and needs before it runs: operations, money, quotas and machines.

Start at `estimate`. The service's own figures are in `data/`, each with its source.
"""
