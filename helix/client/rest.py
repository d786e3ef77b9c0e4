"""The typed REST client, twice: `Client` blocks, `AsyncClient` awaits; both retry safely."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx

from helix.client import calls
from helix.client.calls import Call
from helix.client.wire import (
    Accepted,
    ConversationStats,
    HealthReport,
    NewConversation,
    NewMessage,
    Replay,
    ReplayedMessage,
)
from helix.events import Outcome

ANSWER_S_MAX = 35.0  # the slowest call's deadline, and the way back

A = TypeVar("A")


def _new_key() -> str:
    return secrets.token_hex(16)


def _options(url: str, api_key: str) -> tuple[str, dict[str, str], httpx.Timeout]:
    return url.rstrip("/"), {"Authorization": f"Bearer {api_key}"}, httpx.Timeout(ANSWER_S_MAX)


class Client:
    """The API, call by call; raises the errors of `helix.errors`."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        keys: Callable[[], str] = _new_key,
    ) -> None:
        base, headers, timeout = _options(url, api_key)
        self._http = httpx.Client(
            base_url=base, headers=headers, timeout=timeout, transport=transport
        )
        self._keys = keys

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def create_conversation(self, conversation: NewConversation, *, wait_s: int = 0) -> Accepted:
        """Begin a conversation; `wait_s` waits until it can be read."""
        return self._call(calls.create_conversation(conversation, wait_s=wait_s))

    def add_messages(
        self, conversation_id: str, messages: Sequence[NewMessage], *, wait_s: int = 0
    ) -> Accepted:
        """Add messages in that order."""
        return self._call(calls.add_messages(conversation_id, messages, wait_s=wait_s))

    def complete(self, conversation_id: str, outcome: Outcome, *, wait_s: int = 0) -> Accepted:
        """End a conversation."""
        return self._call(calls.complete(conversation_id, outcome, wait_s=wait_s))

    def messages(self, conversation_id: str) -> Iterator[ReplayedMessage]:
        """Every stored message in order, fetched page by page."""
        page, seen, total = 0, 0, 1
        while seen < total:
            page += 1
            found = self._call(calls.messages(conversation_id, page=page))
            seen, total = page * found.limit, found.total
            yield from found.messages

    def replay(
        self,
        conversation_id: str,
        *,
        max_tokens: int | None = None,
        since: datetime | None = None,
    ) -> Replay:
        """The conversation, complete or within the bound."""
        return self._call(calls.replay(conversation_id, max_tokens=max_tokens, since=since))

    def stats(self, conversation_id: str) -> ConversationStats:
        """A conversation's figures."""
        return self._call(calls.stats(conversation_id))

    def health(self) -> HealthReport:
        """Evidence for every service."""
        return self._call(calls.health())

    def _call(self, call: Call[A]) -> A:
        headers = call.headers(self._keys())
        for attempt in range(1, calls.RETRIES_MAX + 1):
            try:
                response = self._http.request(
                    call.method, call.path, content=call.body, params=call.query, headers=headers
                )
            except httpx.TransportError as error:
                if attempt == calls.RETRIES_MAX:
                    raise calls.unreachable(str(self._http.base_url), error) from error
                time.sleep(calls.pause_s(attempt, {}))
                continue
            if attempt == calls.RETRIES_MAX or not calls.again(call, response):
                return call.read(response)
            time.sleep(calls.pause_s(attempt, response.headers))
        raise AssertionError("the last attempt returns or raises")


class AsyncClient:
    """The API, call by call, awaited; raises the errors of `helix.errors`."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        keys: Callable[[], str] = _new_key,
    ) -> None:
        base, headers, timeout = _options(url, api_key)
        self._http = httpx.AsyncClient(
            base_url=base, headers=headers, timeout=timeout, transport=transport
        )
        self._keys = keys

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def create_conversation(
        self, conversation: NewConversation, *, wait_s: int = 0
    ) -> Accepted:
        """Begin a conversation; `wait_s` waits until it can be read."""
        return await self._call(calls.create_conversation(conversation, wait_s=wait_s))

    async def add_messages(
        self, conversation_id: str, messages: Sequence[NewMessage], *, wait_s: int = 0
    ) -> Accepted:
        """Add messages in that order."""
        return await self._call(calls.add_messages(conversation_id, messages, wait_s=wait_s))

    async def complete(
        self, conversation_id: str, outcome: Outcome, *, wait_s: int = 0
    ) -> Accepted:
        """End a conversation."""
        return await self._call(calls.complete(conversation_id, outcome, wait_s=wait_s))

    async def messages(self, conversation_id: str) -> AsyncIterator[ReplayedMessage]:
        """Every stored message in order, fetched page by page."""
        page, seen, total = 0, 0, 1
        while seen < total:
            page += 1
            found = await self._call(calls.messages(conversation_id, page=page))
            seen, total = page * found.limit, found.total
            for message in found.messages:
                yield message

    async def replay(
        self,
        conversation_id: str,
        *,
        max_tokens: int | None = None,
        since: datetime | None = None,
    ) -> Replay:
        """The conversation, complete or within the bound."""
        return await self._call(calls.replay(conversation_id, max_tokens=max_tokens, since=since))

    async def stats(self, conversation_id: str) -> ConversationStats:
        """A conversation's figures."""
        return await self._call(calls.stats(conversation_id))

    async def health(self) -> HealthReport:
        """Evidence for every service."""
        return await self._call(calls.health())

    async def _call(self, call: Call[A]) -> A:
        headers = call.headers(self._keys())
        for attempt in range(1, calls.RETRIES_MAX + 1):
            try:
                response = await self._http.request(
                    call.method, call.path, content=call.body, params=call.query, headers=headers
                )
            except httpx.TransportError as error:
                if attempt == calls.RETRIES_MAX:
                    raise calls.unreachable(str(self._http.base_url), error) from error
                await asyncio.sleep(calls.pause_s(attempt, {}))
                continue
            if attempt == calls.RETRIES_MAX or not calls.again(call, response):
                return call.read(response)
            await asyncio.sleep(calls.pause_s(attempt, response.headers))
        raise AssertionError("the last attempt returns or raises")
