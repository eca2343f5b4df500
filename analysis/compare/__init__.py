"""Compare two sets of runs: better, worse, same, or can't tell.

`profile` reduces a run to a small file. `design` and `chances` choose the test by how the runs were made, `decide`
applies it, and `outputs` and `page` show the result. `content` is the comparison as data, `plan` keeps the plan of
`loadgen ab`, `services` adds remarks on two services, and `history` and `history_page` find and draw changes over time.
"""
