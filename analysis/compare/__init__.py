"""Two sets of runs set against each other: better, worse, same, or can't tell.

`profile` boils a run down to a small file, `decide` does the statistics, `outputs` says it.
"""
