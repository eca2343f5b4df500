"""Verify a run's outputs against its tables: recompute every number that was written down.

`independent` computes the main figures a second time, in SQL and without the code that made the summary. `check`
compares summary.json, report.html, junit.xml and summary.md with the tables, and `comparison` checks comparisons.
"""
