"""A shell on a store of a running stack: `psql` itself, or one question to ClickHouse or Neo4j."""

import os
import shutil
from collections.abc import Mapping, Sequence

import neo4j
from rich.console import Console
from rich.table import Table

from helix.adapters import clickhouse, trust
from helix.adapters.neo4j import connected
from helix.errors import InvalidError
from helix.settings import Settings


def psql(settings: Settings, env: Mapping[str, str], words: Sequence[str]) -> None:
    """Becomes PostgreSQL's own shell."""
    if shutil.which("psql") is None:
        raise InvalidError("`psql` is not on PATH: install `postgresql-client`")
    store = settings.postgres
    place = {
        **{f"PG{name.upper()}": value for name, value in trust.libpq(store.ca).items()},
        "PGHOST": store.host,
        "PGPORT": str(store.port),
        "PGUSER": store.user,
        "PGDATABASE": store.database,
        "PGPASSWORD": store.password.reveal(),
    }
    os.execvpe("psql", ["psql", *(("-c", words[0]) if words else ())], {**env, **place})


def ch(settings: Settings, _: Mapping[str, str], words: Sequence[str]) -> None:
    """ClickHouse's answer to one statement."""
    store = settings.clickhouse
    with clickhouse.reporting(), clickhouse.connect(store, store.database) as client:
        answer = client.query(_question(words, "ch", "SHOW TABLES"))
        _show(answer.column_names, answer.result_rows)


def cypher(settings: Settings, _: Mapping[str, str], words: Sequence[str]) -> None:
    """Neo4j's answer to one statement."""
    with connected(settings.neo4j) as driver:
        # The driver asks for text known when the code is written; this text is the user's own.
        query = neo4j.Query(_question(words, "cypher", "RETURN 1"))  # pyright: ignore[reportArgumentType]
        records, _summary, keys = driver.execute_query(query)
        _show(keys, [record.values() for record in records])


def _question(words: Sequence[str], command: str, example: str) -> str:
    if not words:
        raise InvalidError(f'nothing was asked: `make {command} Q="{example}"`')
    return words[0]


def _show(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    Console(highlight=False).print(table)


SHELLS = {"psql": psql, "ch": ch, "cypher": cypher}
