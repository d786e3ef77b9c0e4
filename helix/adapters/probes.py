"""Ask a service whether it works, in its own protocol: readiness and health alike.

`python -m helix.adapters.probes http ADDRESS PATH EXPECT [--ca FILE]` asks from a container.

Each driver is imported by its own probe: the plugin that starts processes would otherwise spend
seconds on drivers it does not use.
"""

import argparse
import http.client
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus

from helix.adapters import trust
from helix.errors import TopologyError, UnavailableError
from helix.topology.model import ProbeKind, Record

ANSWER_BYTES_MAX = 1 << 20  # exporters answer long pages
ANSWER_S_MAX = 2.0
REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Check(Record, frozen=True):
    """A probe with address and credentials; `password` may hold a secret reference.

    `ca`, `certificate` and `key` are paths: without `ca` the service is asked in plain, and what it
    is shown is `certificate`. Over HTTP a `password` is a bearer token.
    """

    service: str
    kind: ProbeKind
    host: str
    port: int
    path: str = ""
    send: str = ""
    expect: str = ""
    user: str = ""
    password: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    start_s_max: int = 60


def ask(check: Check, *, timeout_s: float = ANSWER_S_MAX) -> str:
    """What was done and what came back; `UnavailableError` naming the service and the reason."""
    try:
        return _ASK[check.kind](check, timeout_s)
    except (OSError, http.client.HTTPException, TopologyError) as error:
        raise _away(check, error) from error


def _away(check: Check, reason: object) -> UnavailableError:
    why = reason if isinstance(reason, str) else trust.told(reason)
    at = f"{check.host}:{check.port}"
    return UnavailableError(check.service, f"`{check.service}` at {at}: {why}", address=at)


def _context(check: Check) -> ssl.SSLContext | None:
    if not check.ca:
        return None
    return trust.context(check.ca, certificate=check.certificate, key=check.key)


def _expected(check: Check, answer: str) -> str:
    if check.expect not in answer:
        start = " ".join(answer.split())[:120]
        raise _away(check, f"expected `{check.expect}`, got `{start}`")
    return check.expect or "well"


def _http(check: Check, timeout_s: float) -> str:
    url = f"{trust.scheme(check.ca)}://{check.host}:{check.port}{check.path}"
    headers = {"Authorization": f"Bearer {check.password}"} if check.password else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - built above
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=_context(check)) as answer:  # noqa: S310 - as above
            body = answer.read(ANSWER_BYTES_MAX).decode(errors="replace")
    except urllib.error.HTTPError as error:
        error.close()
        refused = f"{trust.REFUSED}: " if error.code in REFUSALS else ""
        raise _away(check, f"{refused}GET {check.path} answered {error.code}") from error
    return f"GET {check.path} answered {_expected(check, body)}"


def _wire(check: Check, timeout_s: float) -> socket.socket:
    plain = socket.create_connection((check.host, check.port), timeout=timeout_s)
    try:
        context = _context(check)
        return context.wrap_socket(plain, server_hostname=check.host) if context else plain
    except BaseException:
        plain.close()
        raise


def _text(check: Check, timeout_s: float) -> str:
    with _wire(check, timeout_s) as wire:
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
            **trust.libpq(check.ca),
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
            **trust.redis(check.ca),
        ) as client:
            answer = "PONG" if client.ping() else ""
    except redis.RedisError as error:
        raise _away(check, error) from error
    return f"PING answered {_expected(check, answer)}"


def _kafka(check: Check, timeout_s: float) -> str:
    from helix.adapters import kafka  # noqa: PLC0415 - see the module
    from helix.settings import Kafka, Secret  # noqa: PLC0415

    settings = Kafka(
        bootstrap=f"{check.host}:{check.port}",
        user=check.user,
        password=Secret(check.password),
        ca=check.ca,
    )
    try:
        with kafka.Admin(settings, answer_s_max=timeout_s).asked() as admin:
            metadata = admin.list_topics(timeout=timeout_s)
    except UnavailableError as error:
        raise _away(check, error.message.removeprefix(kafka.AWAY)) from error
    if metadata.controller_id < 0:
        raise _away(check, "no controller elected yet")
    return f"metadata: {len(metadata.brokers)} broker(s), {len(metadata.topics)} topics"


def _bolt(check: Check, timeout_s: float) -> str:
    import neo4j  # noqa: PLC0415 - see the module
    import neo4j.exceptions  # noqa: PLC0415

    from helix.adapters.neo4j import encrypted  # noqa: PLC0415

    try:
        with neo4j.GraphDatabase.driver(
            f"bolt://{check.host}:{check.port}",
            auth=(check.user, check.password),
            connection_timeout=timeout_s,
            max_transaction_retry_time=0,
            **encrypted(check.ca),
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


def main(arguments: Sequence[str]) -> int:
    """Exit 0 and what was answered, or 1 and why there was no such answer."""
    parser = argparse.ArgumentParser(prog="python -m helix.adapters.probes")
    parser.add_argument("kind", choices=[ProbeKind.HTTP.value])
    parser.add_argument("address", metavar="ADDRESS", help="host:port")
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("expect", metavar="EXPECT", help="what the answer must hold")
    parser.add_argument("--ca", default="", metavar="FILE", help="its authority; plain without")
    given = parser.parse_args(arguments)
    host, _, port = given.address.rpartition(":")
    check = Check(
        service=given.address,
        kind=ProbeKind(given.kind),
        host=host,
        port=int(port),
        path=given.path,
        expect=given.expect,
        ca=given.ca,
    )
    try:
        sys.stdout.write(f"{ask(check)}\n")
    except UnavailableError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
