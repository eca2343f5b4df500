"""Checking a run's outputs against its tables: does every number that was written down come out again?

`independent` computes the chief figures a second time, in SQL and without the code that made the summary; `check`
compares summary.json, report.html, junit.xml and summary.md with what the tables say now.
"""
