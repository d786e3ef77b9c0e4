"""Tables and indexes as recorded from a fresh stack against those of the stores."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import neo4j

from helix.adapters import clickhouse, postgres, statements
from helix.adapters import neo4j as graph
from helix.settings import Settings
from helix.topology.model import Record
from infra.drift.model import Cure, Cures, Drift, Kind, Things, compared

FOLDER = statements.SQL / "schema"
UNMADE = Cures(missing=Cure.MIGRATE, differing=Cure.MIGRATE, strange=Cure.MIGRATE)
UNRUN = Cures(missing=Cure.BOOTSTRAP, differing=Cure.MIGRATE, strange=Cure.MIGRATE)


class Schema(Record, frozen=True, omit_defaults=True):
    """What a store holds beside data; each text is a definition as the store itself writes it."""

    migrations: dict[str, str]  # number -> digest of the text that ran
    tables: dict[str, dict[str, str]] = {}
    indexes: dict[str, str] = {}


def recorded(store: str, folder: Path = FOLDER) -> Schema:
    """What the migrations of that store make."""
    return msgspec.json.decode((folder / f"{store}.json").read_bytes(), type=Schema)


def record(store: str, schema: Schema, folder: Path = FOLDER) -> Path:
    """Take that for what the migrations make; the file."""
    path = folder / f"{store}.json"
    text = msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2)
    path.write_bytes(text + b"\n")
    return path


def migrations(store: str) -> dict[str, str]:
    """The migrations of the checkout."""
    return _numbered({one.version: one.digest for one in statements.migrations(store)})


def differences(store: str, declared: Schema, live: Schema) -> list[Drift]:
    """Tables, indexes and migrations that one side has otherwise than the other."""
    return [
        *compared(Kind.DDL, declared.tables, live.tables, UNMADE, store=store),
        *compared(Kind.INDEX, _named(declared.indexes), _named(live.indexes), UNMADE, store=store),
        *compared(
            Kind.DDL,
            _named(declared.migrations),
            _named(live.migrations),
            UNRUN,
            store=f"{store} migration",
        ),
    ]


def looking(store: str) -> Callable[[Settings], list[Drift]]:
    """The look at that store; its migrations are declared by their files, not by the record."""

    def look(settings: Settings) -> list[Drift]:
        wanted = msgspec.structs.replace(recorded(store), migrations=migrations(store))
        return differences(store, wanted, STORES[store](settings))

    return look


def of_postgres(settings: Settings) -> Schema:
    """What PostgreSQL has."""
    queries = postgres.queries
    with (
        contextlib.closing(postgres.Session(settings.postgres)) as session,
        session.transaction() as connection,
    ):

        def ask(statement: str) -> list[dict[str, Any]]:
            return connection.execute(statement.encode()).fetchall()

        tables = ask(queries.schema_tables)
        return Schema(
            migrations=_numbered(
                {row["version"]: row["digest"] for row in ask(queries.migrations_applied)}
            ),
            tables=_nested((row["place"], row["part"], row["definition"]) for row in tables),
            indexes={row["name"]: row["definition"] for row in ask(queries.schema_indexes)},
        )


def of_clickhouse(settings: Settings) -> Schema:
    """What ClickHouse has."""
    queries = clickhouse.queries
    with contextlib.closing(clickhouse.Engine(settings.clickhouse)) as engine:
        return Schema(
            migrations=_numbered(dict(map(tuple, engine.rows(queries.migrations_applied)))),
            tables=_nested(map(tuple, engine.rows(queries.schema_tables))),
            indexes=dict(map(tuple, engine.rows(queries.schema_indexes))),
        )


def of_neo4j(settings: Settings) -> Schema:
    """What Neo4j has: a graph has no tables, its constraints stand among the indexes."""
    queries = graph.queries
    with graph.connected(settings.neo4j) as driver:
        ran = _asked(driver, queries.migrations_applied)
        rows = [
            *_asked(driver, queries.schema_constraints),
            *_asked(driver, queries.schema_indexes),
        ]
    return Schema(
        migrations=_numbered({row["version"]: row["digest"] for row in ran}),
        indexes={row["name"]: _definition(row) for row in rows},
    )


def _asked(driver: neo4j.Driver, statement: str) -> list[dict[str, Any]]:
    return [record.data() for record in graph.run(driver, statement)]


def _definition(row: Mapping[str, Any]) -> str:
    told = (
        f"{row['type']} {row['entity']}:{','.join(row['labels'])} ({', '.join(row['properties'])})"
    )
    config = row.get("options", {}).get("indexConfig", {})
    state = row.get("state", "ONLINE")
    options = [f"{name}={config[name]}" for name in sorted(config)]
    return " ".join([told, *options, *([] if state == "ONLINE" else [state])])


def _named(texts: Mapping[str, str]) -> Things:
    """Things of one part that needs no name."""
    return {name: {"": text} for name, text in texts.items()}


def _numbered(digests: Mapping[int, str]) -> dict[str, str]:
    return {f"{version:04}": digest for version, digest in digests.items()}


def _nested(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    for table, part, definition in rows:
        tables.setdefault(table, {})[part] = definition
    return tables


STORES: dict[str, Callable[[Settings], Schema]] = {
    postgres.SERVICE: of_postgres,
    clickhouse.SERVICE: of_clickhouse,
    graph.SERVICE: of_neo4j,
}
