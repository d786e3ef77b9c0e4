"""Who may call, and how often: verified tokens, request limits, browsers, and the key command."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms
from litestar import Litestar
from litestar.exceptions import NotAuthorizedException
from litestar.testing import TestClient

from controlplane import keys
from controlplane.app import create
from controlplane.health import Monitor, Probes
from controlplane.jwts import KEYS_FRESH_S, PAUSE_S, Issuer, Tokens, looks_like_jwt
from helix.adapters import fakes
from helix.adapters.redis import BLOCK, WINDOW_S, Limits
from helix.errors import UnavailableError
from helix.ports import Credential
from helix.settings import Http, Jwt, Settings
from helix.topology.catalog import CATALOG
from tests.unit.api import refused

AUTH = {"Authorization": "Bearer all"}
BOTH = frozenset({"read", "write"})
SETTINGS = Jwt(jwks_url="https://issuer.test/keys", issuer="https://issuer.test", audience="helix")
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE: dict[str, Any] = {"ES256": EC, "EdDSA": ED, "RS256": RSA}
MAKERS: dict[str, Any] = {
    "ES256": algorithms.ECAlgorithm,
    "EdDSA": algorithms.OKPAlgorithm,
    "RS256": algorithms.RSAAlgorithm,
}


def published(*names: str) -> bytes:
    """The issuer's document with those keys, each named by its algorithm."""
    rows = [
        {**MAKERS[name].to_jwk(PRIVATE[name].public_key(), as_dict=True), "kid": name}
        for name in names
    ]
    return json.dumps({"keys": rows}).encode()


def token(algorithm: str = "ES256", *, kid: str | None = None, **claims: object) -> str:
    now = datetime.now(UTC)  # noqa: TID251 - what the library compares with
    whole = {
        "sub": "alice",
        "tenant": "acme",
        "scope": "read write fly",
        "iss": SETTINGS.issuer,
        "aud": SETTINGS.audience,
        "exp": now + timedelta(minutes=5),
        **claims,
    }
    given = {name: value for name, value in whole.items() if value is not None}
    headers = {"kid": kid or algorithm}
    return jwt.encode(given, PRIVATE[algorithm], algorithm=algorithm, headers=headers)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tokens(*names: str) -> Tokens:
    async def fetch() -> bytes:
        return published(*names)

    return Tokens(SETTINGS, Issuer(fetch))


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_token_of_the_issuer_speaks_for_its_tenant(algorithm: str) -> None:
    found = asyncio.run(tokens("ES256", "EdDSA", "RS256").credential(token(algorithm)))

    assert found == Credential("jwt:alice", "acme", BOTH)


def test_scopes_may_come_as_a_list_and_unknown_ones_are_ignored() -> None:
    found = asyncio.run(tokens("ES256").credential(token(scope=["read", 5, "fly"])))

    assert found.scopes == {"read"}


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "exp"),
        ({"iss": "https://else.test"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"aud": "else"}, "Audience"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"tenant": None}, "`tenant`"),
        ({"tenant": ""}, "`tenant`"),
        ({"tenant": 5}, "`tenant`"),
        ({"tenant": "x" * 201}, "`tenant`"),
        ({"tenant": "a\x00b"}, "NUL"),
        ({"nbf": 4_000_000_000}, "not yet valid"),
    ],
)
def test_a_token_that_claims_too_little_is_refused(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotAuthorizedException, match=reason):
        asyncio.run(tokens("ES256").credential(token(**claims)))


def test_a_token_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(NotAuthorizedException, match="not among those"):
        asyncio.run(tokens("EdDSA").credential(token("ES256")))


def test_a_token_signed_by_another_key_of_that_name_is_refused() -> None:
    with pytest.raises(NotAuthorizedException):
        asyncio.run(tokens("ES256", "EdDSA").credential(token("EdDSA", kid="ES256")))


@pytest.mark.parametrize(
    "given",
    [
        jwt.encode({"sub": "a"}, "s" * 32, algorithm="HS256", headers={"kid": "ES256"}),
        jwt.encode({"sub": "a"}, "", algorithm="none", headers={"kid": "ES256"}),
        "a.b.c",
        "..",
    ],
)
def test_no_other_algorithm_is_trusted(given: str) -> None:
    assert looks_like_jwt(given)
    with pytest.raises(NotAuthorizedException):
        asyncio.run(tokens("ES256").credential(given))


def test_a_new_key_of_the_issuer_is_fetched_but_not_for_every_token() -> None:
    clock, asked, names = Clock(), list[float](), ["ES256"]

    async def fetch() -> bytes:
        asked.append(clock.now)
        return published(*names)

    async def act() -> None:
        issuer = Issuer(fetch, clock)
        assert await issuer.key("ES256") is not None
        assert await issuer.key("EdDSA") is None
        names.append("EdDSA")
        clock.now += PAUSE_S
        assert await issuer.key("EdDSA") is not None
        assert await issuer.key("nobody") is None

    asyncio.run(act())
    assert asked == [1000.0, 1000.0 + PAUSE_S]


def test_the_last_keys_go_on_while_the_issuer_is_away() -> None:
    clock, answers = Clock(), [published("ES256"), b"no json", b"[]"]

    async def fetch() -> bytes:
        return answers.pop(0)

    async def act() -> None:
        issuer = Issuer(fetch, clock)
        for _ in range(3):
            assert await issuer.key("ES256") is not None
            clock.now += KEYS_FRESH_S + 1

    asyncio.run(act())
    assert not answers


def test_an_issuer_that_never_answered_is_unavailable() -> None:
    async def fetch() -> bytes:
        return b""

    with pytest.raises(UnavailableError, match="JWKS_URL"):
        asyncio.run(Tokens(SETTINGS, Issuer(fetch)).credential(token()))


class Server:
    """Stands for the shared counter: gives blocks, counts questions, or is away."""

    def __init__(self, *, left_ms: int = 30_000) -> None:
        self.used: dict[str, int] = {}
        self.asked = 0
        self.away = False
        self.left_ms = left_ms

    async def lease(self, key: str, limit: int, block: int) -> tuple[int, int, int]:
        self.asked += 1
        if self.away:
            raise UnavailableError("redis")
        used = self.used.get(key, 0)
        given = max(0, min(block, limit - used))
        self.used[key] = used + given
        return given, limit - used - given, self.left_ms


def taken(limits: Limits, count: int, *, limit: int) -> list[bool]:
    async def act() -> list[bool]:
        return [(await limits.take("k", limit=limit)).allowed for _ in range(count)]

    return asyncio.run(act())


def test_two_processes_together_never_let_in_more_than_the_limit() -> None:
    server, clock = Server(), Clock()
    one, two = Limits(server.lease, clock), Limits(server.lease, clock)

    let_in = sum(taken(one, 300, limit=1000) + taken(two, 2000, limit=1000))
    let_in += sum(taken(one, 2000, limit=1000))

    assert let_in == 1000
    assert server.asked <= 1000 / BLOCK + 2


def test_most_requests_ask_nobody() -> None:
    server = Server()

    taken(Limits(server.lease, Clock()), 6000, limit=6000)

    assert server.asked == 6000 / BLOCK


def test_small_limits_are_exact() -> None:
    assert sum(taken(Limits(Server().lease, Clock()), 10, limit=3)) == 3


def test_a_new_minute_begins_anew() -> None:
    server, clock = Server(), Clock()
    limits = Limits(server.lease, clock)
    before = taken(limits, 5, limit=3)
    clock.now += 31
    server.used.clear()

    assert before == [True, True, True, False, False]
    assert taken(limits, 4, limit=3) == [True, True, True, False]


def test_without_the_server_each_process_counts_alone() -> None:
    server, clock = Server(), Clock()
    server.away = True
    limits = Limits(server.lease, clock)

    assert sum(taken(limits, 50, limit=20)) == 20
    clock.now += WINDOW_S
    assert sum(taken(limits, 50, limit=20)) == 20


def test_a_server_that_goes_away_opens_no_second_minute() -> None:
    server = Server()
    limits = Limits(server.lease, Clock())
    before = taken(limits, 15, limit=20)
    server.away = True

    assert sum(before) + sum(taken(limits, 50, limit=20)) == 20


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    world = fakes.world(
        {hashlib.sha256(b"all").hexdigest(): Credential("k", "acme", BOTH)},
    )
    http = Http(requests_per_min_max=5, cors_origins="https://app.test, https://b.test")
    settings = msgspec.structs.replace(Settings(), http=http)
    app = create(replace(world), settings, CATALOG, Monitor([], world.clock, Probes()))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_every_answer_says_what_is_left_and_the_next_is_refused(
    client: TestClient[Litestar],
) -> None:
    answers = [client.get("/v1/topology", headers=AUTH) for _ in range(6)]

    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == list("432100")
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"5"}
    assert refused(answers[-1], 429, "RATE_LIMIT_EXCEEDED")
    assert answers[-1].headers["Retry-After"] == answers[-1].headers["X-RateLimit-Reset"]
    assert client.get("/livez").status_code == 200


def test_guessing_keys_is_limited_by_address(client: TestClient[Litestar]) -> None:
    answers = [
        client.get("/v1/topology", headers={"Authorization": f"Bearer guess-{number}"})
        for number in range(6)
    ]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


def test_a_browser_of_a_named_origin_may_ask(client: TestClient[Litestar]) -> None:
    asking = {"Origin": "https://app.test", "Access-Control-Request-Method": "POST"}
    preflight = client.options("/v1/conversations", headers=asking)
    answer = client.get("/v1/topology", headers={**AUTH, "Origin": "https://app.test"})
    stranger = client.get("/v1/topology", headers={**AUTH, "Origin": "https://evil.test"})

    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.test"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.test"
    assert "X-RateLimit-Limit" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_a_key_says_which_it_is_and_nothing_more() -> None:
    key, credential = keys.made("acme", BOTH, "importer")

    shown = key.split("_")[1]
    assert credential == Credential(f"importer-{shown}", "acme", BOTH)
    assert len(key) > 40


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["issue"], "--tenant"),
        (["issue", "--tenant", "acme", "--scopes", "fly"], "fly"),
        (["issue", "--tenant", "acme", "--scopes", ""], "choose from read"),
        (["issue", "--tenant", "a\x00b"], "printable"),
        (["issue", "--tenant", "acme", "--name", "x" * 65], "printable"),
        (["revoke", "--tenant", "acme"], "KEY_ID"),
    ],
)
def test_a_wrong_key_command_says_what_is_wrong(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(keys.keys, arguments, obj=Settings())

    assert result.exit_code == 2
    assert said in result.output
