"""One client by hand: the commands `publish`, `subscribe` and `probe`, and the check before a run.

It speaks over the transport that measures, so that an arrival is the kernel's here too. Needs no Locust.
"""
