"""Columns of the health table about what is around a worker."""

#: Later than the others, null where nothing is known.
COLUMNS = (
    "allowed_ns", "quota_ns", "cgroup", "cgroup_cpu_ns", "quota_periods", "throttled_periods", "throttled_ns",
    "memory_bytes", "memory_limit_bytes", "memory_high_events", "memory_max_events", "oom_events", "oom_kills",
    "pressure_cpu_ns", "pressure_memory_ns", "pressure_io_ns",
    "machine_pressure_cpu_ns", "machine_pressure_memory_ns", "machine_pressure_io_ns",
    "steal_ns", "bw_in_exceeded", "bw_out_exceeded", "pps_exceeded", "conntrack_exceeded", "linklocal_exceeded",
)  # fmt: skip
