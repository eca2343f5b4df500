"""Loads for the tests of service prices."""

from fractions import Fraction

from hypothesis import strategies as st

from loadgen.planning.services.load import Load, Month, of_numbers


def example() -> Load:
    """Return the example of the fact sheet on prices, section 6: 10,000 clients, 10 events/s, a fan-out of 100."""
    return of_numbers(
        clients=Fraction(10_000),
        events_per_s=Fraction(10),
        fan_out=Fraction(100),
        event_bytes=1_024,
        channels=Fraction(100),
        month=Month(Fraction(8), Fraction(30)),
    )


def loads() -> st.SearchStrategy[Load]:
    """Return a Hypothesis strategy for loads that are given as numbers, not by a scenario; from idle to large."""
    return st.builds(
        lambda clients, rate, fan_out, size, channels, hours, days, http: of_numbers(
            clients=Fraction(clients),
            events_per_s=Fraction(rate, 10),
            fan_out=Fraction(fan_out),
            event_bytes=size,
            channels=Fraction(channels),
            over_http=http,
            month=Month(Fraction(hours), Fraction(days)),
        ),
        st.integers(1, 2_000_000),
        st.integers(1, 20_000),
        st.integers(0, 50_000),
        st.integers(1, 300_000),
        st.integers(1, 5_000),
        st.integers(1, 24),
        st.integers(1, 31),
        st.booleans(),
    )
