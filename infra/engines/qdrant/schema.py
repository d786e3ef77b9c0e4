"""What a collection is made of: on the wire, in the engine, and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import qdrant_edge as engine

from infra.engines.qdrant.errors import malformed, unsupported
from infra.engines.qdrant.filters import given

BYTES_PER_KIB = 1024
BYTES_PER_NUMBER = 4
DIMENSIONS_MAX = 65_536  # the server's own bound
HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}  # the server's own defaults
DISTANCES = {
    "Cosine": engine.Distance.Cosine,
    "Dot": engine.Distance.Dot,
    "Euclid": engine.Distance.Euclid,
    "Manhattan": engine.Distance.Manhattan,
}
DATATYPES = {
    "float32": engine.VectorStorageDatatype.Float32,
    "float16": engine.VectorStorageDatatype.Float16,
    "uint8": engine.VectorStorageDatatype.Uint8,
}
KINDS = {
    name: getattr(engine.PayloadSchemaType, name)
    for name in ("Keyword", "Integer", "Float", "Geo", "Text", "Bool", "Datetime", "Uuid")
}
MODIFIERS = {"none": None, "idf": engine.Modifier.Idf}
MAX_SIM = engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim)
# What a description must say beside the figures that are the collection's own.
PARAMS = {
    "shard_number": 1,
    "replication_factor": 1,
    "write_consistency_factor": 1,
    "on_disk_payload": True,
}
OPTIMIZER = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}
# Sizes and placements of a cluster and of a disk: one process has nothing to do with them.
IGNORED = frozenset(
    [
        "shard_number",
        "replication_factor",
        "write_consistency_factor",
        "on_disk_payload",
        "optimizers_config",
        "wal_config",
        "metadata",
        "strict_mode_config",
    ]
)


class Dense(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A dense vector of a collection."""

    size: Annotated[int, msgspec.Meta(ge=1, le=DIMENSIONS_MAX)]
    distance: str
    on_disk: bool | None = None
    datatype: str | None = None
    multivector_config: dict[str, Any] | None = None
    hnsw_config: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | None = None


class Sparse(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A sparse vector of a collection."""

    modifier: str | None = None
    index: dict[str, Any] | None = None


@dataclass(frozen=True)
class Schema:
    """A collection as its client asked for it, less what the engine does not act on."""

    vectors: dict[str, Dense]  # the only one of a plain collection has the empty name
    sparse: dict[str, Sparse]
    hnsw: dict[str, Any]


def read_schema(body: Mapping[str, Any]) -> Schema:
    """The vectors and the graph asked for; what the engine cannot do is refused by name."""
    said = given(body)
    unknown = said.keys() - IGNORED - {"vectors", "sparse_vectors", "hnsw_config"}
    if unknown:
        raise unsupported(min(unknown))
    vectors = said.get("vectors") or {}
    if "size" in vectors:
        vectors = {"": vectors}
    sparse = {name: value or {} for name, value in said.get("sparse_vectors", {}).items()}
    schema = Schema(
        vectors=msgspec.convert(vectors, dict[str, Dense]),
        sparse=msgspec.convert(sparse, dict[str, Sparse]),
        hnsw=HNSW | given(said.get("hnsw_config", {})),
    )
    if not schema.vectors and not schema.sparse:
        raise malformed("neither `vectors` nor `sparse_vectors`; name at least one")
    return schema


def engine_config(schema: Schema, *, index_points_min: int) -> Any:
    """The engine's configuration of a new shard."""
    return engine.EdgeConfig(
        vectors={name: _dense(params) for name, params in schema.vectors.items()} or None,
        sparse_vectors={name: _sparse(params) for name, params in schema.sparse.items()} or None,
        hnsw_config=_hnsw(schema.hnsw),
        optimizers=engine.EdgeOptimizersConfig(
            indexing_threshold=threshold_kib(schema, index_points_min)
        ),
    )


def threshold_kib(schema: Schema, points: int) -> int:
    """The size at which the engine builds a graph: that of so many of the smallest vectors."""
    numbers = min((params.size for params in schema.vectors.values()), default=1)
    return max(1, points * numbers * BYTES_PER_NUMBER // BYTES_PER_KIB)


def _hnsw(settings: Mapping[str, Any]) -> Any:
    try:
        return engine.HnswIndexConfig(**settings)
    except TypeError as error:
        raise unsupported(f"hnsw_config: {error}") from error


def _chosen(table: Mapping[str, Any], name: str, kind: str) -> Any:
    try:
        return table[name]
    except KeyError as error:
        raise unsupported(f"{kind} {name}") from error


def _dense(params: Dense) -> Any:
    if params.quantization_config is not None:
        raise unsupported("quantization_config")
    several = params.multivector_config is not None
    return engine.EdgeVectorParams(
        size=params.size,
        distance=_chosen(DISTANCES, params.distance, "distance"),
        on_disk=params.on_disk,
        multivector_config=MAX_SIM if several else None,
        datatype=_chosen(DATATYPES, params.datatype or "float32", "datatype"),
        hnsw_config=_hnsw(HNSW | given(params.hnsw_config)) if params.hnsw_config else None,
    )


def _sparse(params: Sparse) -> Any:
    modifier = params.modifier or "none"
    return engine.EdgeSparseVectorParams(modifier=_chosen(MODIFIERS, modifier, "modifier"))


def read_index(schema: Any) -> Any:
    """The kind of a payload index: its name alone, or with parameters."""
    body: Mapping[str, Any] = {"type": schema} if isinstance(schema, str) else schema
    if not isinstance(body, dict):
        raise malformed("`field_schema` is a name or an object")
    settings = given(body)
    kind = str(settings.pop("type", "")).capitalize()
    if not settings:
        return _chosen(KINDS, kind, "field_schema")
    parts = {name: READERS.get(name, _same)(value) for name, value in settings.items()}
    try:
        return getattr(engine, f"{kind}IndexParams")(**parts)
    except (AttributeError, TypeError) as error:
        raise unsupported(f"field_schema {kind.lower()}: {error}") from error


def _same(value: Any) -> Any:
    return value


def _member(kind: Any, name: str) -> Any:
    try:
        return getattr(kind, name.capitalize())
    except AttributeError as error:
        raise unsupported(f"{kind.__name__} {name}") from error


def _stopwords(value: Any) -> Any:
    if isinstance(value, str):
        return _member(engine.Language, value)
    languages = {_member(engine.Language, name) for name in value.get("languages") or []}
    return engine.StopwordsSet(languages, set(value.get("custom") or []))


def _stemmer(value: Mapping[str, Any]) -> Any:
    if value.get("type") != "snowball":
        raise unsupported(f"stemmer {value.get('type')}")
    return engine.SnowballParams(_member(engine.SnowballLanguage, value["language"]))


READERS: dict[str, Callable[[Any], Any]] = {
    "tokenizer": lambda name: _member(engine.TokenizerType, name),
    "stopwords": _stopwords,
    "stemmer": _stemmer,
}


def write_indexes(indexes: Mapping[str, Any]) -> dict[str, Any]:
    """The payload indexes as JSON."""
    return {name: _write_index(index) for name, index in indexes.items()}


def _write_index(index: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"data_type": _word(index.data_type), "points": index.points}
    if index.params is not None:
        body["params"] = {"type": body["data_type"], **_settings(index.params)}
    return body


def _settings(params: Any) -> dict[str, Any]:
    """The parameters that are plain values or one word; a list of stop words stays inside."""
    names = [name for name in dir(params) if not name.startswith("_")]
    values = {name: getattr(params, name) for name in names}
    plain = {name: value for name, value in values.items() if isinstance(value, bool | int | str)}
    if values.get("tokenizer") is not None:
        plain["tokenizer"] = _word(values["tokenizer"])
    return plain


def _word(member: Any) -> str:
    """The engine's enumerations have no names but in their text: `PayloadSchemaType.Keyword`."""
    return str(member).rpartition(".")[2].lower()


def write_info(
    body: Mapping[str, Any], info: Any, *, index_points_min: int, optimizing: bool
) -> dict[str, Any]:
    """The description of a collection, complete enough for the strictest client."""
    schema = read_schema(body)
    params = {
        name: body[name] for name in ("vectors", "sparse_vectors") if body.get(name) is not None
    }
    return {
        "status": "yellow" if optimizing else "green",
        "optimizer_status": "ok",
        "segments_count": info.segments_count,
        "points_count": info.points_count,
        "indexed_vectors_count": info.indexed_vectors_count,
        "payload_schema": write_indexes(info.payload_schema),
        "config": {
            "params": params | PARAMS,
            "hnsw_config": schema.hnsw,
            "optimizer_config": OPTIMIZER
            | {"indexing_threshold": threshold_kib(schema, index_points_min)},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            "quantization_config": None,
            "metadata": body.get("metadata"),
        },
    }
