"""Fault injection: harm deliveries, connections and events on purpose; a seed makes the faults reproducible.

`settings` reads the faults file, and `injector` is the hub that injects the faults. The journal records each fault
(`loadgen.server.journal`).
"""

from loadgen.server.faults.settings import Faults, load_faults

__all__ = ["Faults", "load_faults"]
