"""The simulated run's target, for the process that serves it and for tests, which must not import Locust."""

#: This URL is as long as that of a real AppSync endpoint.
TARGET = "https://abcdefghijklmnopqrstuvwxyz.appsync-api.eu-central-1.amazonaws.com/event"
