"""Facts of bootstrap and of the schemas it applies."""

import re

import pytest

from helix.adapters import statements
from helix.adapters.topics import topic_config
from helix.errors import TopologyError, UnavailableError
from helix.settings import Settings
from helix.topology.catalog import CATALOG
from helix.topology.model import Store
from runtime import bootstrap

CREATE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)")


@pytest.mark.parametrize("store", list(Store))
def test_the_catalogues_tables_are_what_the_migrations_create(store: Store) -> None:
    migrated = [text for step in statements.migrations(store) for text in step.statements]
    queries = statements.load(store)

    created = CREATE.findall("\n".join([queries.migrations_create, *migrated]))
    assert sorted(created) == sorted(t.name for t in CATALOG.tables if t.store == store)


@pytest.mark.parametrize("store", ["postgres", "clickhouse", "neo4j"])
def test_migrations_are_numbered_without_a_gap(store: str) -> None:
    versions = [migration.version for migration in statements.migrations(store)]

    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.parametrize("store", ["clickhouse", "neo4j"])
def test_stores_without_transactions_can_run_every_statement_twice(store: str) -> None:
    texts = [text for step in statements.migrations(store) for text in step.statements]

    repeatable = ("IF NOT EXISTS", "insert_deduplication_token")
    assert all(any(word in text for word in repeatable) for text in texts)


def test_an_edited_migration_is_refused() -> None:
    wanted = statements.migrations("postgres")

    with pytest.raises(TopologyError, match="0001_states"):
        statements.outstanding(wanted, {1: "another digest"}, store="postgres")


def test_a_migration_that_ran_is_not_outstanding() -> None:
    wanted = statements.migrations("postgres")
    applied = {migration.version: migration.digest for migration in wanted}

    assert statements.outstanding(wanted, applied, store="postgres") == []


def test_an_unknown_statement_is_named() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = statements.load("postgres").no_such_thing


def test_each_step_tells_what_it_changed() -> None:
    told: list[str] = []
    steps = (
        bootstrap.Step("one", "kafka", lambda _: ["made a"]),
        bootstrap.Step("two", "postgres", lambda _: []),
    )

    bootstrap.run(Settings(), told=told.append, steps=steps)

    assert told == ["one: made a", "two: nothing to change"]


def test_a_store_that_stays_away_ends_bootstrap_with_its_name() -> None:
    def away(_: Settings) -> list[str]:
        raise UnavailableError("kafka")

    told: list[str] = []
    steps = (bootstrap.Step("topics", "kafka", away),)
    with pytest.raises(UnavailableError, match="topics: gave up") as error:
        bootstrap.run(Settings(), told=told.append, steps=steps, wait_s_max=0)

    assert error.value.service == "kafka"


def test_a_topic_without_retention_is_compacted() -> None:
    topics = {topic.name: topic_config(topic, brokers=3) for topic in CATALOG.topics}

    assert topics["helixagent.memory.snapshots"]["cleanup.policy"] == "compact"
    assert topics["helixagent.conversations"]["retention.ms"] == str(365 * 86_400_000)
    assert topics["helixagent.conversations"]["min.insync.replicas"] == "2"
