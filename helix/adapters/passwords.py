"""Passwords a server keeps in its data: it has to be told another one while the old opens it.

Each function raises `UnavailableError` when the server is away or refuses the password it has in
its settings. To be told the password it already has changes nothing.
"""

import urllib.parse

import psycopg
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from helix.adapters import kafka, neo4j, postgres, rabbitmq
from helix.settings import Kafka, Neo4j, Postgres, Rabbitmq

SCRAM_ITERATIONS = 4096  # the least that Kafka takes, and what its own tools make


def change_kafka(settings: Kafka, user: str, password: str) -> None:
    """The SCRAM credential of a user of the log, for every broker."""
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    change = UserScramCredentialUpsertion(user, info, password.encode())
    with kafka.Admin(settings).asked() as admin:
        answers = admin.alter_user_scram_credentials([change], request_timeout=kafka.ANSWER_S_MAX)
        answers[user].result()


def change_postgres(settings: Postgres, password: str) -> None:
    """The role's own; only what verifies it crosses the wire."""
    with postgres.reporting(), psycopg.connect(postgres.conninfo(settings)) as connection:
        connection.pgconn.change_password(settings.user.encode(), password.encode())


def change_neo4j(settings: Neo4j, password: str) -> None:
    """The user's own."""
    old = settings.password.reveal()
    with neo4j.connected(settings) as driver:
        if old != password:  # which the server would refuse
            change = neo4j.queries.password_change
            neo4j.run(driver, change, "system", old=old, new=password)


def change_rabbitmq(settings: Rabbitmq, password: str) -> None:
    """The user's own; its tags stay."""
    with rabbitmq.asked(settings) as client:
        path = f"/api/users/{urllib.parse.quote(settings.user, safe='')}"
        tags = client.get(path).raise_for_status().json()["tags"]
        client.put(path, json={"password": password, "tags": tags}).raise_for_status()
