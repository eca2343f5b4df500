"""The Locust side of a run: the kinds of Locust process, their parts, and the hooks that add them to Locust."""
