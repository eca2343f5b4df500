"""Compute from a group's stages when each client that runs a user class begins and ends its tasks."""

from loadgen.resolve.group import Group
from loadgen.resolve.totals import ramp_offset_ns

#: (begin, end) of a period in which a client runs its tasks, in ns from the start of the warm-up. The end is None if
#: the period lasts until the end of the measure phase.
Stay = tuple[int, int | None]


def stays_of(group: Group, index: int, warmup_ns: int) -> tuple[Stay, ...]:
    """Return the periods in which client ``index`` of a group runs its tasks, in order.

    The clients with the lowest indices begin first and run longest. When a stage begins, clients begin or end one by
    one, at the stage's rate, until its number of clients is reached. If the next stage begins before that, the next
    stage continues from the number reached so far.
    """
    if not group.stages:
        return ((ramp_offset_ns(index, group.ramp_per_s), None),)
    stays: list[Stay] = []
    begun: int | None = None
    reached = 0
    for place, stage in enumerate(group.stages):
        start_ns = 0 if place == 0 else warmup_ns + stage.at_ns
        last = place + 1 == len(group.stages)
        room_ns = None if last else warmup_ns + group.stages[place + 1].at_ns - start_ns
        first, step = (reached, 1) if stage.users > reached else (reached - 1, -1)
        order = (index - first) * step
        if 0 <= order < abs(stage.users - reached):
            at_ns = ramp_offset_ns(order, stage.per_s)
            if room_ns is None or at_ns < room_ns:
                if step > 0:
                    begun = start_ns + at_ns
                elif begun is not None:
                    stays.append((begun, start_ns + at_ns))
                    begun = None
        changes = abs(stage.users - reached)
        if room_ns is not None:
            changes = min(changes, _changes_within(room_ns, stage.per_s))
        reached += changes * step
    if begun is not None:
        stays.append((begun, None))
    return tuple(stays)


def _changes_within(room_ns: int, per_s: float) -> int:
    """Return how many clients begin or end their tasks within ``room_ns``, one by one at ``per_s`` per second."""
    count = int(room_ns / 1e9 * per_s) + 1
    while count and ramp_offset_ns(count - 1, per_s) >= room_ns:
        count -= 1
    while ramp_offset_ns(count, per_s) < room_ns:
        count += 1
    return count
