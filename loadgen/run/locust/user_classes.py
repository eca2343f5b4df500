"""Choose the user classes of a locustfile that take part in a run, and the number of users of each."""

from locust import User
from locust.env import Environment

from loadgen.console import say
from loadgen.exits import ExitCode, RunError
from loadgen.resolve import ResolvedRun
from loadgen.users.declared import UserClassError, demand_unchanged
from loadgen.users.roles import LoadUser


def restrict(environment: Environment, run: ResolvedRun | None) -> None:
    """Make Locust spawn exactly the run's clients, with the user classes that play their roles.

    If ``run`` is None, as on a worker, classes of any role stay.

    Raises:
        RunError: two classes play the same role, no class plays a role, or a class sets one of Locust's attributes.
    """
    wanted: dict[str, int] = {}
    if run is not None:
        wanted.update({role: count for role, count in run.counts_by_role().items() if count})
    playing: list[type[User]] = []
    taken: set[str] = set()
    for user_class in environment.user_classes:
        if not issubclass(user_class, LoadUser):
            playing.append(user_class)
            if run is not None:
                say(f"note: {user_class.__name__} takes no part: it is not a client of the scenario")
            continue
        try:
            demand_unchanged(user_class)
        except UserClassError as error:
            raise RunError(str(error), ExitCode.USAGE) from None
        if any(
            other is not user_class and issubclass(other, user_class) for other in environment.user_classes
        ):
            # The class was imported only to be subclassed, but Locust lists every user class in the file.
            continue
        role = user_class.role
        if role in taken:
            raise RunError(
                f"two user classes play the role {role!r}: keep one, or name it on Locust's command line",
                ExitCode.USAGE,
            )
        taken.add(role)
        if run is None or role in wanted:
            user_class.fixed_count = wanted.get(role, 0)
            playing.append(user_class)
    missing = [role for role in wanted if role not in taken]
    if missing:
        raise RunError(
            f"no user class plays the role {missing[0]!r} that the scenario needs: subclass"
            f" loadgen.users.{missing[0].capitalize()} in the locustfile",
            ExitCode.USAGE,
        )
    environment.user_classes = playing
