"""Retries: an event that its client named is found again, and answered as the first time."""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from controlplane.errors import deadline
from helix.domain.ids import log_key
from helix.errors import UnavailableError
from helix.events import ConversationEvent
from helix.ports import Applied, Cache, ConversationStates, Receipt

KEPT_S = 86_400  # in the cache; longer ago, the store still knows
LOOK_S_MAX = 0.5
AWAY_S = 1.0  # after a look in vain nobody waits for that store for so long

T = TypeVar("T")


class Retries:
    """What was applied already: the cache is asked first, then the store of states.

    Nothing here is needed to be right: an event that is not found is published again under the
    same id, and whoever applies it does so once. It saves the log the copies, and clients the
    doubt where their first attempt went.
    """

    def __init__(
        self,
        cache: Cache,
        states: ConversationStates,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._states = states
        self._monotonic = monotonic
        self._decoder = msgspec.msgpack.Decoder(Applied)
        self._away_until = {"cache": 0.0, "states": 0.0}

    async def first(self, tenant: str, event_ids: Sequence[str]) -> dict[str, Applied]:
        """Those of the events that were applied already, as far as can be known now."""
        kept = await self._asked("cache", lambda: self._cached(tenant, event_ids))
        found = kept or {}
        unknown = [name for name in event_ids if name not in found]
        if not unknown:
            return found
        stored = await self._asked("states", lambda: self._states.applied(tenant, unknown))
        return {**(stored or {}), **found}

    async def note(self, events: Iterable[ConversationEvent], receipts: Iterable[Receipt]) -> None:
        """Remember where the events went, so that a retry in the next moment finds them."""
        values = {
            _name(event.tenant, event.event_id): msgspec.msgpack.encode(
                Applied(receipt, event.request)
            )
            for event, receipt in zip(events, receipts, strict=True)
            if event.request
        }
        if values:
            await self._asked("cache", lambda: self._cache.put(values, ttl_s=KEPT_S))

    async def _cached(self, tenant: str, event_ids: Sequence[str]) -> dict[str, Applied]:
        values = await self._cache.get([_name(tenant, name) for name in event_ids])
        return {
            name: self._decoder.decode(value)
            for name, value in zip(event_ids, values, strict=True)
            if value is not None
        }

    async def _asked(self, store: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        if self._monotonic() < self._away_until[store]:
            return None
        try:
            async with deadline("earlier attempts", LOOK_S_MAX):
                return await ask()
        except (UnavailableError, TimeoutError):
            self._away_until[store] = self._monotonic() + AWAY_S
            return None


def _name(tenant: str, event_id: str) -> str:
    return f"applied:{log_key(tenant, event_id)}"
