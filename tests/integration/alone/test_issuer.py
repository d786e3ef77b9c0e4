"""An issuer's keys over real HTTP: asked for, cached, and done without while it is away."""

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from controlplane.jwts import tokens
from helix.errors import UnavailableError
from helix.settings import Jwt

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEYS = {"keys": [{**ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True), "kid": "one"}]}


@contextmanager
def issuer() -> Generator[str]:
    """The address of an issuer with one key, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(KEYS).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        server.server_close()


def token() -> str:
    expires = datetime.now(UTC) + timedelta(minutes=5)  # noqa: TID251 - what the library compares with
    claims = {"sub": "alice", "tenant": "acme", "scope": "read", "exp": expires}
    return jwt.encode(claims, PRIVATE, algorithm="ES256", headers={"kid": "one"})


def test_a_token_is_verified_by_the_keys_its_issuer_publishes() -> None:
    with issuer() as url:
        verifier = tokens(Jwt(jwks_url=url))
        assert verifier is not None
        found = asyncio.run(verifier.credential(token()))

    assert (found.tenant, found.scopes) == ("acme", frozenset({"read"}))


def test_keys_once_fetched_outlive_their_issuer() -> None:
    async def twice() -> str:
        with issuer() as url:
            verifier = tokens(Jwt(jwks_url=url))
            assert verifier is not None
            await verifier.credential(token())
        return (await verifier.credential(token())).tenant

    assert asyncio.run(twice()) == "acme"


def test_an_issuer_that_never_answered_is_named() -> None:
    with issuer() as url:
        gone = url
    verifier = tokens(Jwt(jwks_url=gone))
    assert verifier is not None

    with pytest.raises(UnavailableError, match="JWKS_URL"):
        asyncio.run(verifier.credential(token()))
