"""Test the numbering of packets."""

from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.mqtt.packet_ids import LAST_PACKET_ID, PacketIds


def test_the_first_id_is_1_and_after_the_last_one_comes_1_again() -> None:
    ids = PacketIds()
    assert [ids.next() for _ in range(3)] == [1, 2, 3]
    ids = PacketIds(last=LAST_PACKET_ID - 1)
    assert [ids.next() for _ in range(2)] == [65_535, 1]


@given(st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)))
def test_ids_in_use_by_any_of_several_are_skipped(publishes: set[int], subscribes: set[int]) -> None:
    ids = PacketIds()
    ids.skip(publishes)
    ids.skip(subscribes)
    free = [number for number in range(1, 20) if number not in publishes | subscribes]
    assert [ids.next() for _ in free] == free


def test_an_id_is_free_again_once_its_exchange_is_complete() -> None:
    ids, in_use = PacketIds(last=LAST_PACKET_ID), {1: "a publish"}
    ids.skip(in_use)
    assert ids.next() == 2
    ids, in_use = PacketIds(last=LAST_PACKET_ID), {1: "a publish"}
    ids.skip(in_use)
    del in_use[1]
    assert ids.next() == 1


def test_with_all_ids_in_use_the_search_ends() -> None:
    ids = PacketIds(last=7)
    ids.skip(range(LAST_PACKET_ID + 1))
    assert ids.next() == 7
