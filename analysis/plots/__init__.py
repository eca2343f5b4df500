"""The report's plots. Each takes a run and returns a matplotlib figure, or None if there is nothing to show."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from analysis.loading.run import Run
from analysis.plots.heatmap import latency_heatmap
from analysis.plots.ledger import ledger
from analysis.plots.over_time import connection_ramp, generator_health, latency_over_time, throughput
from analysis.plots.reactions import reactions_over_time
from analysis.plots.recovery import recovery_over_time
from analysis.plots.spread import by_channel, by_group, by_worker, fan_out, percentile_curves

#: The report's plots in their order: those that answer a reader's first questions come first.
ALL: Sequence[Callable[[Run], Figure | None]] = (
    latency_over_time,
    latency_heatmap,
    percentile_curves,
    throughput,
    ledger,
    recovery_over_time,
    reactions_over_time,
    fan_out,
    by_channel,
    by_group,
    by_worker,
    connection_ramp,
    generator_health,
)
