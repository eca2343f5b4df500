"""Faults on purpose: what the server does to deliveries, connections and events, by settings and by seed.

`settings` is the file, `injector` the hub that does it. What was done is in the journal (`loadgen.server.journal`).
"""

from loadgen.server.faults.settings import Faults, load_faults

__all__ = ["Faults", "load_faults"]
