"""Every path of the REST interface and what it does with the collections."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import qdrant_edge as engine

from infra.engines.qdrant.collections import Collection, Collections
from infra.engines.qdrant.errors import QdrantError, malformed, missing, unsupported
from infra.engines.qdrant.filters import PointId, point_id, read_filter
from infra.engines.qdrant.points import (
    CHANGES,
    Change,
    parse_id,
    read_changes,
    read_selector,
    refuse_shard_key,
    write_hit,
    write_record,
)
from infra.engines.qdrant.queries import (
    LIMIT,
    Lookup,
    QueryBody,
    group,
    read_order,
    read_query,
)
from infra.engines.qdrant.schema import read_index

GROUP_HITS = 3  # the server's own choice
GROUP_CANDIDATES_MIN = 100
GROUP_CANDIDATES_PER_HIT = 10  # how many hits are looked at to find enough different groups

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A request that found its route."""

    collections: Collections
    params: Mapping[str, str]
    body: bytes

    @property
    def name(self) -> str:
        return self.params["name"]

    @property
    def collection(self) -> Collection:
        return self.collections.get(self.name)

    def read(self, kind: type[T]) -> T:
        """The body as that type; a 422 saying what is wrong with it."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=kind)
        except msgspec.MsgspecError as error:
            raise malformed(str(error)) from error

    def change(self, *changes: Change) -> dict[str, Any]:
        """The answer to a change."""
        return _done(self.collections.update(self.name, changes)[-1])


class Retrieve(msgspec.Struct):
    ids: list[Any]
    with_payload: Any = None
    with_vector: Any = None
    shard_key: Any = None


class Scroll(msgspec.Struct):
    offset: Any = None
    limit: int | None = None
    filter: dict[str, Any] | None = None
    with_payload: Any = None
    with_vector: Any = None
    order_by: Any = None
    shard_key: Any = None


class Count(msgspec.Struct):
    filter: dict[str, Any] | None = None
    exact: bool | None = None
    shard_key: Any = None


class Facet(msgspec.Struct):
    key: str
    limit: int | None = None
    filter: dict[str, Any] | None = None
    exact: bool | None = None
    shard_key: Any = None


class GroupsBody(QueryBody):
    group_by: str = ""
    group_size: int | None = None
    with_lookup: Any = None


class Searches(msgspec.Struct):
    searches: list[QueryBody]


class Operations(msgspec.Struct):
    operations: list[dict[str, Any]]


class Index(msgspec.Struct):
    field_name: str
    field_schema: Any


class Actions(msgspec.Struct):
    actions: list[dict[str, Any]]


def _done(number: int) -> dict[str, Any]:
    return {"operation_id": number, "status": "completed"}


def _list(call: Call) -> Any:
    return {"collections": [{"name": item.name} for item in call.collections.all()]}


def _describe(call: Call) -> Any:
    return call.collections.describe(call.name)


def _create(call: Call) -> Any:
    call.collections.create(call.name, call.read(dict[str, Any]))
    return True


def _delete(call: Call) -> Any:
    return call.collections.delete(call.name)


def _exists(call: Call) -> Any:
    return {"exists": call.collections.find(call.name) is not None}


def _aliases(call: Call) -> Any:
    only = call.collection.name if "name" in call.params else None
    return {
        "aliases": [
            {"alias_name": alias, "collection_name": name}
            for alias, name in sorted(call.collections.aliases.items())
            if only in {None, name}
        ]
    }


def _change_aliases(call: Call) -> Any:
    call.collections.change_aliases(call.read(Actions).actions)
    return True


def _create_index(call: Call) -> Any:
    body = call.read(Index)
    make = engine.UpdateOperation.create_field_index
    return call.change(Change(make(body.field_name, read_index(body.field_schema)), 0))


def _delete_index(call: Call) -> Any:
    return call.change(Change(engine.UpdateOperation.delete_field_index(call.params["field"]), 0))


def _changer(name: str) -> Callable[[Call], Any]:
    kind, read = CHANGES[name]
    return lambda call: call.change(read(call.read(kind)))


def _batch(call: Call) -> Any:
    changes = read_changes(call.read(Operations).operations)
    return [_done(number) for number in call.collections.update(call.name, changes)]


def _retrieve(call: Call) -> Any:
    body = call.read(Retrieve)
    refuse_shard_key(body.shard_key)
    payload = True if body.with_payload is None else body.with_payload
    ids = [point_id(value) for value in body.ids]
    found = call.collection.shard.retrieve(ids, read_selector(payload), body.with_vector or False)
    return [write_record(record) for record in found]


def _point(call: Call) -> Any:
    found = call.collection.shard.retrieve([parse_id(call.params["id"])], True, True)
    if not found:
        raise missing(f"Point with id {call.params['id']} does not exists!")
    return write_record(found[0])


def _lookup(shard: Any) -> Lookup:
    def find(identity: PointId, using: str) -> Any:
        found = shard.retrieve([identity], False, True)
        if not found:
            raise missing(f"No point with id {identity} found")
        vector = found[0].vector
        stored = vector.get(using) if isinstance(vector, dict) else vector
        if stored is None:
            raise missing(f"Point {identity} has no vector `{using}`")
        return stored

    return find


def _hits(shard: Any, body: QueryBody) -> dict[str, Any]:
    found = shard.query(read_query(body, _lookup(shard)))
    return {"points": [write_hit(hit) for hit in found]}


def _query(call: Call) -> Any:
    return _hits(call.collection.shard, call.read(QueryBody))


def _query_batch(call: Call) -> Any:
    shard = call.collection.shard
    return [_hits(shard, body) for body in call.read(Searches).searches]


def _query_groups(call: Call) -> Any:
    body = call.read(GroupsBody)
    if body.with_lookup is not None:
        raise unsupported("with_lookup")
    shard = call.collection.shard
    limits = {"groups_max": body.limit or LIMIT, "hits_max": body.group_size or GROUP_HITS}
    wanted = limits["groups_max"] * limits["hits_max"] * GROUP_CANDIDATES_PER_HIT
    search = msgspec.structs.replace(
        body,
        limit=max(GROUP_CANDIDATES_MIN, wanted),
        offset=0,
        with_payload={"include": [body.group_by]},
        with_vector=False,
    )
    hits = shard.query(read_query(search, _lookup(shard)))
    groups = group(hits, body.group_by, **limits)
    stored = _stored(shard, [hit.id for _, members in groups for hit in members], body)
    return {
        "groups": [
            {"id": value, "hits": [write_hit(hit) | stored[hit.id] for hit in members]}
            for value, members in groups
        ]
    }


def _stored(shard: Any, ids: Sequence[PointId], body: QueryBody) -> dict[PointId, dict[str, Any]]:
    """Payload and vector as asked for: a search for groups reads the grouping field alone."""
    found = shard.retrieve(
        list(dict.fromkeys(ids)),
        read_selector(body.with_payload or False),
        body.with_vector or False,
    )
    return {record.id: write_record(record) for record in found}


def _scroll(call: Call) -> Any:
    body = call.read(Scroll)
    refuse_shard_key(body.shard_key)
    payload = True if body.with_payload is None else body.with_payload
    found, following = call.collection.shard.scroll(
        engine.ScrollRequest(
            offset=None if body.offset is None else point_id(body.offset),
            limit=LIMIT if body.limit is None else body.limit,
            filter=read_filter(body.filter),
            with_payload=read_selector(payload),
            with_vector=body.with_vector or False,
            order_by=body.order_by and read_order(body.order_by),
        )
    )
    return {"points": [write_record(record) for record in found], "next_page_offset": following}


def _count(call: Call) -> Any:
    body = call.read(Count)
    refuse_shard_key(body.shard_key)
    exact = True if body.exact is None else body.exact
    request = engine.CountRequest(filter=read_filter(body.filter), exact=exact)
    return {"count": call.collection.shard.count(request)}


def _facet(call: Call) -> Any:
    body = call.read(Facet)
    refuse_shard_key(body.shard_key)
    request = engine.FacetRequest(
        body.key, body.limit or LIMIT, bool(body.exact), read_filter(body.filter)
    )
    found = call.collection.shard.facet(request)
    return {"hits": [{"value": hit.value, "count": hit.count} for hit in found]}


@dataclass(frozen=True)
class Route:
    """A method and a path, `{part}` standing for one of its segments."""

    method: str
    path: str
    run: Callable[[Call], Any]


C = "/collections/{name}"
ROUTES = (
    Route("GET", "/collections", _list),
    Route("POST", "/collections/aliases", _change_aliases),
    Route("GET", "/aliases", _aliases),
    Route("GET", C, _describe),
    Route("PUT", C, _create),
    Route("DELETE", C, _delete),
    Route("GET", C + "/exists", _exists),
    Route("GET", C + "/aliases", _aliases),
    Route("PUT", C + "/index", _create_index),
    Route("DELETE", C + "/index/{field}", _delete_index),
    Route("PUT", C + "/points", _changer("upsert")),
    Route("POST", C + "/points", _retrieve),
    Route("GET", C + "/points/{id}", _point),
    Route("POST", C + "/points/delete", _changer("delete")),
    Route("POST", C + "/points/payload", _changer("set_payload")),
    Route("PUT", C + "/points/payload", _changer("overwrite_payload")),
    Route("POST", C + "/points/payload/delete", _changer("delete_payload")),
    Route("POST", C + "/points/payload/clear", _changer("clear_payload")),
    Route("PUT", C + "/points/vectors", _changer("update_vectors")),
    Route("POST", C + "/points/vectors/delete", _changer("delete_vectors")),
    Route("POST", C + "/points/batch", _batch),
    Route("POST", C + "/points/query", _query),
    Route("POST", C + "/points/query/batch", _query_batch),
    Route("POST", C + "/points/query/groups", _query_groups),
    Route("POST", C + "/points/scroll", _scroll),
    Route("POST", C + "/points/count", _count),
    Route("POST", C + "/facet", _facet),
)
PATTERNS = [
    (route, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path))) for route in ROUTES
]
# What the server has at these segments of a path and the embedded engine has not.
REFUSED = frozenset(
    [
        "snapshots",
        "shards",
        "cluster",
        "telemetry",
        "issues",
        "locks",
        "discover",
        "search",
        "recommend",
        "matrix",
        "optimizations",
        "vectors",
    ]
)


def find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a request and the parts of its path; an error naming what is not there."""
    known = False
    for route, pattern in PATTERNS:
        if found := pattern.fullmatch(path):
            if route.method == method:
                return route, found.groupdict()
            known = True
    raise _nowhere(method, path, known=known)


def _nowhere(method: str, path: str, *, known: bool) -> QdrantError:
    segments = path.strip("/").split("/")
    for segment in (*segments[:1], *segments[2:]):
        if segment in REFUSED:
            return unsupported(segment)
    if known:
        return unsupported(f"{method} {path}")
    return missing(f"`{method} {path}`; see the paths of the REST interface")
