"""The worker's side of one run: its users, its clock, its record, what it reports, and how its part ends."""
