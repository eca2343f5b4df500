"""The Locust users: subscribers, publishers, and participants that are both.

Subclass them in a locustfile of your own; see README "Your own users".
"""

from loadgen.users.roles import Participant, Publisher, Subscriber

__all__ = ["Participant", "Publisher", "Subscriber"]
