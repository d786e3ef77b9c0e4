"""Qdrant's interface in one process: what is asked, what the engine makes of it, what stays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.engines.qdrant.app import key_of
from infra.engines.qdrant.collections import Collections
from infra.engines.qdrant.config import Config
from infra.engines.qdrant.errors import QdrantError, from_engine
from infra.engines.qdrant.filters import point_id
from infra.engines.qdrant.points import Columns, Upsert, read_changes, read_upsert
from infra.engines.qdrant.queries import average, values_of
from infra.engines.qdrant.routes import ROUTES, Call, find
from infra.engines.qdrant.schema import read_schema, threshold_kib

PLAIN: dict[str, Any] = {"vectors": {"size": 2, "distance": "Dot"}}
PLACES = {
    "vienna": {"lon": 16.37, "lat": 48.21},
    "graz": {"lon": 15.44, "lat": 47.07},
    "paris": {"lon": 2.35, "lat": 48.86},
}
ROWS = [
    {"id": 1, "vector": [1, 0], "payload": {"at": PLACES["vienna"], "n": 1, "tags": ["a", "b"]}},
    {"id": 2, "vector": [0, 1], "payload": {"at": PLACES["graz"], "n": 2, "tags": []}},
    {"id": 3, "vector": [1, 1], "payload": {"at": PLACES["paris"], "n": 3, "on": "2026-01-02"}},
]
MIN_SHOULD = b"""
{"min_should": {"min_count": 2, "conditions": [{"has_id": [1, 2]}, {"has_id": [2, 3]}]}}
"""
RADIUS = b"""
{"key": "at", "geo_radius": {"center": {"lon": 16.37, "lat": 48.21}, "radius": 200000}}
"""
BOX = b"""
{"key": "at", "geo_bounding_box": {
  "top_left": {"lon": 0, "lat": 50}, "bottom_right": {"lon": 10, "lat": 45}}}
"""
POLYGON = b"""
{"key": "at", "geo_polygon": {"exterior": {"points": [
  {"lon": 14, "lat": 46}, {"lon": 16, "lat": 46}, {"lon": 16, "lat": 48}, {"lon": 14, "lat": 46}
]}}}
"""


def config(folder: Path) -> Config:
    return Config(host="", port=0, data=str(folder), api_key="key")


@pytest.fixture
def collections(tmp_path: Path) -> Iterator[Collections]:
    """One collection, `places`."""
    opened = Collections(config(tmp_path))
    opened.create("places", PLAIN)
    opened.update("places", read_changes([{"upsert": {"points": ROWS}}]))
    yield opened
    opened.close()


def ask(collections: Collections, method: str, path: str, body: bytes = b"") -> Any:
    route, params = find(method, path)
    return route.run(Call(collections, params, body))


def ids(collections: Collections, condition: bytes) -> list[int]:
    body = b'{"filter": {"must": [' + condition + b"]}}"
    answer = ask(collections, "POST", "/collections/places/points/scroll", body)
    return [point["id"] for point in answer["points"]]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (b'{"key": "n", "match": {"value": 2}}', [2]),
        (b'{"key": "n", "match": {"any": [1, 3]}}', [1, 3]),
        (b'{"key": "n", "match": {"except": [1]}}', [2, 3]),
        (b'{"key": "n", "range": {"gte": 2, "lt": 3}}', [2]),
        (b'{"key": "on", "range": {"gt": "2026-01-01T00:00:00Z"}}', [3]),
        (b'{"key": "tags", "values_count": {"gte": 2}}', [1]),
        (b'{"is_empty": {"key": "tags"}}', [2, 3]),
        (b'{"has_id": [1, 3]}', [1, 3]),
        (b'{"should": [{"key": "n", "match": {"value": 1}}, {"has_id": [2]}]}', [1, 2]),
        (b'{"must_not": {"has_id": [2]}}', [1, 3]),
        (MIN_SHOULD, [2]),
        (RADIUS, [1, 2]),
        (BOX, [3]),
        (POLYGON, [2]),
    ],
)
def test_a_filter_means_what_it_says(
    collections: Collections, condition: bytes, expected: list[int]
) -> None:
    assert ids(collections, condition) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (b'{"key": "n", "match": {"sounds_like": "x"}}', "`match sounds_like`"),
        (b'{"key": "n", "near": 1}', "`filter condition near`"),
        (b'{"has_id": ["x"]}', "`x` is not a point id"),
        (b'{"nested": {"key": "n"}}', "missing field `filter`"),
        (b'{"must": [], "might": []}', "unknown field `might`"),
        (b"3", "a condition of a filter is an object"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused_by_name(
    collections: Collections, condition: bytes, message: str
) -> None:
    with pytest.raises(QdrantError, match=message):
        ids(collections, condition)


def test_an_id_is_an_unsigned_integer_or_a_uuid() -> None:
    text = "c4e4632d-6b16-41d1-8b2e-6fe7e4d0a965"

    assert point_id(7) == 7
    assert str(point_id(text)) == text
    for wrong in (-1, True, 1.5, None, "seven"):
        with pytest.raises(QdrantError, match="is not a point id"):
            point_id(wrong)


def test_points_sent_by_column_are_points_sent_by_row() -> None:
    columns = Columns([1, 2], {"x": [[1.0], [2.0]]}, [None, {"a": 1}])

    assert read_upsert(Upsert(batch=columns)).points == 2
    with pytest.raises(QdrantError, match="differ in length"):
        read_upsert(Upsert(batch=Columns([1, 2], [[1.0]])))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"upsert": {}}, "neither `points` nor `batch`"),
        ({"upsert": {"points": [], "shard_key": "a"}}, "`shard_key` is not served"),
        ({"delete": {}}, "neither `points` nor `filter`"),
        ({"set_payload": {"points": [1]}}, "no `payload`"),
        ({"delete_payload": {"points": [1]}}, "no `keys`"),
        ({"rename": {}}, "`operation rename` is not served"),
    ],
)
def test_a_change_that_says_too_little_is_refused(operation: Any, message: str) -> None:
    with pytest.raises(QdrantError, match=message):
        read_changes([operation])


def test_the_average_of_examples_moves_away_from_what_is_disliked() -> None:
    assert average([[1.0, 1.0], [3.0, 1.0]], []) == [2.0, 1.0]
    assert average([[2.0, 1.0]], [[1.0, 1.0]]) == [3.0, 1.0]
    with pytest.raises(QdrantError, match="at least one positive"):
        average([], [[1.0]])


def test_a_point_belongs_to_every_group_its_field_names() -> None:
    payload = {"a": {"b": ["x", "y"]}, "c": 3}

    assert values_of(payload, "a.b") == ["x", "y"]
    assert values_of(payload, "c") == [3]
    assert values_of(payload, "c.d") == values_of(payload, "z") == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "neither `vectors` nor `sparse_vectors`"),
        ({**PLAIN, "sharding_method": "custom"}, "`sharding_method` is not served"),
        ({**PLAIN, "quantization_config": {"scalar": {}}}, "`quantization_config` is not served"),
    ],
)
def test_a_collection_the_engine_cannot_hold_is_refused(body: Any, message: str) -> None:
    with pytest.raises(QdrantError, match=message):
        read_schema(body)


def test_an_index_is_due_at_the_size_of_that_many_vectors() -> None:
    schema = read_schema({"vectors": {"size": 256, "distance": "Cosine"}})

    assert threshold_kib(schema, 10_000) == 10_000
    assert threshold_kib(schema, 0) == 1


def test_a_second_create_is_a_conflict_and_a_second_delete_is_none(
    collections: Collections,
) -> None:
    with pytest.raises(QdrantError, match="already exists") as failed:
        collections.create("places", PLAIN)

    assert failed.value.status == 409
    assert collections.delete("places")
    assert not collections.delete("places")


def test_a_collection_half_made_is_swept_at_the_start(tmp_path: Path) -> None:
    Collections(config(tmp_path)).close()
    half = tmp_path / "shard-half"
    half.mkdir()

    opened = Collections(config(tmp_path))
    opened.close()

    assert opened.all() == []
    assert not half.exists()


def test_collections_points_and_aliases_outlive_the_process(
    collections: Collections, tmp_path: Path
) -> None:
    collections.change_aliases(
        [{"create_alias": {"alias_name": "cities", "collection_name": "places"}}]
    )
    collections.close()

    again = Collections(config(tmp_path))

    assert again.get("cities").shard.info().points_count == len(ROWS)
    again.close()


def test_a_second_engine_on_the_same_folder_is_refused(
    collections: Collections, tmp_path: Path
) -> None:
    with pytest.raises(BlockingIOError):
        Collections(config(tmp_path))

    assert collections.get("places")


def test_alias_actions_happen_together_or_not_at_all(collections: Collections) -> None:
    make = {"create_alias": {"alias_name": "cities", "collection_name": "places"}}
    with pytest.raises(QdrantError, match="`absent` doesn't exist"):
        collections.change_aliases([make, {"rename_alias": rename("absent", "b")}])
    assert collections.aliases == {}

    collections.change_aliases([make, {"rename_alias": rename("cities", "towns")}])
    assert collections.aliases == {"towns": "places"}

    collections.delete("places")
    assert collections.aliases == {}


def rename(old: str, new: str) -> dict[str, str]:
    return {"old_alias_name": old, "new_alias_name": new}


def test_a_payload_index_is_described_as_it_was_asked_for(collections: Collections) -> None:
    body = (
        b'{"field_name": "tags", "field_schema": {"type": "text", "tokenizer": "word", '
        b'"lowercase": true, "stopwords": "english", '
        b'"stemmer": {"type": "snowball", "language": "english"}}}'
    )
    ask(collections, "PUT", "/collections/places/index", body)

    found = collections.describe("places")["payload_schema"]["tags"]

    assert found["data_type"] == "text"
    assert found["params"] == {"type": "text", "tokenizer": "word", "lowercase": True}


def test_every_route_finds_itself() -> None:
    for route in ROUTES:
        path = route.path.replace("{name}", "n").replace("{id}", "1").replace("{field}", "a.b")

        assert find(route.method, path)[0].run is route.run


@pytest.mark.parametrize(
    ("method", "path", "status", "named"),
    [
        ("GET", "/collections/n/snapshots", 501, "`snapshots`"),
        ("GET", "/cluster", 501, "`cluster`"),
        ("POST", "/collections/n/points/discover", 501, "`discover`"),
        ("PATCH", "/collections/n", 501, "`PATCH /collections/n`"),
        ("GET", "/nowhere", 404, "`GET /nowhere`"),
    ],
)
def test_a_path_that_is_not_served_is_named(
    method: str, path: str, status: int, named: str
) -> None:
    with pytest.raises(QdrantError, match=named) as failed:
        find(method, path)

    assert failed.value.status == status


def test_a_collection_may_bear_the_name_of_what_is_refused() -> None:
    assert find("GET", "/collections/snapshots")[1] == {"name": "snapshots"}


def test_the_key_is_taken_from_either_header() -> None:
    assert key_of({"api-key": "a"}) == "a"
    assert key_of({"authorization": "Bearer a"}) == "a"
    assert key_of({"authorization": "Basic a"}) == key_of({}) == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Exception("Vector dimension error: expected dim: 8, got 7"), 400),
        (Exception("No point with id 9"), 404),
        (Exception("Service runtime error: disk"), 500),
        (OSError("disk full"), 500),
    ],
)
def test_the_engines_errors_bear_the_servers_status(error: Exception, status: int) -> None:
    assert from_engine(error).status == status
