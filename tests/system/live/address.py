"""The target of the simulated run, for the process that serves it and for the tests, which must not import Locust."""

#: As long as an AppSync endpoint.
TARGET = "https://abcdefghijklmnopqrstuvwxyz.appsync-api.eu-central-1.amazonaws.com/event"
