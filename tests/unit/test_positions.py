"""Facts of positions, keys and partitions."""

import pytest

from helix.adapters import murmur2
from helix.domain.ids import event_id, log_key
from helix.domain.positions import Position, Range


def test_positions_of_a_partition_are_ordered_by_offset() -> None:
    assert Position("e", 1, 9) < Position("e", 1, 10)


def test_a_range_always_has_the_same_token() -> None:
    assert Range("t", "e", 3, 10, 20).token == "t:e:3:10-20"


# The vectors of Kafka's own UtilsTest, as unsigned numbers.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_hash_as_in_java(key: bytes, expected: int) -> None:
    assert murmur2.murmur2(key) == expected % 2**32


def test_a_key_names_tenant_and_id() -> None:
    assert log_key("acme", "conv/1") == "acme/conv%2F1"


def test_a_retry_finds_the_id_of_its_first_attempt() -> None:
    assert event_id("t", "POST /v1/x", "key", 2) == event_id("t", "POST /v1/x", "key", 2)
    assert event_id("t", "POST /v1/x", "key", 2) != event_id("t", "POST /v1/x", "key", 3)
