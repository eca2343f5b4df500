"""A run: its phases and barrier, the messages between master and workers, the gathering of the record.

The coordinator (one, on the master) decides when; agents (one a worker process) do and report; in a single process
both live side by side. `install` hooks them into Locust.
"""
