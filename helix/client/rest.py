"""The typed REST client, twice: `Client` blocks, `AsyncClient` awaits; both retry safely.

A write takes a `key` of the caller's that makes it safe to repeat in another run as well; without
one it gets a new key, which makes the retries of this one call safe.
"""

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
    PAGE_ROWS_DEFAULT,
    Accepted,
    BatchAccepted,
    CompressionHistory,
    ConversationDetails,
    ConversationsPage,
    ConversationStats,
    Expanded,
    HealthReport,
    NewConversation,
    NewEvent,
    NewMessage,
    Replay,
    ReplayedMessage,
    ReplayRequest,
    Strategy,
)
from helix.events import Outcome

ANSWER_S_MAX = 35.0  # the slowest call's deadline, and the way back

A = TypeVar("A")


def _new_key() -> str:
    return secrets.token_hex(16)


def _options(url: str, api_key: str) -> tuple[str, dict[str, str], httpx.Timeout]:
    return url.rstrip("/"), {"Authorization": f"Bearer {api_key}"}, httpx.Timeout(ANSWER_S_MAX)


class Client:
    """The API, call by call; raises the errors of `helix.errors`.

    `ca` is the path of the authority (PEM) whose certificate an `https` address must show.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        ca: str = "",
        transport: httpx.BaseTransport | None = None,
        keys: Callable[[], str] = _new_key,
    ) -> None:
        base, headers, timeout = _options(url, api_key)
        self._http = httpx.Client(
            base_url=base,
            headers=headers,
            timeout=timeout,
            transport=transport,
            verify=calls.trusted(ca),
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

    def create_conversation(
        self, conversation: NewConversation, *, wait_s: int = 0, key: str = ""
    ) -> Accepted:
        """Begin a conversation; `wait_s` waits until it can be read."""
        return self._call(calls.create_conversation(conversation, wait_s=wait_s), key=key)

    def add_messages(
        self,
        conversation_id: str,
        messages: Sequence[NewMessage],
        *,
        wait_s: int = 0,
        key: str = "",
    ) -> Accepted:
        """Add messages in that order."""
        return self._call(calls.add_messages(conversation_id, messages, wait_s=wait_s), key=key)

    def edit_message(
        self, conversation_id: str, message_id: str, content: str, *, wait_s: int = 0
    ) -> Accepted:
        """Replace a message's text; replays show the new one from then on."""
        return self._call(calls.edit_message(conversation_id, message_id, content, wait_s=wait_s))

    def delete_message(self, conversation_id: str, message_id: str, *, wait_s: int = 0) -> Accepted:
        """Take a message back; replays leave it out from then on."""
        return self._call(calls.delete_message(conversation_id, message_id, wait_s=wait_s))

    def publish(
        self, events: Sequence[NewEvent], *, wait_s: int = 0, key: str = ""
    ) -> BatchAccepted:
        """Publish events of any conversations at once; a verdict on each."""
        return self._call(calls.publish(events, wait_s=wait_s), key=key)

    def conversation(self, conversation_id: str) -> ConversationDetails:
        """What is known of a conversation, with exact counts."""
        return self._call(calls.conversation(conversation_id))

    def complete(
        self, conversation_id: str, outcome: Outcome, *, wait_s: int = 0, key: str = ""
    ) -> Accepted:
        """End a conversation."""
        return self._call(calls.complete(conversation_id, outcome, wait_s=wait_s), key=key)

    def conversations(
        self, *, user_id: str = "", q: str = "", page: int = 1, limit: int = PAGE_ROWS_DEFAULT
    ) -> ConversationsPage:
        """One page of the conversations, the latest active first: of a user, or with that title."""
        return self._call(calls.conversations(user_id=user_id, q=q, page=page, limit=limit))

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
        strategy: Strategy | None = None,
        query: str = "",
        resume: bool = False,
    ) -> Replay:
        """The conversation, complete or within the bound."""
        call = calls.replay(
            conversation_id,
            max_tokens=max_tokens,
            since=since,
            strategy=strategy,
            query=query,
            resume=resume,
        )
        return self._call(call)

    def replay_as(self, request: ReplayRequest) -> Replay:
        """The conversation exactly as the request says: pins, recall, a summary."""
        return self._call(calls.replay_as(request))

    def expand(self, conversation_id: str, message_ids: Sequence[str]) -> Expanded:
        """Those messages as they are now, and the ids that the conversation has none of."""
        return self._call(calls.expand(conversation_id, message_ids))

    def compressions(self, conversation_id: str) -> CompressionHistory:
        """How the conversation was compressed lately, newest first."""
        return self._call(calls.compressions(conversation_id))

    def stats(self, conversation_id: str) -> ConversationStats:
        """A conversation's figures."""
        return self._call(calls.stats(conversation_id))

    def health(self) -> HealthReport:
        """Evidence for every service."""
        return self._call(calls.health())

    def _call(self, call: Call[A], *, key: str = "") -> A:
        headers = call.headers(key or self._keys())
        for attempt in range(1, calls.RETRIES_MAX + 1):
            try:
                response = self._http.request(
                    call.method, call.path, content=call.body, params=call.query, headers=headers
                )
            except httpx.TransportError as error:
                if attempt == calls.RETRIES_MAX or calls.untrusted(error):
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
        ca: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
        keys: Callable[[], str] = _new_key,
    ) -> None:
        base, headers, timeout = _options(url, api_key)
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=timeout,
            transport=transport,
            verify=calls.trusted(ca),
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
        self, conversation: NewConversation, *, wait_s: int = 0, key: str = ""
    ) -> Accepted:
        """Begin a conversation; `wait_s` waits until it can be read."""
        return await self._call(calls.create_conversation(conversation, wait_s=wait_s), key=key)

    async def add_messages(
        self,
        conversation_id: str,
        messages: Sequence[NewMessage],
        *,
        wait_s: int = 0,
        key: str = "",
    ) -> Accepted:
        """Add messages in that order."""
        return await self._call(
            calls.add_messages(conversation_id, messages, wait_s=wait_s), key=key
        )

    async def edit_message(
        self, conversation_id: str, message_id: str, content: str, *, wait_s: int = 0
    ) -> Accepted:
        """Replace a message's text; replays show the new one from then on."""
        return await self._call(
            calls.edit_message(conversation_id, message_id, content, wait_s=wait_s)
        )

    async def delete_message(
        self, conversation_id: str, message_id: str, *, wait_s: int = 0
    ) -> Accepted:
        """Take a message back; replays leave it out from then on."""
        return await self._call(calls.delete_message(conversation_id, message_id, wait_s=wait_s))

    async def publish(
        self, events: Sequence[NewEvent], *, wait_s: int = 0, key: str = ""
    ) -> BatchAccepted:
        """Publish events of any conversations at once; a verdict on each."""
        return await self._call(calls.publish(events, wait_s=wait_s), key=key)

    async def conversation(self, conversation_id: str) -> ConversationDetails:
        """What is known of a conversation, with exact counts."""
        return await self._call(calls.conversation(conversation_id))

    async def complete(
        self, conversation_id: str, outcome: Outcome, *, wait_s: int = 0, key: str = ""
    ) -> Accepted:
        """End a conversation."""
        return await self._call(calls.complete(conversation_id, outcome, wait_s=wait_s), key=key)

    async def conversations(
        self, *, user_id: str = "", q: str = "", page: int = 1, limit: int = PAGE_ROWS_DEFAULT
    ) -> ConversationsPage:
        """One page of the conversations, the latest active first: of a user, or with that title."""
        return await self._call(calls.conversations(user_id=user_id, q=q, page=page, limit=limit))

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
        strategy: Strategy | None = None,
        query: str = "",
        resume: bool = False,
    ) -> Replay:
        """The conversation, complete or within the bound."""
        call = calls.replay(
            conversation_id,
            max_tokens=max_tokens,
            since=since,
            strategy=strategy,
            query=query,
            resume=resume,
        )
        return await self._call(call)

    async def replay_as(self, request: ReplayRequest) -> Replay:
        """The conversation exactly as the request says: pins, recall, a summary."""
        return await self._call(calls.replay_as(request))

    async def expand(self, conversation_id: str, message_ids: Sequence[str]) -> Expanded:
        """Those messages as they are now, and the ids that the conversation has none of."""
        return await self._call(calls.expand(conversation_id, message_ids))

    async def compressions(self, conversation_id: str) -> CompressionHistory:
        """How the conversation was compressed lately, newest first."""
        return await self._call(calls.compressions(conversation_id))

    async def stats(self, conversation_id: str) -> ConversationStats:
        """A conversation's figures."""
        return await self._call(calls.stats(conversation_id))

    async def health(self) -> HealthReport:
        """Evidence for every service."""
        return await self._call(calls.health())

    async def _call(self, call: Call[A], *, key: str = "") -> A:
        headers = call.headers(key or self._keys())
        for attempt in range(1, calls.RETRIES_MAX + 1):
            try:
                response = await self._http.request(
                    call.method, call.path, content=call.body, params=call.query, headers=headers
                )
            except httpx.TransportError as error:
                if attempt == calls.RETRIES_MAX or calls.untrusted(error):
                    raise calls.unreachable(str(self._http.base_url), error) from error
                await asyncio.sleep(calls.pause_s(attempt, {}))
                continue
            if attempt == calls.RETRIES_MAX or not calls.again(call, response):
                return call.read(response)
            await asyncio.sleep(calls.pause_s(attempt, response.headers))
        raise AssertionError("the last attempt returns or raises")
