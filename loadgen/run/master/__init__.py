"""The master's side of one run: its phases, what it knows of its workers, and what displays show of it."""
