"""What to make of a run: reasons to doubt it, and whether its gates are met."""
