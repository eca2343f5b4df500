"""The master's side of one run: its phases, the state of its workers, and the state for its displays."""
