"""Calibration: compare the harness's measurements with an independent record, the embedded server's journal.

The embedded server injects faults and writes every decision about an event or a subscription to its journal. The
harness runs against it as against any target, unaware of faults and journal. `cases` defines the runs, `truth` joins
run record and journal, `checks` compares the two, and `runner` runs the cases and prints a table.
"""
