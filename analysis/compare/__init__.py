"""Compare two sets of runs: better, worse, same, or can't tell.

`profile` reduces a run to a small file, `decide` does the statistics, and `outputs` and `page` show the result.
`content` is the comparison as data, `services` adds remarks on two services, and `history` finds changes over time.
"""
