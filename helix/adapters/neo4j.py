"""The graph in Neo4j: its schema."""

import contextlib
from collections.abc import Generator
from typing import Any, LiteralString, cast

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from helix.adapters import statements, trust
from helix.errors import UnavailableError
from helix.settings import Neo4j

SERVICE = "neo4j"
CONNECT_S_MAX = 5.0

queries = statements.load(SERVICE)


def encrypted(ca: str) -> dict[str, Any]:
    """What the driver is told so that it talks to a server of that authority alone."""
    if not ca:
        return {}
    return {"encrypted": True, "trusted_certificates": neo4j.TrustCustomCAs(ca)}


@contextlib.contextmanager
def connected(settings: Neo4j) -> Generator[neo4j.Driver]:
    """A driver; a server that is away or refuses becomes `UnavailableError`."""
    try:
        with neo4j.GraphDatabase.driver(
            f"bolt://{settings.host}:{settings.port}",
            auth=(settings.user, settings.password.reveal()),
            connection_timeout=CONNECT_S_MAX,
            max_transaction_retry_time=CONNECT_S_MAX,
            notifications_min_severity="OFF",  # a fresh graph knows no property names yet
            **encrypted(settings.ca),
        ) as driver:
            driver.verify_connectivity()  # a query would try a refused certificate again and again
            yield driver
    except (DriverError, Neo4jError) as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error


def migrate(settings: Neo4j) -> list[str]:
    """The names of the migrations that ran now; every statement may be run again after a crash."""
    with connected(settings) as driver:
        run(driver, queries.migrations_create)
        rows = run(driver, queries.migrations_applied)
        applied = {int(row["version"]): str(row["digest"]) for row in rows}
        wanted = statements.migrations(SERVICE)
        return statements.carry_out(
            statements.outstanding(wanted, applied, store=SERVICE),
            lambda text: run(driver, text),
            record=lambda row: run(driver, queries.migration_record, **row),
        )


def run(
    driver: neo4j.Driver, statement: str, database: str | None = None, /, **values: object
) -> list[neo4j.Record]:
    """Every record that one of our statements answers with; of the graph, or of that database."""
    # Statements are files of ours, which the type checker cannot see to be literal.
    text = cast("LiteralString", statement)
    records, _, _ = driver.execute_query(text, parameters_=values, database_=database)
    return records
