"""Choose the user classes of a locustfile that take part in a run, and the number of users of each."""

from collections.abc import Sequence

import msgspec
from locust import User
from locust.env import Environment

from loadgen.console import say
from loadgen.exits import ExitCode, RunError
from loadgen.resolve import Group, ResolvedRun
from loadgen.users.declared import UserClassError, demand_unchanged
from loadgen.users.journeys.pacing import schedule_of
from loadgen.users.journeys.user import EventsUser
from loadgen.users.roles import LoadUser


def restrict(environment: Environment, run: ResolvedRun | None) -> None:
    """Make Locust spawn exactly the run's clients, with the user classes that play their roles.

    If ``run`` is None, as on a worker, classes of any role stay.

    Raises:
        RunError: two classes play the same role, no class plays a role, or one sets a Locust attribute that is ignored.
    """
    wanted: dict[str, int] = {}
    if run is not None:
        wanted.update({role: count for role, count in run.counts_by_role().items() if count})
    playing: list[type[User]] = []
    taken: set[str] = set()
    for user_class in environment.user_classes:
        if issubclass(user_class, EventsUser):
            if run is None or user_class.role in wanted:
                taken.add(user_class.role)
                user_class.fixed_count = wanted.get(user_class.role, 0)
                playing.append(user_class)
            else:
                say(f"note: {user_class.__name__} takes no part: no group of the scenario has it in 'users'")
            continue
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
            # Skip a base class: the locustfile imports it only to subclass it, but Locust lists every user class in the
            # file.
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
    if missing and (named := missing[0].removeprefix("journey:")) != missing[0]:
        raise RunError(
            f"no user class is called {named!a}, which the scenario's 'users' name: define it as a subclass of"
            " loadgen.users.EventsUser in the locustfile",
            ExitCode.USAGE,
        )
    if missing:
        raise RunError(
            f"no user class plays the role {missing[0]!r} that the scenario needs: subclass"
            f" loadgen.users.{missing[0].capitalize()} in the locustfile",
            ExitCode.USAGE,
        )
    environment.user_classes = playing


def with_loops(run: ResolvedRun, classes: Sequence[type[User]]) -> ResolvedRun:
    """Return the run, with the loop (open or closed) of each group set by the user class whose tasks the group runs."""
    kept = {each.role: schedule_of(each) for each in classes if issubclass(each, EventsUser)}

    def known(group: Group) -> Group:
        if group.users is None or group.role not in kept:
            return group
        schedule = kept[group.role]
        return msgspec.structs.replace(
            group,
            loop="closed" if schedule is None else "open",
            pacing=None if schedule is None else str(schedule),
        )

    return msgspec.structs.replace(run, groups=tuple(map(known, run.groups))) if run.journeys else run
