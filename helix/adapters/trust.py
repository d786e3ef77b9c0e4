"""Whom our clients trust, and what it means when one of both sides is refused.

`ca` is the path of an authority's certificate in PEM. Empty, everything is as plain as on loopback.
"""

import re
import ssl
from typing import Any

from helix.errors import TopologyError

REASON_CHARS_MAX = 300
CHAIN_MAX = 8  # errors inside errors: retries inside a pool inside a client
NOT_HERE = "its certificate is for another host"
EXPIRED = "its certificate has expired"
NOT_SIGNED = "its certificate is not signed by the authority that `ca` names"
NOT_OURS = "it refuses our certificate, or misses one"
PLAIN = "it does not speak TLS on this port"
REFUSED = "credentials refused"
# What libraries say, the most telling first: no two of them have an exception in common.
SIGNS = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"hostname mismatch|ip address mismatch|does not match host ?name", NOT_HERE),
        (r"certificate has expired", EXPIRED),
        (r"certificate.verify.failed|unable to get local issuer", NOT_SIGNED),
        (r"alert (certificate required|bad certificate|unknown ca|handshake failure)", NOT_OURS),
        (r"wrong.version.number|record.layer.failure|server does not support ssl", PLAIN),
        (r"password authentication failed|no pg_hba\.conf entry", REFUSED),  # PostgreSQL
        (r"wrongpass|noauth|invalid username-password", REFUSED),  # Redis
        (r"authentication fail|authentication_failed", REFUSED),  # Kafka, ClickHouse
        (r"neo\.clienterror\.security", REFUSED),  # Neo4j
        (r"accessdenied|invalidaccesskeyid|signaturedoesnotmatch", REFUSED),  # S3
        (r"401 \(?unauthorized", REFUSED),  # over HTTP
    )
)


def context(ca: str, *, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """TLS 1.2 or later to servers of that authority alone, showing the own certificate if given."""
    try:
        found = ssl.create_default_context(cafile=ca)
        found.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            found.load_cert_chain(certificate, key or None)
    except OSError as error:
        paths = ", ".join(f"`{path}`" for path in (ca, certificate, key) if path)
        raise TopologyError(
            f"no certificates can be read from {paths}: {error}: check the paths in the settings"
        ) from error
    return found


def verified(ca: str) -> ssl.SSLContext | bool:
    """What httpx takes as `verify`."""
    return context(ca) if ca else True


def scheme(ca: str) -> str:
    """How an address over HTTP begins."""
    return "https" if ca else "http"


def libpq(ca: str) -> dict[str, Any]:
    """What PostgreSQL's clients are told so that they talk to a server of that authority alone."""
    return {"sslmode": "verify-full", "sslrootcert": ca} if ca else {}


def redis(ca: str) -> dict[str, Any]:
    """The same for Redis' client."""
    return {"ssl": True, "ssl_ca_certs": ca, "ssl_check_hostname": True} if ca else {}


def clickhouse(ca: str) -> dict[str, Any]:
    """The same for ClickHouse's client."""
    return {"interface": "https", "ca_cert": ca} if ca else {}


def told(error: object) -> str:
    """An error's first line, led by what it means where a certificate or a password is refused."""
    whole = "\n".join(_chain(error))
    for sign, meaning in SIGNS:
        if sign.search(whole):
            return f"{meaning}: {first(error)}"
    return first(error)


def first(error: object) -> str:
    """An error's first line, or its kind where it has none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:REASON_CHARS_MAX]


def _chain(error: object) -> list[str]:
    """What the error says and those it was made from, outermost first."""
    said: list[str] = []
    for _ in range(CHAIN_MAX):
        said.append(str(error))
        if not isinstance(error, BaseException):
            break
        error = error.__cause__ or error.__context__
        if error is None:
            break
    return said
