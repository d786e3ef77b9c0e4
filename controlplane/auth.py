"""Who calls: API keys, known by their hashes; the tenant comes from the credential alone."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from helix.errors import UnavailableError
from helix.ports import Credential, Keys

FRESH_S = 30.0  # a revoked key works for so long at most, while the store of keys answers
STALE_S_MAX = 300.0  # and so long while it does not: writes go on without it
ENTRIES_MAX = 4096
KEY_CHARACTERS_MAX = 512
OPEN = "open"  # the option of a route that asks for no key


Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


class Scope(StrEnum):
    """What a key may do; `admin` may do everything."""

    READ = "read"
    WRITE = "write"
    ANALYTICS = "analytics"
    ADMIN = "admin"


class Keyring:
    """The keys lately seen, so that a request costs no look-up."""

    def __init__(self, keys: Keys, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._seen: OrderedDict[str, tuple[float, Credential]] = OrderedDict()

    async def credential(self, key: str) -> Credential | None:
        """Whose key it is; None if nobody's."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        seen_at, seen = self._seen.get(digest, (0.0, None))
        age_s = self._monotonic() - seen_at
        if seen is not None and age_s < FRESH_S:
            return seen
        try:
            found = await self._keys.find(digest)
        except UnavailableError:
            if seen is not None and age_s < STALE_S_MAX:
                return seen
            raise
        self._remember(digest, found)
        return found

    def _remember(self, digest: str, found: Credential | None) -> None:
        self._seen.pop(digest, None)
        if found is not None:
            self._seen[digest] = (self._monotonic(), found)
        if len(self._seen) > ENTRIES_MAX:
            self._seen.popitem(last=False)


class ApiKeys(AbstractAuthenticationMiddleware):
    """Every route asks for a key, except those that say they are open."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        super().__init__(app, exclude=["^/schema"], exclude_from_auth_key=OPEN)
        self._keyring = keyring

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """The caller's credential; 401 without a known key."""
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(key) <= KEY_CHARACTERS_MAX:
            raise NotAuthorizedException(detail="no API key: send `Authorization: Bearer KEY`")
        credential = await self._keyring.credential(key)
        if credential is None:
            raise NotAuthorizedException(detail="unknown API key: ask your operator for one")
        return AuthenticationResult(user=credential, auth=credential.key_id)


def requires(scope: Scope) -> Guard:
    """A guard that lets in only keys with that scope."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        credential: Credential = connection.user
        if not credential.scopes & {scope, Scope.ADMIN}:
            raise PermissionDeniedException(
                detail=f"this key lacks the scope `{scope}`: use one that has it"
            )

    return guard
