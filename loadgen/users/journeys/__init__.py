"""Journeys: clients that run the tasks of Locust users, with their own subscriptions and publishes."""
