"""Tokens of somebody else's making (JWT): verified against the keys their issuer publishes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt
import msgspec
from litestar.exceptions import NotAuthorizedException

from helix.errors import UnavailableError
from helix.ports import Credential
from helix.settings import Jwt

ALGORITHMS = ("RS256", "ES256", "EdDSA")
SCOPES = frozenset({"read", "write", "analytics", "admin"})
TOKEN_CHARACTERS_MAX = 8192
TENANT_CHARACTERS_MAX = 200
LEEWAY_S = 30
KEYS_FRESH_S = 600.0
KEYS_STALE_S_MAX = 86_400.0  # while the issuer does not answer, its last keys go on
PAUSE_S = 10.0  # between two questions to the issuer, whatever tokens ask for
FETCH_S_MAX = 5.0
ISSUER = "jwks"

Fetch = Callable[[], Awaitable[bytes]]


def looks_like_jwt(token: str) -> bool:
    """Whether it has the three parts of a JWT; keys of ours have no dots."""
    return token.count(".") == 2  # noqa: PLR2004 - header.claims.signature


def fetching(url: str) -> Fetch:
    """Ask the issuer for its keys, each time anew."""

    async def fetch() -> bytes:
        async with httpx.AsyncClient(timeout=FETCH_S_MAX) as client:
            response = await client.get(url)
            response.raise_for_status()
            return response.content

    return fetch


class Published(msgspec.Struct, frozen=True):
    """The document of an issuer."""

    keys: list[dict[str, Any]]


class Issuer:
    """The issuer's keys by their id, asked for when they are old or one is missing."""

    def __init__(self, fetch: Fetch, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def key(self, name: str) -> jwt.PyJWK | None:
        """The key of that id; `UnavailableError` while the issuer gives none at all."""
        if name not in self._keys or self._age_s() > KEYS_FRESH_S:
            async with self._lock:
                await self._refresh(name)
        return self._keys.get(name)

    async def _refresh(self, name: str) -> None:
        now = self._monotonic()
        fresh = name in self._keys and self._age_s() <= KEYS_FRESH_S
        if fresh or now - self._asked_at < PAUSE_S:
            return
        self._asked_at = now
        try:
            rows = msgspec.json.decode(await self._fetch(), type=Published).keys
            published = jwt.PyJWKSet(rows)
        except (httpx.HTTPError, jwt.PyJWTError, msgspec.DecodeError) as error:
            if self._age_s() > KEYS_STALE_S_MAX:
                self._keys.clear()
                reason = f"`{ISSUER}` gave no keys: {error}: check `HELIX__JWT__JWKS_URL`"
                raise UnavailableError(ISSUER, reason) from error
            return
        self._keys = {key.key_id or "": key for key in published.keys}
        self._fetched_at = self._monotonic()

    def _age_s(self) -> float:
        return self._monotonic() - self._fetched_at


class Tokens:
    """Who a token speaks for."""

    def __init__(self, settings: Jwt, issuer: Issuer) -> None:
        self._settings = settings
        self._issuer = issuer

    async def credential(self, token: str) -> Credential:
        """The token's tenant and scopes; 401 saying why where it is not to be trusted."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._issuer.key(str(header.get("kid", "")))
            if key is None:
                raise _refused("its key is not among those its issuer publishes")
            return self._credential(self._claims(token, key))
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from error

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        required = ["exp", "sub"]
        required += ["iss"] if self._settings.issuer else []
        required += ["aud"] if self._settings.audience else []
        return jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            issuer=self._settings.issuer or None,
            audience=self._settings.audience or None,
            leeway=LEEWAY_S,
            options={"require": required, "verify_aud": bool(self._settings.audience)},
        )

    def _credential(self, claims: dict[str, Any]) -> Credential:
        name = self._settings.tenant_claim
        tenant = claims.get(name)
        if not isinstance(tenant, str) or not 0 < len(tenant) <= TENANT_CHARACTERS_MAX:
            raise _refused(f"its claim `{name}` names no tenant")
        if "\x00" in tenant:
            raise _refused(f"its claim `{name}` holds a NUL character")
        scopes = frozenset(_words(claims.get(self._settings.scope_claim))) & SCOPES
        return Credential(key_id=f"jwt:{claims['sub']}", tenant=tenant, scopes=scopes)


def tokens(settings: Jwt) -> Tokens | None:
    """Whoever verifies tokens; None where no issuer is set."""
    if not settings.jwks_url:
        return None
    return Tokens(settings, Issuer(fetching(settings.jwks_url)))


def _words(given: object) -> list[str]:
    """Scopes come as one text or as a list, depending on the issuer."""
    if isinstance(given, str):
        return given.split()
    return [word for word in given if isinstance(word, str)] if isinstance(given, list) else []


def _refused(reason: str) -> NotAuthorizedException:
    return NotAuthorizedException(detail=f"this token is refused: {reason}: get a new one")
