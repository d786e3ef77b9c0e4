"""Filters on the wire -> the engine's filters."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import qdrant_edge as engine

from infra.engines.qdrant.errors import malformed, unsupported, wrong

Json = Mapping[str, Any]
PointId = int | uuid.UUID | str  # wider than what is ever made: the engine's own spelling

CLAUSES = frozenset(["must", "should", "must_not", "min_should"])
MATCHES: dict[str, Callable[[Any], Any]] = {
    "value": engine.MatchValue,
    "any": engine.MatchAny,
    "except": engine.MatchExcept,
    "text": engine.MatchText,
    "text_any": engine.MatchTextAny,
    "phrase": engine.MatchPhrase,
}


def point_id(value: Any) -> PointId:
    """An unsigned integer or a UUID."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        return uuid.UUID(str(value))
    except (AttributeError, TypeError, ValueError) as error:
        text = f"`{value}` is not a point id; send an unsigned integer or a UUID"
        raise wrong(text) from error


def field(body: Json, name: str) -> Any:
    """The field of that name; an error naming it if the client left it out."""
    try:
        return body[name]
    except (KeyError, TypeError) as error:
        raise malformed(f"missing field `{name}`") from error


def given(body: Json) -> dict[str, Any]:
    """The fields that say something: a null is as good as absent."""
    return {name: value for name, value in body.items() if value is not None}


def read_filter(body: Json | None) -> Any:
    """The filter, None when there is nothing to filter by."""
    if not body:
        return None
    unknown = body.keys() - CLAUSES
    if unknown:
        raise malformed(f"unknown field `{min(unknown)}` of a filter")
    least = body.get("min_should")
    return engine.Filter(
        must=_conditions(body.get("must")),
        should=_conditions(body.get("should")),
        must_not=_conditions(body.get("must_not")),
        min_should=least
        and engine.MinShould(
            _conditions(field(least, "conditions")) or [], field(least, "min_count")
        ),
    )


def without(condition: Any, ids: set[PointId]) -> Any:
    """The same filter, leaving those points out."""
    if not ids:
        return condition
    named: list[Any] = [engine.HasIdCondition(ids)]
    return engine.Filter(must=[condition] if condition else None, must_not=named)


def _conditions(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return [_condition(item) for item in (value if isinstance(value, list) else [value])]


def _nested(body: Json) -> Any:
    return engine.NestedCondition(field(body, "key"), read_filter(field(body, "filter")))


def _ids(values: Any) -> Any:
    return engine.HasIdCondition({point_id(value) for value in values})


# Conditions that name no field of the payload beside them.
WHOLE: dict[str, Callable[[Any], Any]] = {
    "is_empty": lambda body: engine.IsEmptyCondition(field(body, "key")),
    "is_null": lambda body: engine.IsNullCondition(field(body, "key")),
    "has_id": _ids,
    "has_vector": engine.HasVectorCondition,
    "nested": _nested,
}


def _condition(body: Any) -> Any:
    if not isinstance(body, dict):
        raise malformed("a condition of a filter is an object")
    if CLAUSES & body.keys():
        return read_filter(body)
    said = given(body)
    if "key" in said:
        return _field_condition(said)
    for name, read in WHOLE.items():
        if name in said:
            return read(said[name])
    raise unsupported(f"filter condition {', '.join(sorted(said)) or 'without fields'}")


def _field_condition(said: dict[str, Any]) -> Any:
    parts: dict[str, Any] = {}
    for name, value in said.items():
        if name not in FIELD:
            raise unsupported(f"filter condition {name}")
        parts[name] = FIELD[name](value)
    return engine.FieldCondition(**parts)


def _match(body: Json) -> Any:
    for name, value in given(body).items():
        if name in MATCHES:
            return MATCHES[name](value)
    raise unsupported(f"match {', '.join(sorted(body))}")


def _range(body: Json) -> Any:
    bounds = given(body)
    dates = any(isinstance(bound, str) for bound in bounds.values())
    return engine.RangeDateTime(**bounds) if dates else engine.RangeFloat(**bounds)


def _point(body: Json) -> Any:
    return engine.GeoPoint(field(body, "lon"), field(body, "lat"))


def _box(body: Json) -> Any:
    return engine.GeoBoundingBox(
        _point(field(body, "top_left")), _point(field(body, "bottom_right"))
    )


def _radius(body: Json) -> Any:
    return engine.GeoRadius(_point(field(body, "center")), field(body, "radius"))


def _line(body: Json) -> list[Any]:
    return [_point(point) for point in field(body, "points")]


def _polygon(body: Json) -> Any:
    holes = [_line(hole) for hole in body.get("interiors") or []]
    return engine.GeoPolygon(_line(field(body, "exterior")), holes)


def _same(value: Any) -> Any:
    return value


FIELD: dict[str, Callable[[Any], Any]] = {
    "key": _same,
    "match": _match,
    "range": _range,
    "geo_bounding_box": _box,
    "geo_radius": _radius,
    "geo_polygon": _polygon,
    "values_count": lambda body: engine.ValuesCount(**given(body)),
    "is_empty": _same,
    "is_null": _same,
}
