"""Deliveries of the embedded server per CPU-second, with one process and with two."""

from collections import defaultdict

from server_fanout import FRAME_BYTES, Fanout, measure

from speed.section import OWN, Bar, Figure, Options, Section

#: Each round measures one process and then two, so that a change of the machine's speed affects both.
ROUNDS = 2
BATCHES = (1, 5)
PROCESSES = (1, 2)
ONE_EVENT_BAR = 100_000
TWO_PROCESSES_BAR = 0.8


def run(options: Options) -> Section:
    """Measure all batch sizes and numbers of processes, and return the table."""
    measured: dict[tuple[int, int], list[Fanout]] = defaultdict(list)
    for batch in BATCHES:
        for _ in range(ROUNDS):
            for processes in PROCESSES:
                seconds = options.seconds / ROUNDS
                measured[processes, batch].append(measure(options.subscribers, batch, seconds, processes))
    section = Section(
        f"Embedded server: fan-out to {options.subscribers} subscribers, {FRAME_BYTES}-byte frames",
        (
            "processes",
            "events a publish",
            "deliveries",
            "per CPU-s, all processes",
            "in user code",
            "CPU of each",
        ),
        note="Process CPU, publishes included; one publish at a time, next when every process has delivered.",
    )
    per_cpu_s: dict[tuple[int, int], float] = {}
    for (processes, batch), rounds in measured.items():
        deliveries = sum(one.deliveries for one in rounds)
        cpu_s = sum(sum(one.cpu_s) for one in rounds)
        each = [sum(column) / cpu_s for column in zip(*(one.cpu_s for one in rounds), strict=True)]
        per_cpu_s[processes, batch] = deliveries / cpu_s
        section.figures.append(
            Figure(
                what=f"embedded server, {batch} events a publish",
                tool=f"{processes} processes",
                payload=OWN,
                value=per_cpu_s[processes, batch],
                unit="deliveries per CPU-s",
            )
        )
        section.rows.append(
            (
                str(processes),
                str(batch),
                f"{deliveries:,}",
                f"{deliveries / cpu_s:,.0f}",
                f"{sum(one.user_s for one in rounds) / cpu_s:.0%}",
                " + ".join(f"{share:.0%}" for share in each),
            )
        )
    section.bars = [
        Bar("server: deliveries per CPU-second, one event a publish", per_cpu_s[1, 1], ONE_EVENT_BAR),
        Bar(
            "server: two processes, per CPU-second of one",
            per_cpu_s[2, 1] / per_cpu_s[1, 1],
            TWO_PROCESSES_BAR,
        ),
    ]
    return section
