"""Conduct a run: phases and barrier, messages between master and workers, spool transfer and record.

The coordinator (one, on the master) decides when each phase begins. Agents (one per worker process) generate the load
and report to the coordinator. In a single process both run side by side. `install` hooks them into Locust.
"""
