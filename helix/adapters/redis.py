"""Cache and request limits in Redis: both go on, poorer, when it is away."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from helix.adapters import trust
from helix.errors import UnavailableError
from helix.ports import Allowance
from helix.settings import Redis

SERVICE = "redis"
CONNECTIONS_MAX = 16
ANSWER_S_MAX = 1.0
AWAY_S = 1.0  # after a failure nobody asks again for so long, so that nobody waits for it
WINDOW_S = 60
BLOCK = 50  # requests leased at once: one round trip for so many
BLOCKS = 20  # of a limit, so that small limits are leased in small blocks
KEYS_MAX = 4096

# Of the requests left in the running minute, at most ARGV[2] are given, never more than ARGV[1]
# in all; the minute is the server's, so that every process counts the same one.
LEASE = """
local now = redis.call('TIME')
local window = math.floor(now[1] / ARGV[3])
local key = KEYS[1] .. ':' .. window
local used = tonumber(redis.call('GET', key) or '0')
local given = math.max(0, math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) - used))
if given > 0 then
    redis.call('INCRBY', key, given)
    redis.call('EXPIRE', key, ARGV[3] * 2)
end
local left_ms = (window + 1) * ARGV[3] * 1000 - now[1] * 1000 - math.floor(now[2] / 1000)
return {given, tonumber(ARGV[1]) - used - given, left_ms}
"""


Lease = Callable[[str, int, int], Awaitable[tuple[int, int, int]]]


class Server:
    """The connections, and whether asking is worth while."""

    def __init__(self, settings: Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._away_until = 0.0
        self.client: Any = aioredis.Redis(
            host=settings.host,
            port=settings.port,
            password=settings.password.reveal() or None,
            socket_timeout=ANSWER_S_MAX,
            socket_connect_timeout=ANSWER_S_MAX,
            max_connections=CONNECTIONS_MAX,
            # Once more, since a server that was restarted is met as a broken connection.
            retry=Retry(NoBackoff(), 1),
            **trust.redis(settings.ca),
        )

    @asynccontextmanager
    async def asked(self) -> AsyncGenerator[Any]:
        """The client; `UnavailableError` when the server is away, at once when it just was."""
        if self._monotonic() < self._away_until:
            raise UnavailableError(SERVICE)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                yield self.client
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = self._monotonic() + AWAY_S
            raise UnavailableError(
                SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
            ) from error

    async def lease(self, key_id: str, limit: int, block: int) -> tuple[int, int, int]:
        """So many requests of the key's minute, what is left of it, and for how many ms."""
        async with self.asked() as client:
            answer = await client.eval(LEASE, 1, f"limit:{key_id}", limit, block, WINDOW_S)
        given, left, left_ms = map(int, answer)
        return given, left, left_ms

    async def close(self) -> None:
        """Let go of the connections."""
        await self.client.aclose()


class Cache:
    """Bytes kept for a while: everything in it can be computed again."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept under each key; `UnavailableError` when the cache is away."""
        if not keys:
            return []
        async with self._server.asked() as client:
            return cast("list[bytes | None]", await client.mget(list(keys)))

    async def put(self, values: dict[str, bytes], *, ttl_s: int) -> None:
        """Keep the values for so long."""
        async with self._server.asked() as client, client.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(key, value, ex=ttl_s)
            await pipeline.execute()

    async def ping(self) -> str:
        """What the server answered; `UnavailableError` when it did not."""
        async with self._server.asked() as client:
            await client.ping()
        return "PING answered PONG"


@dataclass(slots=True)
class _Account:
    """One key's requests in this process: those leased, and those let in without the server."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    leased: int = 0
    shared: int = 0  # left on the server when it was last asked
    until: float = 0.0
    own_window: int = -1
    own_used: int = 0

    def spend(self, now: float, limit: int) -> Allowance | None:
        """The answer from what is known of the running minute; None: the server must be asked."""
        if now >= self.until or (not self.leased and self.shared > 0):
            return None
        allowed = self.leased > 0
        self.leased -= allowed
        return Allowance(limit, self.leased + self.shared, _seconds(self.until - now), allowed)

    def note(self, now: float) -> int:
        """Count one request of this process, and say how many the minute had before it."""
        window = int(now // WINDOW_S)
        if window != self.own_window:
            self.own_window, self.own_used = window, 0
        self.own_used += 1
        return self.own_used - 1


class Limits:
    """Requests by key and minute, never more than the limit over all processes together.

    Each process leases blocks of requests, so that most requests ask nobody. What is leased and
    not used by the end of the minute is lost: a key that comes in through several processes may be
    refused up to one block a process early, but never late. While the server is away each process
    counts alone, up to the same limit.
    """

    def __init__(self, lease: Lease, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lease_from = lease
        self._monotonic = monotonic
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    async def take(self, key_id: str, *, limit: int) -> Allowance:
        """Count one request; when the shared counter is away, count in this process alone."""
        account = self._account(key_id)
        now = self._monotonic()
        before = account.note(now)
        known = account.spend(now, limit)
        if known is not None:
            return known
        async with account.lock:
            known = await self._asked(account, key_id, limit)
        return known or _alone(before, now, limit)

    async def _asked(self, account: _Account, key_id: str, limit: int) -> Allowance | None:
        """What the server lets in; None while it is away."""
        known = account.spend(self._monotonic(), limit)
        while known is None:  # again only where a minute ended on the way
            try:
                await self._lease(account, key_id, limit)
            except UnavailableError:
                return None
            known = account.spend(self._monotonic(), limit)
        return known

    async def _lease(self, account: _Account, key_id: str, limit: int) -> None:
        # Taken before asking: the lease ends no later than the server's minute.
        asked_at = self._monotonic()
        block = max(1, min(BLOCK, limit // BLOCKS))
        given, left, left_ms = await self._lease_from(key_id, limit, block)
        account.leased, account.shared = given, max(0, left)
        account.until = asked_at + left_ms / 1000

    def _account(self, key_id: str) -> _Account:
        account = self._accounts.get(key_id)
        if account is None:
            account = self._accounts[key_id] = _Account()
            if len(self._accounts) > KEYS_MAX:
                self._accounts.popitem(last=False)
        return account


def _alone(before: int, now: float, limit: int) -> Allowance:
    left = limit - before - 1
    return Allowance(limit, max(0, left), _seconds(WINDOW_S - now % WINDOW_S), left >= 0)


def _seconds(left: float) -> int:
    """Whole seconds, so that whoever waits for them does not come too early."""
    return max(1, int(left) + 1)
