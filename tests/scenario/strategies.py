"""Strategies for random scenarios, as data like that read from YAML."""

from typing import Any

from hypothesis import strategies as st

DURATIONS = st.builds("{}{}".format, st.integers(1, 500), st.sampled_from(["ns", "us", "ms", "s", "m"]))
RATES = st.builds(
    "{}{}/{}".format,
    st.one_of(st.integers(1, 9999), st.floats(0.001, 9999)),
    st.sampled_from(["", " events"]),
    st.sampled_from(["s", "min", "h"]),
)
RAMPS = st.builds("{}/s".format, st.floats(0.01, 1e6))
PERCENTS = st.builds("{!r}%".format, st.floats(0.001, 1000))
SIZES = st.one_of(
    st.builds("{}B".format, st.integers(1, 240_000)),
    st.builds("{}KB".format, st.integers(1, 240)),
    st.builds("{}KiB".format, st.integers(1, 240)),
)


_POINTS = st.lists(st.tuples(st.integers(0, 10_000), PERCENTS), min_size=1, max_size=5).map(
    lambda points: [{"at": f"{at}ms", "load": load} for at, load in sorted(dict(points).items())]
)
_HIGHER = st.builds("{}%".format, st.integers(1001, 5000))
_TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
_FORMS: list[st.SearchStrategy[Any]] = [
    st.fixed_dictionaries({"steps": st.lists(PERCENTS, min_size=1, max_size=5), "each": DURATIONS}),
    st.fixed_dictionaries(
        {
            "steps": st.fixed_dictionaries({"from": PERCENTS, "to": PERCENTS, "count": st.integers(2, 9)}),
            "each": DURATIONS,
        }
    ),
    st.fixed_dictionaries(
        {"ramp": st.fixed_dictionaries({"from": PERCENTS, "to": PERCENTS, "over": DURATIONS})}
    ),
    st.fixed_dictionaries(
        {
            "bursts": st.fixed_dictionaries(
                {"base": PERCENTS, "peak": _HIGHER, "every": st.just("501m"), "for": DURATIONS},
                optional={"first": DURATIONS},
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "daily": st.fixed_dictionaries(
                {"low": PERCENTS, "peak": _HIGHER, "peak_at": _TIMES},
                optional={"starts_at": _TIMES, "day": DURATIONS, "days": st.integers(1, 3)},
            )
        }
    ),
    st.fixed_dictionaries({"points": _POINTS, "lasts": DURATIONS}, optional={"source": st.just("rates.csv")}),
]
PROFILES = st.one_of(_POINTS, *_FORMS)


# Strategies are made once, because hypothesis checks each new one.
_PUBLISH_CHANNELS = st.sampled_from(["/d/{room}/x", "d/{room}/{room}", "/d/{room}/{day}"])
_RATE_KEYS = st.sampled_from(["rate", "rate_per_client"])
_PUBLISH_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "batch": st.integers(1, 5),
        "via": st.sampled_from(["http", "websocket"]),
        "arrival": st.one_of(
            st.sampled_from(["constant", "poisson"]),
            st.fixed_dictionaries({"bursts": st.integers(1, 50)}),
        ),
        "payload": SIZES,
        "profile": PROFILES,
    },
)
_IN_FLIGHT = st.integers(1, 1000)


@st.composite
def _publishes(draw: st.DrawFn) -> dict[str, Any]:
    publish: dict[str, Any] = {"channel": draw(_PUBLISH_CHANNELS)}
    publish[draw(_RATE_KEYS)] = draw(RATES)
    publish |= draw(_PUBLISH_OPTIONS)
    if publish.get("via") != "websocket" and draw(st.booleans()):
        publish["in_flight"] = draw(_IN_FLIGHT)
    return publish


SHARES = st.builds("{!r}%".format, st.floats(0.001, 100))


_DROP_TIMES = st.lists(st.integers(0, 10_000), min_size=1, max_size=4, unique=True)
_CLOSES = st.sampled_from(["abrupt", "frame"])


@st.composite
def _drops(draw: st.DrawFn) -> list[dict[str, str]]:
    times = sorted(draw(_DROP_TIMES))
    return [
        {
            "at": f"{at}ms",
            "share": draw(SHARES),
            "over": "1ms",
            "close": draw(_CLOSES),
        }
        for at in times
    ]


_BEHAVIOURS: dict[str, st.SearchStrategy[Any]] = {
    "reconnect": st.one_of(
        st.just("never"),
        st.fixed_dictionaries(
            {},
            optional={
                "first": st.just("20ms"),
                "most": st.just("7s"),
                "jitter": st.sampled_from(["full", "none"]),
            },
        ),
    ),
    "drops": _drops(),
    "churn": st.one_of(
        st.builds(lambda rate, away: {"subscriptions": rate, "away": away}, RAMPS, DURATIONS),
        st.builds(
            lambda life, spread: {"lifetime": life, "spread": spread},
            DURATIONS,
            st.sampled_from(["exponential", "constant"]),
        ),
    ),
    "slow": st.fixed_dictionaries(
        {
            "share": SHARES,
            "read": st.builds("{}{}/s".format, st.integers(300, 9999), st.sampled_from(["B", "KB"])),
        }
    ),
}


_ROOMS = st.sampled_from(
    [
        {"count": 7},
        {"count": 9, "popularity": "zipf"},
        {"count": 30, "popularity": "zipf", "exponent": 0.7},
        {"count": 4, "assign": "by-client"},
    ]
)
_TEMPLATES = st.sampled_from(["/d/{room}/*", "/d/*", "/d/{day}", "d/{room}/{day}/"])
_SUBSCRIBES = st.one_of(_TEMPLATES, st.lists(_TEMPLATES, min_size=1, max_size=4))
_FORTY, _FIVE = st.integers(1, 40), st.integers(1, 5)
_READER_OPTIONS = st.fixed_dictionaries({}, optional={"ramp": RAMPS, **_BEHAVIOURS})
_PUBLISHES = _publishes()
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True),
        "description": st.text(max_size=50).filter(lambda text: "da2-" not in text.lower()),
        "seed": st.integers(0, 2**63 - 1),
        "target": st.just({"url": "https://example.com/event", "api_key_env": "EVENTS_KEY"}),
        "phases": st.fixed_dictionaries(
            {},
            optional={
                "ready": st.one_of(st.just("probe"), st.builds(dict, settle=DURATIONS)),
                "ready_timeout": DURATIONS,
                "warmup": DURATIONS,
                "measure": DURATIONS,
                "drain": DURATIONS,
                "echo": st.sampled_from(["off", "10ms", "1.5s", "2m"]),
            },
        ),
    },
)


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid scenario."""
    room = draw(_ROOMS)
    data: dict[str, Any] = {"version": 1, "variables": {"room": room, "day": {"count": 3}}, "clients": {}}
    readers = {"count": draw(_FORTY), "subscribe": draw(_SUBSCRIBES)}
    readers |= draw(_READER_OPTIONS)
    writers = {"count": draw(_FIVE), "publish": draw(_PUBLISHES)}
    both = {"count": draw(_FIVE), "subscribe": "/d/{day}", "publish": draw(_PUBLISHES)}
    groups = [("readers", readers), ("writers", writers), ("both", both)]
    data["clients"] = dict(draw(st.permutations(groups)))
    data |= draw(_OPTIONS)
    return data
