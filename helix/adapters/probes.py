"""Ask a service whether it works, in its own protocol: readiness and health alike.

Each driver is imported by its own probe: the plugin that starts processes would otherwise spend
seconds on drivers it does not use.
"""

import socket
import urllib.error
import urllib.request

from helix.errors import UnavailableError
from helix.topology.model import ProbeKind, Record

ANSWER_BYTES_MAX = 1 << 20  # exporters answer long pages
ANSWER_S_MAX = 2.0


class Check(Record, frozen=True):
    """A probe with address and credentials; `password` may hold a secret reference."""

    service: str
    kind: ProbeKind
    host: str
    port: int
    path: str = ""
    send: str = ""
    expect: str = ""
    user: str = ""
    password: str = ""
    start_s_max: int = 60


def ask(check: Check, *, timeout_s: float = ANSWER_S_MAX) -> str:
    """What was done and what came back; `UnavailableError` naming the service and the reason."""
    try:
        return _ASK[check.kind](check, timeout_s)
    except OSError as error:
        raise _away(check, error) from error


def _away(check: Check, reason: object) -> UnavailableError:
    first, *_ = [*str(reason).strip().splitlines(), type(reason).__name__]
    at = f"{check.host}:{check.port}"
    return UnavailableError(check.service, f"`{check.service}` at {at}: {first}", address=at)


def _expected(check: Check, answer: str) -> str:
    if check.expect not in answer:
        start = " ".join(answer.split())[:120]
        raise _away(check, f"expected `{check.expect}`, got `{start}`")
    return check.expect or "well"


def _http(check: Check, timeout_s: float) -> str:
    url = f"http://{check.host}:{check.port}{check.path}"
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            body = answer.read(ANSWER_BYTES_MAX).decode(errors="replace")
    except urllib.error.HTTPError as error:
        raise _away(check, f"GET {check.path} answered {error.code}") from error
    return f"GET {check.path} answered {_expected(check, body)}"


def _text(check: Check, timeout_s: float) -> str:
    with socket.create_connection((check.host, check.port), timeout=timeout_s) as wire:
        if check.send:
            wire.sendall(check.send.encode())
        answer = wire.recv(ANSWER_BYTES_MAX).decode(errors="replace") if check.expect else ""
    said = "".join(letter for letter in check.send if letter.isprintable()).strip()
    return f"sent `{said}`, answered {_expected(check, answer)}"


def _postgres(check: Check, timeout_s: float) -> str:
    import psycopg  # noqa: PLC0415 - see the module

    try:
        with psycopg.connect(
            host=check.host,
            port=check.port,
            user=check.user,
            password=check.password,
            dbname=check.path,
            connect_timeout=max(2, int(timeout_s)),  # libpq knows no shorter one
        ) as connection:
            row = connection.execute("SELECT 1").fetchone()
    except psycopg.Error as error:
        raise _away(check, error) from error
    return f"SELECT 1 answered {row[0] if row else _expected(check, '')}"


def _redis(check: Check, timeout_s: float) -> str:
    import redis  # noqa: PLC0415 - see the module
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    try:
        with redis.Redis(
            host=check.host,
            port=check.port,
            password=check.password or None,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # one question, one answer
        ) as client:
            answer = "PONG" if client.ping() else ""
    except redis.RedisError as error:
        raise _away(check, error) from error
    return f"PING answered {_expected(check, answer)}"


def _kafka(check: Check, timeout_s: float) -> str:
    import confluent_kafka.admin  # noqa: PLC0415 - see the module

    admin = confluent_kafka.admin.AdminClient(
        {
            "bootstrap.servers": f"{check.host}:{check.port}",
            "socket.timeout.ms": int(timeout_s * 1000),
            "log_level": 0,  # a broker that is away is this function's answer, not a log line
        },
        logger=None,
    )
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except confluent_kafka.KafkaException as error:
        raise _away(check, error) from error
    if metadata.controller_id < 0:
        raise _away(check, "no controller elected yet")
    return f"metadata: {len(metadata.brokers)} broker(s), {len(metadata.topics)} topics"


def _bolt(check: Check, timeout_s: float) -> str:
    import neo4j  # noqa: PLC0415 - see the module
    import neo4j.exceptions  # noqa: PLC0415

    try:
        with neo4j.GraphDatabase.driver(
            f"bolt://{check.host}:{check.port}",
            auth=(check.user, check.password),
            connection_timeout=timeout_s,
            max_transaction_retry_time=0,
        ) as driver:
            driver.verify_connectivity()
            records, _, _ = driver.execute_query("RETURN 1 AS one")
    except (neo4j.exceptions.Neo4jError, neo4j.exceptions.DriverError) as error:
        raise _away(check, error) from error
    return f"RETURN 1 answered {records[0]['one']}"


_ASK = {
    ProbeKind.HTTP: _http,
    ProbeKind.TEXT: _text,
    ProbeKind.POSTGRES: _postgres,
    ProbeKind.REDIS: _redis,
    ProbeKind.KAFKA: _kafka,
    ProbeKind.BOLT: _bolt,
}
