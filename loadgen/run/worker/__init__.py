"""The worker's side of one run: its users, clock, record and reports, and the end of its part."""
