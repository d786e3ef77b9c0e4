"""Queries on the wire -> the engine's queries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import qdrant_edge as engine

from infra.engines.qdrant.errors import malformed, unsupported, wrong
from infra.engines.qdrant.filters import Json, PointId, field, point_id, read_filter, without
from infra.engines.qdrant.points import read_selector, read_vector

# Where a client says nothing, the server's own choices.
LIMIT = 10
RRF_K = 2
DIVERSITY = 0.5
CANDIDATES = 100

Lookup = Callable[[PointId, str], Any]  # the stored vector of that name


class QueryBody(msgspec.Struct):
    """A query, or a stage that feeds one."""

    query: Any = None
    prefetch: Any = None
    using: str | None = None
    filter: dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    score_threshold: float | None = None
    limit: int | None = None
    offset: int | None = None
    with_payload: Any = None
    with_vector: Any = None
    lookup_from: Any = None
    shard_key: Any = None


class Stage:
    """One level of a query: its vectors resolved, the points it names left out of its answer."""

    def __init__(self, using: str | None, lookup: Lookup) -> None:
        self.using = using
        self.named: set[PointId] = set()
        self._lookup = lookup

    def vector(self, value: Any) -> Any:
        """The vector itself, or that of the point the client named."""
        if isinstance(value, int | str):
            identity = point_id(value)
            self.named.add(identity)
            return self._lookup(identity, self.using or "")
        return read_vector(value)

    def scoring(self, query: Any) -> Any:
        """How to rank; None ranks by id."""
        if query is None:
            return None
        if not isinstance(query, dict) or "indices" in query:
            return engine.Query.Nearest(self.vector(query), self.using)
        for name, read in SCORING.items():
            if query.get(name) is not None:
                return read(self, query)
        raise unsupported(f"query {', '.join(sorted(query)) or 'without fields'}")


def read_query(body: QueryBody, lookup: Lookup) -> Any:
    """The whole query; `lookup` answers the stored vector of a point."""
    stage, parts = _parts(body, lookup)
    return engine.QueryRequest(
        limit=LIMIT if body.limit is None else body.limit,
        offset=body.offset or 0,
        with_payload=read_selector(body.with_payload or False),
        with_vector=body.with_vector or False,
        filter=without(read_filter(body.filter), stage.named),
        **parts,
    )


def _parts(body: QueryBody, lookup: Lookup) -> tuple[Stage, dict[str, Any]]:
    for name in ("lookup_from", "shard_key"):
        if getattr(body, name) is not None:
            raise unsupported(name)
    stage = Stage(body.using, lookup)
    return stage, {
        "query": stage.scoring(body.query),
        "prefetches": _prefetches(body.prefetch, lookup),
        "params": _params(body.params),
        "score_threshold": body.score_threshold,
    }


def _prefetches(value: Any, lookup: Lookup) -> list[Any] | None:
    if not value:
        return None
    stages = value if isinstance(value, list) else [value]
    return [_prefetch(msgspec.convert(stage, QueryBody), lookup) for stage in stages]


def _prefetch(body: QueryBody, lookup: Lookup) -> Any:
    stage, parts = _parts(body, lookup)
    return engine.Prefetch(
        limit=LIMIT if body.limit is None else body.limit,
        filter=without(read_filter(body.filter), stage.named),
        **parts,
    )


def _params(body: Json | None) -> Any:
    if not body:
        return None
    return engine.SearchParams(
        hnsw_ef=body.get("hnsw_ef"),
        exact=bool(body.get("exact")),
        indexed_only=bool(body.get("indexed_only")),
    )


def read_order(value: Any) -> Any:
    """Which payload field to order by."""
    body = {"key": value} if isinstance(value, str) else value
    descending = body.get("direction") == "desc"
    direction = engine.Direction.Desc if descending else engine.Direction.Asc
    return engine.OrderBy(field(body, "key"), direction, body.get("start_from"))


def _nearest(stage: Stage, query: Json) -> Any:
    vector = stage.vector(query["nearest"])
    spread = query.get("mmr")
    if spread is None:
        return engine.Query.Nearest(vector, stage.using)
    diversity = spread.get("diversity")
    relevance = 1.0 - (DIVERSITY if diversity is None else diversity)
    candidates = spread.get("candidates_limit") or CANDIDATES
    return engine.Mmr(vector, relevance, candidates, stage.using)


def _fusion(_stage: Stage, query: Json) -> Any:
    match query["fusion"]:
        case "rrf":
            return engine.Fusion.Rrf(RRF_K)
        case "dbsf":
            return engine.Fusion.Dbsf()
        case name:
            raise unsupported(f"fusion {name}")


def _rrf(_stage: Stage, query: Json) -> Any:
    settings = query["rrf"]
    return engine.Fusion.Rrf(settings.get("k") or RRF_K, settings.get("weights"))


def _sample(_stage: Stage, query: Json) -> Any:
    if query["sample"] != "random":
        raise unsupported(f"sample {query['sample']}")
    return engine.Sample.Random


def _recommend(stage: Stage, query: Json) -> Any:
    body = query["recommend"]
    liked = [stage.vector(value) for value in body.get("positive") or []]
    disliked = [stage.vector(value) for value in body.get("negative") or []]
    match body.get("strategy") or "average_vector":
        case "average_vector":
            return engine.Query.Nearest(average(liked, disliked), stage.using)
        case "best_score":
            examples = engine.RecommendQuery(liked, disliked)
            return engine.Query.RecommendBestScore(examples, stage.using)
        case "sum_scores":
            examples = engine.RecommendQuery(liked, disliked)
            return engine.Query.RecommendSumScores(examples, stage.using)
        case name:
            raise unsupported(f"recommend strategy {name}")


def average(liked: Sequence[Sequence[float]], disliked: Sequence[Sequence[float]]) -> list[float]:
    """The mean of what is liked, moved away from the mean of what is not."""
    if not liked:
        raise wrong("`average_vector` needs at least one positive example; add one")
    if any(isinstance(vector, engine.SparseVector) for vector in (*liked, *disliked)):
        raise unsupported("recommend strategy average_vector of sparse vectors")
    centre = _mean(liked)
    if not disliked:
        return centre
    return [2 * near - far for near, far in zip(centre, _mean(disliked), strict=True)]


def _mean(vectors: Sequence[Sequence[float]]) -> list[float]:
    try:
        return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    except (TypeError, ValueError) as error:
        raise malformed("the examples are not vectors of one length") from error


SCORING: Mapping[str, Callable[[Stage, Json], Any]] = {
    "nearest": _nearest,
    "fusion": _fusion,
    "rrf": _rrf,
    "order_by": lambda _stage, query: read_order(query["order_by"]),
    "sample": _sample,
    "recommend": _recommend,
}


def values_of(payload: Any, path: str) -> list[Any]:
    """The scalars a dotted path leads to: one, or those of a list."""
    for step in path.split("."):
        payload = payload.get(step) if isinstance(payload, dict) else None
    found = payload if isinstance(payload, list) else [payload]
    return [value for value in found if isinstance(value, str | int)]


def group(hits: Sequence[Any], path: str, *, groups_max: int, hits_max: int) -> list[Any]:
    """The best hits of the best groups, as `(value, hits)`, in order of their first hit."""
    groups: dict[Any, list[Any]] = {}
    for hit in hits:
        for value in values_of(hit.payload, path):
            if value not in groups and len(groups) == groups_max:
                continue
            members = groups.setdefault(value, [])
            if len(members) < hits_max:
                members.append(hit)
    return list(groups.items())
