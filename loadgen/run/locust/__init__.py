"""The Locust side of a run: one Locust process, its rooms, and their way into Locust."""
