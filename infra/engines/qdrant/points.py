"""Points, vectors and changes on the wire <-> the engine's."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import qdrant_edge as engine

from infra.engines.qdrant.errors import unsupported, wrong
from infra.engines.qdrant.filters import Json, PointId, field, point_id, read_filter

MODES = {
    "upsert": engine.UpdateMode.Upsert,
    "insert_only": engine.UpdateMode.InsertOnly,
    "update_only": engine.UpdateMode.UpdateOnly,
}


class Change(NamedTuple):
    """An operation of the engine and how many points it names (a filter counts as one)."""

    operation: Any
    points: int


class Row(msgspec.Struct):
    """A point as a client sends it."""

    id: Any
    vector: Any = None
    payload: dict[str, Any] | None = None


class Columns(msgspec.Struct):
    """Points as a client sends them column by column."""

    ids: list[Any]
    vectors: Any
    payloads: list[dict[str, Any] | None] | None = None


class Upsert(msgspec.Struct):
    """Points to write."""

    points: list[Row] | None = None
    batch: Columns | None = None
    shard_key: Any = None
    update_filter: dict[str, Any] | None = None
    update_mode: str | None = None


class Selection(msgspec.Struct):
    """What to change, and in which points: ids or a filter."""

    points: list[Any] | None = None
    filter: dict[str, Any] | None = None
    shard_key: Any = None
    payload: dict[str, Any] | None = None
    key: str | None = None
    keys: list[str] | None = None
    vector: list[str] | None = None


class Vectors(msgspec.Struct):
    """New vectors of points that exist."""

    points: list[Row]
    shard_key: Any = None
    update_filter: dict[str, Any] | None = None


def read_vector(value: Any) -> Any:
    """A dense, sparse or multi-vector, or those by name."""
    if not isinstance(value, dict):
        return value
    if "indices" in value:
        return engine.SparseVector(value["indices"], field(value, "values"))
    if "text" in value or "image" in value or "object" in value:
        raise unsupported("inference (a document, image or object in place of a vector)")
    return {name: read_vector(part) for name, part in value.items()}


def write_vector(value: Any) -> Any:
    """The vector as JSON."""
    if isinstance(value, engine.SparseVector):
        return {"indices": list(value.indices), "values": list(value.values)}
    if isinstance(value, dict):
        return {name: write_vector(part) for name, part in value.items()}
    return value


def write_record(record: Any) -> dict[str, Any]:
    """A stored point as JSON."""
    body: dict[str, Any] = {"id": record.id, "payload": record.payload}
    if record.vector is not None:
        body["vector"] = write_vector(record.vector)
    if record.order_value is not None:
        body["order_value"] = record.order_value
    return body


def write_hit(hit: Any) -> dict[str, Any]:
    """A found point as JSON."""
    return {**write_record(hit), "version": hit.version, "score": hit.score}


def read_selector(value: Any) -> Any:
    """Which part of a payload to answer: all, none, or the fields named."""
    if not isinstance(value, dict):
        return value
    if "include" in value:
        return engine.PayloadSelector.Include(value["include"])
    return engine.PayloadSelector.Exclude(field(value, "exclude"))


def refuse_shard_key(value: Any) -> None:
    if value is not None:
        raise unsupported("shard_key")


def read_upsert(body: Upsert) -> Change:
    """The points to write, whichever way they were sent."""
    refuse_shard_key(body.shard_key)
    rows = _rows(body.batch) if body.batch else body.points
    if rows is None:
        raise wrong("neither `points` nor `batch`; send one of them")
    mode = body.update_mode or "upsert"
    if mode not in MODES:
        raise unsupported(f"update_mode {mode}")
    points = [
        engine.Point(point_id(row.id), read_vector(row.vector or {}), row.payload or {})
        for row in rows
    ]
    operation = engine.UpdateOperation.upsert_points(
        points, read_filter(body.update_filter), MODES[mode]
    )
    return Change(operation, len(points))


def _rows(batch: Columns) -> list[Row]:
    count = len(batch.ids)
    payloads = batch.payloads or [None] * count
    vectors = batch.vectors
    if isinstance(vectors, dict):
        names = vectors.keys()
        columns = zip(*vectors.values(), strict=True)
        vectors = [dict(zip(names, row, strict=True)) for row in columns]
    if not len(vectors) == len(payloads) == count:
        raise wrong("`ids`, `vectors` and `payloads` of a batch differ in length; send them alike")
    return [
        Row(identity, vector, payload)
        for identity, vector, payload in zip(batch.ids, vectors, payloads, strict=True)
    ]


def read_vectors(body: Vectors) -> Change:
    """New vectors of the points named."""
    refuse_shard_key(body.shard_key)
    pairs = [engine.PointVectors(point_id(row.id), read_vector(row.vector)) for row in body.points]
    operation = engine.UpdateOperation.update_vectors(pairs, read_filter(body.update_filter))
    return Change(operation, len(pairs))


def _choose(by_ids: str, arguments: Callable[[Selection], tuple[Any, ...]]) -> Any:
    """A reader of changes that the engine has twice: by ids, and by filter."""

    def read(body: Selection) -> Change:
        refuse_shard_key(body.shard_key)
        if body.points is not None:
            ids = [point_id(value) for value in body.points]
            make = getattr(engine.UpdateOperation, by_ids)
            return Change(make(ids, *arguments(body)), len(ids))
        condition = read_filter(body.filter)
        if condition is None and body.filter is None:
            raise wrong("neither `points` nor `filter`; send one of them")
        make = getattr(engine.UpdateOperation, f"{by_ids}_by_filter")
        return Change(make(condition or engine.Filter(), *arguments(body)), 1)

    return read


def _payload(body: Selection) -> tuple[Any, ...]:
    if body.payload is None:
        raise wrong("no `payload`; send the fields to set")
    return body.payload, body.key


def _keys(body: Selection) -> tuple[Any, ...]:
    if body.keys is None:
        raise wrong("no `keys`; send the names of the payload fields")
    return (body.keys,)


def _names(body: Selection) -> tuple[Any, ...]:
    if body.vector is None:
        raise wrong("no `vector`; send the names of the vectors")
    return (body.vector,)


def _nothing(_body: Selection) -> tuple[Any, ...]:
    return ()


# Every change a client may send, by the name it has in a batch: type of its body, reader.
CHANGES: dict[str, tuple[type[Any], Callable[[Any], Change]]] = {
    "upsert": (Upsert, read_upsert),
    "delete": (Selection, _choose("delete_points", _nothing)),
    "set_payload": (Selection, _choose("set_payload", _payload)),
    "overwrite_payload": (Selection, _choose("overwrite_payload", _payload)),
    "delete_payload": (Selection, _choose("delete_payload", _keys)),
    "clear_payload": (Selection, _choose("clear_payload", _nothing)),
    "update_vectors": (Vectors, read_vectors),
    "delete_vectors": (Selection, _choose("delete_vectors", _names)),
}


def read_changes(operations: Sequence[Json]) -> list[Change]:
    """The changes of a batch, in order; nothing is done yet if one of them does not hold."""
    changes: list[Change] = []
    for operation in operations:
        for name, body in operation.items():
            if name not in CHANGES:
                raise unsupported(f"operation {name}")
            kind, read = CHANGES[name]
            changes.append(read(msgspec.convert(body, kind)))
    return changes


def parse_id(text: str) -> PointId:
    """The point id of a path."""
    return point_id(int(text) if text.isdecimal() else text)
