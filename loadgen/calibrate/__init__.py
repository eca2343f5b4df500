"""Calibration: the harness measured against a truth that it did not write.

The embedded server injects faults and keeps a journal of what it did to which event and subscription; the harness runs
against it as against any target and knows nothing of either. `cases` says what is run, `truth` joins record and
journal, `checks` compare them, `runner` does it all and prints a table.
"""
