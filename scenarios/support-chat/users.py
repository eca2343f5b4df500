"""The customers and agents of a support chat, for `loadgen run` or `locust -f users.py`."""

from typing import Any

from locust import between, constant_pacing, task

from loadgen.users import EventsUser

DESKS = 6


class Customer(EventsUser):
    """A customer who asks a question at a desk, waits for the answer, and thinks before the next question."""

    weight = 10
    wait_time = between(1, 4)

    def on_start(self) -> None:
        """Subscribe to the customer's own ticket, and to the state of all desks."""
        self.ticket = f"/support/tickets/{self.client_plan.number}"
        self.desk = f"/support/desks/{self.client_plan.index % DESKS}"
        self.answers = self.client.subscribe(self.ticket)
        self.client.subscribe("/support/open/*")
        self.asked = 0

    @task(5)
    def ask(self) -> None:
        """Ask a question, and wait for its answer."""
        self.asked += 1
        number = self.asked
        self.client.publish(
            self.desk, [{"ticket": self.ticket, "number": number, "text": "Where is my parcel?"}]
        )
        answer = self.answers.wait(10, where=lambda event: event.get("number") == number)
        self.check("answered within 10 s", answer is not None)

    @task(1)
    def rate(self) -> None:
        """Publish a rating of the answers, without waiting for a reply."""
        self.client.publish("/support/ratings", [{"ticket": self.ticket, "stars": 5}])


class Agent(EventsUser):
    """An agent who answers the questions at a desk and announces every two seconds that the desk is open."""

    weight = 1
    wait_time = constant_pacing(2)

    def on_start(self) -> None:
        """Subscribe to the agent's own desk."""
        self.place = self.client_plan.index % DESKS
        self.client.subscribe(f"/support/desks/{self.place}", self.on_question)

    def on_question(self, event: dict[str, Any]) -> None:
        """Answer a question on the ticket's channel."""
        self.client.publish(event["ticket"], [{"number": event["number"], "text": "It comes tomorrow."}])

    @task
    def be_open(self) -> None:
        """Tell all customers that the desk is open."""
        self.client.publish(f"/support/open/{self.place}", [{"desk": self.place}])
