"""Who calls, by API key or verified token; the tenant comes from the credential alone."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from litestar.exceptions import (
    ClientException,
    NotAuthorizedException,
    PermissionDeniedException,
    TooManyRequestsException,
)
from litestar.types import ASGIApp, Receive, Send

from controlplane.jwts import TOKEN_CHARACTERS_MAX, Tokens, looks_like_jwt
from controlplane.telemetry import HEADERS
from helix.domain.ids import log_key
from helix.errors import UnavailableError
from helix.ports import Credential, Keys, Limits
from helix.settings import Secret

FRESH_S = 30.0  # a revoked key works for so long at most, while the store of keys answers
STALE_S_MAX = 300.0  # and so long while it does not: writes go on without it
ENTRIES_MAX = 4096
SCHEMA = "/schema"
# Options of routes. The framework's guards would copy the route for each request.
OPEN = "open"  # nobody need say who they are
FIGURES = "figures"  # for who scrapes them: no key opens it, and their token nothing else
SCOPES = "scopes"  # any of them will do
NAMED = "scope"  # the one a refusal names
BODY = "body"  # media types
DIRECT = "direct"  # its handler takes the ids of the path, the body and the request alone
JSON = ("application/json",)


class Scope(StrEnum):
    """What a key may do; `admin` may do everything."""

    READ = "read"
    WRITE = "write"
    ANALYTICS = "analytics"
    ADMIN = "admin"


def requires(*scopes: Scope, body: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options of a route that wants one of those scopes, and a body of one of those types."""
    return {SCOPES: frozenset({*scopes, Scope.ADMIN}), NAMED: scopes[:1], BODY: body}


class Keyring:
    """The credentials lately seen, so that a request costs no look-up."""

    def __init__(
        self,
        keys: Keys,
        tokens: Tokens | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._monotonic = monotonic
        self._seen: OrderedDict[str, tuple[float, Credential]] = OrderedDict()

    def known(self, token: str) -> Credential | None:
        """Whose token it is, where that was found out a moment ago."""
        return self._seen_within(FRESH_S, _digest(token))

    async def credential(self, token: str) -> Credential | None:
        """Whose token it is; None if nobody's."""
        digest = _digest(token)
        fresh = self._seen_within(FRESH_S, digest)
        if fresh is not None:
            return fresh
        try:
            found = await self._found(token, digest)
        except UnavailableError:
            stale = self._seen_within(STALE_S_MAX, digest)
            if stale is None:
                raise
            return stale
        self._remember(digest, found)
        return found

    async def _found(self, token: str, digest: str) -> Credential | None:
        if self._tokens is not None and looks_like_jwt(token):
            return await self._tokens.credential(token)
        return await self._keys.find(digest)

    def _seen_within(self, seconds: float, digest: str) -> Credential | None:
        seen_at, seen = self._seen.get(digest, (0.0, None))
        return seen if self._monotonic() - seen_at < seconds else None

    def _remember(self, digest: str, found: Credential | None) -> None:
        self._seen.pop(digest, None)
        if found is not None:
            self._seen[digest] = (self._monotonic(), found)
        if len(self._seen) > ENTRIES_MAX:
            self._seen.popitem(last=False)


class Gate:
    """Before every route: who calls is known, and within the limit of their minute.

    Looking a key up costs the caller's address one request of its own, so that guessing keys is
    limited as well.
    """

    def __init__(
        self, app: ASGIApp, keyring: Keyring, limits: Limits, limit: int, scraper: Secret
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._limits = limits
        self._limit = limit
        self._scraper = scraper.reveal()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Go on with `scope["user"]`; 401 without a known key, 429 beyond the limit."""
        if scope["route_handler"].opt.get(FIGURES, False):
            _scraping(scope, self._scraper)
        elif not _open(scope):
            credential = await self._credential(scope)
            await self._take(scope, log_key(credential.tenant, credential.key_id))
            _allowed(scope["route_handler"].opt, credential)
            _understood(scope)
            scope["user"] = credential
            scope["auth"] = credential.key_id
        await self._app(scope, receive, send)

    async def _credential(self, scope: Any) -> Credential:
        token = _bearer(scope)
        known = self._keyring.known(token) if token else None
        if known is not None:
            return known
        await self._take(scope, f"address/{(scope['client'] or ('unknown', 0))[0]}")
        if not token:
            raise NotAuthorizedException(detail="no API key: send `Authorization: Bearer KEY`")
        found = await self._keyring.credential(token)
        if found is None:
            raise NotAuthorizedException(detail="unknown API key: ask your operator for one")
        return found

    async def _take(self, scope: Any, name: str) -> None:
        left = await self._limits.take(name, limit=self._limit)
        scope["state"][HEADERS] = [
            (b"x-ratelimit-limit", b"%d" % left.limit),
            (b"x-ratelimit-remaining", b"%d" % left.remaining),
            (b"x-ratelimit-reset", b"%d" % left.reset_s),
        ]
        if not left.allowed:
            raise TooManyRequestsException(
                detail=f"{left.limit} requests a minute are the most: wait {left.reset_s} s",
                headers={"Retry-After": str(left.reset_s)},
            )


def _open(scope: Any) -> bool:
    """Whether nobody need say who they are: open routes, the API's document, what is allowed."""
    path: str = scope["path"]
    return (
        scope["route_handler"].opt.get(OPEN, False)
        or scope["method"] == "OPTIONS"
        or path == SCHEMA
        or path.startswith(f"{SCHEMA}/")
    )


def _scraping(scope: Any, token: str) -> None:
    """401 without the token of who scrapes the figures; where there is none, for everybody."""
    if not token:
        raise NotAuthorizedException(
            detail="nobody gets figures here: set `HELIX__HTTP__METRICS_TOKEN` and start again"
        )
    if not hmac.compare_digest(_bearer(scope).encode(), token.encode()):
        raise NotAuthorizedException(
            detail="figures are for Prometheus: send `Authorization: Bearer` and its token, no key"
        )


def _allowed(options: dict[str, Any], credential: Credential) -> None:
    """403 unless the credential has one of the scopes; a route that names none lets nobody in."""
    if credential.scopes.isdisjoint(options.get(SCOPES, ())):
        named = (*options.get(NAMED, ()), Scope.ADMIN)[0]
        raise PermissionDeniedException(
            detail=f"this key lacks the scope `{named}`: use one that has it"
        )


def _understood(scope: Any) -> None:
    """415 unless the body, where there should be one, says that it is of a type we read."""
    fine: tuple[str, ...] = scope["route_handler"].opt.get(BODY, ())
    if not fine:
        return
    given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    kind = given.decode("latin-1").partition(";")[0].strip().lower()
    if kind and kind not in fine and not kind.endswith("+json"):
        raise ClientException(
            detail=f"`{kind}` is not understood here: send {' or '.join(fine)}", status_code=415
        )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _bearer(scope: Any) -> str:
    """The token of the request, empty where there is none that could be one."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    if len(given) > TOKEN_CHARACTERS_MAX:
        return ""
    scheme, _, token = given.decode("latin-1").partition(" ")
    return token if scheme.lower() == "bearer" else ""
