"""The verdict on a run: reasons to doubt it, and whether its gates are met."""
