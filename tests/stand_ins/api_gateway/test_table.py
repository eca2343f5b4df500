"""Test the API Gateway stand-in's table of subscriptions against a simpler implementation."""

from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.generic.channels import matches
from loadgen.stand_ins.api_gateway.table import Table, keys_of

CHANNELS = ["/a", "/a/b", "/a/b/c", "/b/b", "/a/c/c"]
PATTERNS = [*CHANNELS, "/a/*", "/a/b/*", "/b/*"]
STEPS = st.tuples(
    st.sampled_from(["add", "remove", "forget"]), st.sampled_from("xyz"), st.sampled_from(PATTERNS)
)


@given(st.lists(STEPS, max_size=30))
def test_a_publish_finds_all_connections_that_want_it_and_no_others(
    steps: list[tuple[str, str, str]],
) -> None:
    table, wanted = Table(), set[tuple[str, str]]()
    for step, connection, pattern in steps:
        if step == "add":
            table.add(connection, pattern)
            wanted.add((connection, pattern))
        elif step == "remove":
            assert table.remove(connection, pattern) == ((connection, pattern) in wanted)
            wanted.discard((connection, pattern))
        else:
            ended = {each for each in wanted if each[0] == connection}
            assert table.forget(connection) == len(ended)
            wanted -= ended
    assert len(table) == len(wanted)
    assert table.connections == len({connection for connection, _ in wanted})
    for channel in CHANNELS:
        found = [(connection, key) for key, connections in table.find(channel) for connection in connections]
        assert len(set(found)) == len(found)
        assert set(found) == {each for each in wanted if matches(each[1], channel)}


def test_a_channel_is_asked_for_with_every_pattern_above_it() -> None:
    assert keys_of("/a/b/c") == ["/a/b/c", "/a/b/*", "/a/*"]
    assert keys_of("/a") == ["/a"]
