"""What a scenario costs and needs, before anything is run: operations, money, quotas, and this machine.

`estimate` is the whole of it; figures that are the service's and not ours stand in `data/`, each with its source.
"""
