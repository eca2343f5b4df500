"""Test the exact message for each mistake in a file: what is wrong, where, and what would be right."""

# ruff: noqa: E501 - each message stays on one line, so that a search finds it

from pathlib import Path

import pytest

from loadgen.resolve.loading import load
from loadgen.scenario import ScenarioError
from tests.scenario.examples import GOOD, edited, with_publish, with_readers

#: The file's text, and the message after ``x.yaml:``.
MISTAKES = [
    (edited("count: 5", "cuont: 5"), "6: clients.readers.cuont is not a known key; did you mean 'count'?"),
    (edited("count: 5", "count: 0"), "6: clients.readers.count must be at least 1, not 0"),
    (edited("count: 5", "count: five"), "6: clients.readers.count must be a whole number, not 'five'"),
    (edited("count: 5", "count: 5.0"), "6: clients.readers.count must be a whole number, not 5.0"),
    (edited("count: 5", "count: true"), "6: clients.readers.count must be a whole number, not true"),
    (edited("count: 5", "count:"), "6: clients.readers.count has no value; give it one or remove it"),
    (
        edited("count: 5", "count: 5\n    count: 6"),
        "7: clients.readers.count stands twice, first in line 6; remove one of them",
    ),
    (edited("    count: 5\n", ""), "5: clients.readers.count is missing; add it (the number of clients)"),
    (
        edited("count: 5", "count: 1999999"),
        "4: clients has 2000001 clients in all; at most 2000000 are possible",
    ),
    (
        edited("count: 5", "count: 5\n    ramp: 250"),
        "7: clients.readers.ramp is 250 without a unit; write '250/s' if that is meant",
    ),
    (
        edited("count: 5", 'count: 5\n    "\\e[1m": 6'),
        "7: clients.readers.'\\x1b[1m' is not a known key; known are count, ramp, subscribe, login, publish, respond, users, stages, namespaces, reconnect, drops, churn, slow",
    ),
    (
        edited("rate: 100/s", "rate: 100"),
        "12: clients.writers.publish.rate is 100 without a unit; write '100/s' if that is meant",
    ),
    (
        edited("rate: 100/s", "rate: 100/sec"),
        "12: clients.writers.publish.rate has the unknown unit '/sec'; write '100/s'",
    ),
    (
        edited("rate: 100/s", "rate: -5/s"),
        "12: clients.writers.publish.rate must be a rate of events such as '100/s', not '-5/s'",
    ),
    (edited("rate: 100/s", "rate: 0/s"), "12: clients.writers.publish.rate must be above 0, not '0/s'"),
    (
        edited("rate: 100/s", "rate: 1e9/s"),
        "12: clients.writers.publish.rate is '1e9/s', more than the 10000000/s that one run can mean",
    ),
    (
        edited("rate: 100/s", "batch: 2"),
        "10: clients.writers.publish has no rate; give 'rate: 100/s' for the group or 'rate_per_client: 10/s'",
    ),
    (
        with_publish("rate_per_client: 1/s"),
        "10: clients.writers.publish has both rate and rate_per_client; give one of them",
    ),
    (with_publish("batch: 6"), "13: clients.writers.publish.batch must be at most 5, not 6"),
    (
        with_publish("via: htttp"),
        "13: clients.writers.publish.via must be 'http' or 'websocket', not 'htttp'",
    ),
    (
        with_publish("via: websocket\n      in_flight: 5"),
        "10: clients.writers.publish has in_flight, which only 'via: http' takes; drop it",
    ),
    (
        with_publish("arrival: bursts"),
        "13: clients.writers.publish.arrival must be 'constant' or 'poisson' or a mapping such as {bursts: 10}, not 'bursts'",
    ),
    (
        with_publish("arrival: {burst: 10}"),
        "13: clients.writers.publish.arrival.burst is not a known key; did you mean 'bursts'?",
    ),
    (
        with_publish("arrival: [1]"),
        "13: clients.writers.publish.arrival must be 'constant' or 'poisson' or a mapping such as {bursts: 10}, not a list",
    ),
    (
        with_publish("payload: 200"),
        "13: clients.writers.publish.payload is 200 without a unit; write '200B' if that is meant",
    ),
    (
        with_publish("payload: 1MB"),
        "13: clients.writers.publish.payload must be from 1B to 240KiB, not '1MB'",
    ),
    (with_publish("payload: 0B"), "13: clients.writers.publish.payload must be from 1B to 240KiB, not '0B'"),
    (
        with_publish("payload: 1.5B"),
        "13: clients.writers.publish.payload is '1.5B', which is not a whole number of bytes",
    ),
    (
        with_publish("payload: 2kb"),
        "13: clients.writers.publish.payload has the unknown unit 'kb'; write '2KB'",
    ),
    (
        with_publish("profile: []"),
        "13: clients.writers.publish.profile is an empty list; give it points such as {at: 0s, load: 10%} or remove it",
    ),
    (
        with_publish("profile: ramp"),
        "13: clients.writers.publish.profile must be a list of points or a mapping such as {steps: [50%, 100%], each: 30s}, not 'ramp'",
    ),
    (
        with_publish("profile:\n      - {at: 5s, load: 10%}\n      - {at: 1s, load: 10%}"),
        "13: clients.writers.publish.profile goes back from 5s to 1s; points must be in order of time",
    ),
    (
        with_publish("profile:\n      - {at: 5s, load: 0.1}\n      - {at: 6, load: 10%}"),
        "14: clients.writers.publish.profile.0.load is 0.1 without a unit; write '0.1%' if that is meant\nx.yaml:15: clients.writers.publish.profile.1.at is 6 without a unit; write '6s' if that is meant",
    ),
    (
        with_publish("profile: [{at: 5s, load: 0%}]"),
        "13: clients.writers.publish.profile has no load above 0%; at least one point needs one",
    ),
    (
        with_publish("profile: [{at: 1s, load: 1%}, {at: 1s, load: 2%}, {at: 1s, load: 3%}]"),
        "13: clients.writers.publish.profile has three points at 1s; a step is two, the load before and the load after",
    ),
    (
        with_readers("reconnect: sometimes"),
        "7: clients.readers.reconnect must be 'never' or a mapping such as {first: 100ms, most: 5s}, not 'sometimes'",
    ),
    (
        with_readers("reconnect: {first: 2s, most: 1s}"),
        "7: clients.readers.reconnect waits 2s at first and 1s at most; the first must not be longer",
    ),
    (
        with_readers("reconnect: {first: 1us}"),
        "7: clients.readers.reconnect has a first wait of 1us; at least 1ms is needed",
    ),
    (
        with_readers("reconnect: {jitter: half}"),
        "7: clients.readers.reconnect.jitter must be 'full' or 'none', not 'half'",
    ),
    (
        with_readers("drops: []"),
        "7: clients.readers.drops is an empty list; give it drops such as {at: 10s, share: 30%} or remove it",
    ),
    (
        with_readers("drops:\n      - {at: 1s}"),
        "8: clients.readers.drops.0.share is missing; add it (the share of the group's connections to cut, in per cent)",
    ),
    (
        with_readers("drops: [{at: 1s, share: 0%}]"),
        "7: clients.readers.drops.0.share must be above 0% and at most 100%, not '0%'",
    ),
    (
        with_readers("drops: [{at: 1s, share: 101%}]"),
        "7: clients.readers.drops.0.share must be above 0% and at most 100%, not '101%'",
    ),
    (
        with_readers("drops: [{at: 5s, share: 10%, over: 2s}, {at: 6s, share: 10%}]"),
        "7: clients.readers.drops has a drop at 6s, before the one that stands before it is over (7s); drops must be in order of time and must not overlap",
    ),
    (
        with_readers("churn: {away: 1s}"),
        "7: clients.readers.churn has neither of subscriptions and lifetime; give 'subscriptions: 20/s' or 'lifetime: 30s'",
    ),
    (
        with_readers("churn: {subscriptions: 5/s, lifetime: 1s}"),
        "7: clients.readers.churn has both of subscriptions and lifetime; give 'subscriptions: 20/s' or 'lifetime: 30s'",
    ),
    (
        with_readers("churn: {subscriptions: 5/s, spread: constant}"),
        "7: clients.readers.churn has a spread, which only lifetime takes; drop it",
    ),
    (
        with_readers("slow: {share: 10%, read: 10KB}"),
        "7: clients.readers.slow.read has the unknown unit 'KB'; units are MB/s, KB/s, KiB/s, B/s",
    ),
    (
        with_readers("slow: {share: 10%, read: 1B/s}"),
        "7: clients.readers.slow.read must be at least 256B/s: slower, not even a login is read in time",
    ),
    (
        edited("count: 2\n", "count: 2\n    drops: [{at: 1s, share: 10%}]\n"),
        "8: clients.writers has drops, but only publishes over HTTP: it holds no connection; drop it",
    ),
    (
        with_publish("via: websocket").replace("count: 2\n", "count: 2\n    churn: {subscriptions: 1/s}\n"),
        "8: clients.writers has churn.subscriptions and subscribes to nothing; give it 'subscribe'",
    ),
    (
        with_publish("via: websocket").replace(
            "count: 2\n", "count: 2\n    slow: {share: 1%, read: 1KB/s}\n"
        ),
        "8: clients.writers has slow and subscribes to nothing; give it 'subscribe'",
    ),
    (
        with_publish("profile: {}"),
        "13: clients.writers.publish.profile is empty; forms are steps, ramp, bursts, daily, csv, points",
    ),
    (
        with_publish("profile: {stepps: [1%], each: 30s}"),
        "13: clients.writers.publish.profile is of no known form: 'stepps'; did you mean 'steps'?",
    ),
    (
        with_publish("profile: {steps: [1%], each: 1s, ramp: 5}"),
        "13: clients.writers.publish.profile has both steps and ramp; a load curve has one form",
    ),
    (
        with_publish("profile: {steps: [1%], eahc: 30s}"),
        "13: clients.writers.publish.profile.eahc is not a known key; did you mean 'each'?",
    ),
    (
        with_publish("profile: {steps: [1%, 2], each: 30s}"),
        "13: clients.writers.publish.profile.steps.1 is 2 without a unit; write '2%' if that is meant",
    ),
    (
        with_publish("profile: {steps: [], each: 1s}"),
        "13: clients.writers.publish.profile.steps is empty; give it at least one entry",
    ),
    (
        with_publish("profile: {steps: {from: 1%, too: 2%, count: 5}, each: 1s}"),
        "13: clients.writers.publish.profile.steps.too is not a known key; did you mean 'to'?",
    ),
    (
        with_publish("profile: {steps: {from: 1%, to: 2%, count: 1}, each: 1s}"),
        "13: clients.writers.publish.profile.steps.count must be at least 2, not 1",
    ),
    (
        with_publish("profile: {steps: [1%, 2%], each: 100h}"),
        "13: clients.writers.publish.profile lasts 200h, longer than the 168h that a phase may last",
    ),
    (
        with_publish("profile: {steps: [0%], each: 1s}"),
        "13: clients.writers.publish.profile has no load above 0%; at least one step needs one",
    ),
    (
        with_publish("profile: {ramp: {from: 0%, to: 0%, over: 1m}}"),
        "13: clients.writers.publish.profile has no load above 0%; one end of the ramp needs one",
    ),
    (
        with_publish("profile: {ramp: {from: 0%, over: 1m}}"),
        "13: clients.writers.publish.profile.ramp.to is missing; add it (the load at the end of the ramp, in per cent of the group's rate)",
    ),
    (
        with_publish("profile: {ramp: 5}"),
        "13: clients.writers.publish.profile.ramp must be a mapping with from, to, over, not 5",
    ),
    (
        with_publish("profile: {bursts: {base: 20%, peak: 10%, every: 10s, for: 5s}}"),
        "13: clients.writers.publish.profile.bursts has the peak 10% and the base 20%; the peak must be above the base",
    ),
    (
        with_publish("profile: {bursts: {base: 20%, peak: 100%, every: 10s, for: 10s}}"),
        "13: clients.writers.publish.profile.bursts has bursts of 10s every 10s; 'for' must be shorter than 'every'",
    ),
    (
        with_publish("profile: {bursts: {base: 20%, peak: 100%, every: 1us, for: 50ns}}"),
        "13: clients.writers.publish.profile has 20000000 bursts in the measure phase; at most 50000 are possible",
    ),
    (
        with_publish("profile: {daily: {low: 10%, peak_at: '25:00'}}"),
        "13: clients.writers.publish.profile.daily.peak_at must be a time of day in quotes such as \"20:00\", not '25:00'",
    ),
    (
        with_publish("profile: {daily: {low: 10%, peak_at: 1200}}"),
        '13: clients.writers.publish.profile.daily.peak_at must be a time of day in quotes such as "20:00", not 1200',
    ),
    (
        with_publish("profile: {daily: {low: 10%, peak: 5%, peak_at: '20:00'}}"),
        "13: clients.writers.publish.profile.daily has the peak 5% and the low 10%; the peak must be above the low",
    ),
    (
        with_publish("profile: {daily: {low: 10%, peak_at: '20:00', days: 8}}"),
        "13: clients.writers.publish.profile.daily lasts 192h, longer than the 168h that a phase may last",
    ),
    (with_publish("profile: {csv: 5}"), "13: clients.writers.publish.profile.csv must be text, not 5"),
    (
        with_publish("profile: {csv: .}"),
        "13: clients.writers.publish.profile.csv names '.', which is a directory; name a CSV file",
    ),
    (
        with_publish("profile: {csv: rates.csv, values: x}"),
        "13: clients.writers.publish.profile.values must be 'relative' or 'events/s', not 'x'",
    ),
    (
        with_publish("profile: {csv: rates.csv, speed: 0}"),
        "13: clients.writers.publish.profile.speed must be above 0, not 0",
    ),
    (
        with_publish("profile: {csv: rates.csv, peak: 0%}"),
        "13: clients.writers.publish.profile has the peak 0%, with which nothing would be published; give it one above",
    ),
    (
        with_publish("profile: {csv: rates.csv, values: events/s, peak: 5%}"),
        "13: clients.writers.publish.profile has a peak, which only relative values take; drop it or 'values: events/s'",
    ),
    (
        with_publish("profile: {csv: rates.csv, rate_column: time}"),
        "13: clients.writers.publish.profile has the column 'time' for both time and rate; name two",
    ),
    (
        with_publish("profile: {points: [{at: 0s, load: 10%, x: 1}], lasts: 5s}"),
        "13: clients.writers.publish.profile.points.0.x is not a known key; known are at, load",
    ),
    (edited("warmup: 1s", "warmup: 1"), "14: phases.warmup is 1 without a unit; write '1s' if that is meant"),
    (
        edited("warmup: 1s", "warmup: '1'"),
        "14: phases.warmup is '1' without a unit; write '1s' if that is meant",
    ),
    (edited("warmup: 1s", "warmup: 1 min"), "14: phases.warmup has the unknown unit 'min'; write '1m'"),
    (
        edited("warmup: 1s", "warmup: 1 day"),
        "14: phases.warmup has the unknown unit 'day'; units are h, m, s, ms, us, ns",
    ),
    (edited("warmup: 1s", "measure: 0s"), "14: phases.measure must be longer than nothing, not '0s'"),
    (
        edited("warmup: 1s", "measure: 9999h"),
        "14: phases.measure is '9999h', longer than the 168h that a phase may last",
    ),
    (
        edited("warmup: 1s", "ready: prob"),
        "14: phases.ready must be 'probe' or a mapping such as {settle: 2s}, not 'prob'",
    ),
    (
        edited("warmup: 1s", "ready: {setle: 2s}"),
        "14: phases.ready.setle is not a known key; did you mean 'settle'?",
    ),
    (edited("warmup: 1s", "wramup: 2s"), "14: phases.wramup is not a known key; did you mean 'warmup'?"),
    (
        edited("phases:\n  warmup: 1s", "phases: 5"),
        "13: phases must be a mapping with ready, ready_timeout, warmup, measure, drain, echo, not 5",
    ),
    (
        edited("warmup: 1s", "echo: 2"),
        "14: phases.echo must be 'off' or a duration such as '500ms', not 2",
    ),
    (
        edited("warmup: 1s", "echo: of"),
        "14: phases.echo must be 'off' or a duration such as '500ms', not 'of'",
    ),
    (
        edited("warmup: 1s", "echo: 9ms"),
        "14: phases.echo is '9ms', which is too often: write 10ms or more, or 'off'",
    ),
    (edited("version: 1", "version: 2"), "1: version must be 1, not 2"),
    (edited("version: 1\n", ""), "1: version is missing; add it (the version of this format: 1)"),
    (edited("version: 1", "version: 1\nseed: -1"), "2: seed must be at least 0, not -1"),
    (
        edited("version: 1", "version: 1\nname: a/b"),
        "2: name must be made of letters, digits, '.', '_' and '-', at most 64 of them, a letter or digit first, not 'a/b'",
    ),
    (
        edited("version: 1", "version: 1\ncleints: {}"),
        "2: cleints is not a known key; did you mean 'clients'?",
    ),
    (
        edited("{article}/*", "{articel}/*"),
        "7: clients.readers.subscribe has {articel}, which is not a variable; did you mean 'article'?",
    ),
    (
        edited("{article}/*", "{1..3}/*"),
        "7: clients.readers.subscribe has {1..3}: a name with a dot is a column of data, and the scenario has no data;"
        " for a choice of a few values write {room} and, at the top of the file, variables: {room: {count: 3}}",
    ),
    (
        edited("{article}/*", "{article/*"),
        "7: clients.readers.subscribe has a '{' without its partner; variables are written '{name}'",
    ),
    (
        edited("{article}/*", "{}/*"),
        "7: clients.readers.subscribe has '{}' with no name in it; variables are written '{name}'",
    ),
    (
        edited("{article}/*", "*/b"),
        "7: clients.readers.subscribe cannot be used: channel '/default/c/*/b' has a '*' before its end: only the last segment may be '*'",
    ),
    (
        edited("/{article}/x", "/{article}/*"),
        "11: clients.writers.publish.channel cannot be used: channel '/default/c/19/*' has a '*', which only a subscription may have: publish to one channel",
    ),
    (
        edited("/{article}/x", "/{article}/x_y"),
        "11: clients.writers.publish.channel cannot be used: segment 4 of channel '/default/c/19/x_y' is 'x_y': it may have letters, digits and dashes, no dash at either end",
    ),
    (
        edited("/{article}/x", "/{article}/a/b/c/d"),
        "11: clients.writers.publish.channel cannot be used: channel '/default/c/19/a/b/c/d' has 7 segments: at most 5 may be",
    ),
    (
        edited("/{article}/x", "/{article}9999999999999999999999999999999999999999999999999/x"),
        "11: clients.writers.publish.channel cannot be used: segment 3 of channel '/default/c/199999999999999999999999999999999999999999999999999/x' has 51 characters: at most 50 are allowed",
    ),
    (
        edited("article: {count: 20}", "article: {count: 20}\n  thread: {count: 2}"),
        "4: variables.thread is used by no channel; write {thread} in one or remove it",
    ),
    (
        edited("article: {count: 20}", "article: {count: 20, exponent: 2}"),
        "3: variables.article has an exponent, which only zipf takes; add 'popularity: zipf' or drop it",
    ),
    (
        edited("article: {count: 20}", "article: {count: 20, popularity: zipf, exponent: .inf}"),
        "3: variables.article.exponent must be a finite number, not inf",
    ),
    (
        edited("article: {count: 20}", "article: {count: 20, assign: by-client, popularity: zipf}"),
        "3: variables.article has popularity zipf, which only random draws have; drop it or 'assign: by-client'",
    ),
    (
        edited("article: {count: 20}", "article: 20"),
        "3: variables.article must be a mapping with count, assign, popularity, exponent, not 20",
    ),
    (
        edited("article: {count: 20}", "a b: {count: 20}"),
        "3: variables.'a b' must be made of letters, digits, '_' and '-', at most 50 of them, a letter first, not 'a b'",
    ),
    (
        edited('    subscribe: "/default/c/{article}/*"\n', ""),
        "5: clients.readers neither subscribes nor publishes; give it 'subscribe', 'publish' or both",
    ),
    (
        edited(
            '    publish:\n      channel: "/default/c/{article}/x"\n      rate: 100/s\n',
            '    subscribe: "/default/c/{article}/*"\n',
        ),
        "4: clients has no group that publishes; give one of them 'publish'",
    ),
    (
        edited('  readers:\n    count: 5\n    subscribe: "/default/c/{article}/*"\n', ""),
        "4: clients has no group that subscribes; give one of them 'subscribe'",
    ),
    (
        edited('subscribe: "/default/c/{article}/*"', "subscribe: []"),
        "7: clients.readers.subscribe is empty; give it at least one entry",
    ),
    (
        edited('subscribe: "/default/c/{article}/*"', 'subscribe: ["/default/c/{article}/*", 7]'),
        "7: clients.readers.subscribe.1 must be text, not 7",
    ),
    (
        edited(
            "version: 1", "version: 1\ntarget: {url: 'https://x/event', api_key_env: da2-abcdefghijklmnop}"
        ),
        "2: target.api_key_env holds what looks like an API key; put the key into an environment variable and that variable's name into target.api_key_env",
    ),
    (
        edited("version: 1", "version: 1\ntarget: {url: 'https://x/event', api_key: EVENTS_KEY}"),
        "2: target.api_key is not a known key; did you mean 'api_key_env'?",
    ),
    (
        edited("version: 1", "version: 1\ntarget: {url: 'https://x/'}"),
        "2: target.url cannot be used: URL 'https://x/' has the path '/': it must be '/event' or '/event/realtime'",
    ),
    (
        edited("version: 1", "version: 1\ntarget: {url: 'https://me:secret@x/event'}"),
        "2: target.url cannot be used: the URL holds a user name or password: an Event API takes its key from elsewhere",
    ),
    (
        edited("version: 1", "version: 1\ntarget: {url: 'https://x/event', api_key_env: 'a b'}"),
        "2: target.api_key_env must be the name of an environment variable such as EVENTS_API_KEY, not 'a b'",
    ),
    (edited("version: 1", "version: [1"), "2: the YAML cannot be read: expected ',' or ']', but got ':'"),
    (edited("version: 1", "version: !foo 1"), "1: version has the tag '!foo'; write plain values"),
    (
        edited("version: 1", "version: &a [*a]"),
        "1: version.0 is nested too deeply or has too many values; write plain values",
    ),
    (edited("version: 1", "? [a]\n: 1"), "1: the scenario has a key that is not a plain word"),
    (
        edited("version: 1", "version: 1\n\tx: 1"),
        "2: the YAML cannot be read: found character '\\t' that cannot start any token",
    ),
    (
        edited("version: 1", 'version: 1\nname: "\\e[31m"'),
        "2: name must be made of letters, digits, '.', '_' and '-', at most 64 of them, a letter or digit first, not '\\x1b[31m'",
    ),
    (
        edited("version: 1", "version: 1\n---\na: 1"),
        "2: the YAML cannot be read: expected a single document in the stream, but found another document",
    ),
    (edited("version: 1", "version: 1\nseed: *x"), "2: the YAML cannot be read: found undefined alias 'x'"),
]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "sentence"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert str(caught.value) == f"x.yaml:{sentence}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "x.yaml: the file is empty; a scenario begins with 'version: 1'"),
        (b"\n# nothing\n", "x.yaml: the file is empty; a scenario begins with 'version: 1'"),
        (b"version: 1\n# caf\xe9\n", "x.yaml:2: the file is not UTF-8; save it as UTF-8"),
        (
            b"- 1\n",
            "x.yaml:1: the scenario must be a mapping with version, name, description, seed, target, tls, variables, "
            "data, clients, stamp, integrity, phases, gates, not a list",
        ),
        (
            b"a: \x07\n",
            "x.yaml: the YAML cannot be read: unacceptable character #x0007: special characters are not allowed",
        ),
        pytest.param(
            b" " * 1_000_001, "x.yaml: the file is larger than 1 MB, too large for a scenario", id="large"
        ),
    ],
)
def test_a_file_that_is_no_scenario(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert str(caught.value) == sentence


def test_every_mistake_is_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("count: 5", "cuont: 5").replace("100/s", "100").replace("warmup: 1s", "warmup: 1")
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert caught.value.problems == (
        "x.yaml:6: clients.readers.cuont is not a known key; did you mean 'count'?",
        "x.yaml:12: clients.writers.publish.rate is 100 without a unit; write '100/s' if that is meant",
        "x.yaml:14: phases.warmup is 1 without a unit; write '1s' if that is meant",
    )


def test_a_mistake_in_the_phases_does_not_hide_one_in_a_channel(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD.replace("{article}/x", "{article}/-").replace("1s", "1"))
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert [problem.split(" ")[:2] for problem in caught.value.problems] == [
        ["x.yaml:11:", "clients.writers.publish.channel"],
        ["x.yaml:14:", "phases.warmup"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "target: {url: 'https://x/event?key=da2-abcdefghijklmnop'}",
        "target: {url: 'https://x/event', da2-abcdefghijklmnop: 1}",
        "description: the key is da2-abcdefghijklmnop",
        "seed: da2-abcdefghijklmnop",
        "seed: *da2-abcdefghijklmnop",
    ],
)
def test_a_key_is_never_repeated(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.yaml").write_text(f"{GOOD}{line}\n")
    with pytest.raises(ScenarioError) as caught:
        load("x.yaml")
    assert "abcdefgh" not in str(caught.value)
    assert "x.yaml:15: " in str(caught.value)


def test_values_that_multiply_by_aliases_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    (tmp_path / "x.yaml").write_text("\n".join(lines))
    with pytest.raises(ScenarioError, match="is nested too deeply or has too many values"):
        load("x.yaml")
