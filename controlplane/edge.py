"""The edge: stamps what comes in, publishes it, and waits for the read side where asked to."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.openapi.spec import OpenAPIType, Operation, Parameter, Schema
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from controlplane.replay import TOPIC
from controlplane.retries import Retries
from helix.client.wire import Accepted, BatchAccepted
from helix.domain.ids import event_id, log_key
from helix.errors import ConflictError, InvalidError, UnavailableError
from helix.events import ConversationEvent
from helix.ports import Applied, Credential, Ids, Receipt, World

WORLD, RETRIES = "world", "retries"  # in the application's state
IDEMPOTENCY_KEY, PREFER = b"idempotency-key", b"prefer"
KEY_CHARACTERS_MAX = 255
DIGEST_CHARACTERS = 32
WAIT_S_MAX = 10
POLL_S = 0.02

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_canonical = msgspec.json.Encoder(order="deterministic")

Check = Callable[[], Awaitable[None]]


class Named(msgspec.Struct, frozen=True, gc=False):
    """The id of an event, and the digest of the request that names it; empty where none does."""

    event_id: str
    request: str = ""


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """What the edge adds to the events of one request."""

    tenant: str
    route: str
    key: str  # the client's Idempotency-Key, or empty
    request: str  # digest of the route and the body, where there is a key
    now: int
    ids: Ids

    def named(self, index: int = 0) -> Named:
        """The same at every retry if the client named the request; else a new id."""
        if self.key:
            return Named(event_id(self.tenant, self.route, self.key, index), self.request)
        return Named(self.ids())

    def thing(self, own: str, body: object, *, route: str = "", index: int = 0) -> Named:
        """The same at every retry if the client named the request, or else this thing in it."""
        if self.key or not own:
            return self.named(index)
        place = route or self.route
        return Named(event_id(self.tenant, place, own), digest(place, body))


class Write(msgspec.Struct, frozen=True, gc=False):
    """One request to write: who asks, under which key, and how long they would wait."""

    world: World
    retries: Retries
    tenant: str
    key: str
    wait_s: int

    def stamp(self, route: str, body: object) -> Stamp:
        """The stamp of a request with that body to that route."""
        return Stamp(
            tenant=self.tenant,
            route=route,
            key=self.key,
            request=digest(route, body) if self.key else "",
            now=self.world.clock(),
            ids=self.world.ids,
        )


def writing(request: Request[Credential, str, State]) -> Write:
    """What the request to write says of itself, from its headers."""
    # Read here and not by the framework: the write path is hot, and this is a tenth of its way.
    key: str | None = None
    prefer: str | None = None
    for name, value in request.scope["headers"]:
        if name == IDEMPOTENCY_KEY:
            key = value.decode("latin-1")
        elif name == PREFER:
            prefer = value.decode("latin-1")
    state = request.app.state
    return Write(
        world=state[WORLD],
        retries=state[RETRIES],
        tenant=request.user.tenant,
        key=plain(key),
        wait_s=wait_s(prefer),
    )


@dataclass
class Writing(Operation):
    """How the API's document describes a route that writes: with the headers read above."""

    def __post_init__(self) -> None:
        """Add what the framework does not know of."""
        text = Schema(type=OpenAPIType.STRING)
        key = Schema(type=OpenAPIType.STRING, pattern=f"^{_KEY.pattern}$")
        self.parameters = [
            *(self.parameters or []),
            Parameter(name="Idempotency-Key", param_in="header", schema=key, required=False),
            Parameter(name="Prefer", param_in="header", schema=text, required=False),
        ]


def plain(given: str | None) -> str:
    """The header's value; `InvalidError` if it is empty, too long or not plain text."""
    if given is None:
        return ""
    if not _KEY.fullmatch(given):
        raise InvalidError(
            f"`Idempotency-Key` is not 1 to {KEY_CHARACTERS_MAX} printable characters: shorten it",
            field="Idempotency-Key",
        )
    return given


def wait_s(prefer: str | None) -> int:
    """How long the client prefers to wait for the read side, bounded; 0 if it does not say."""
    asked = _WAIT.search(prefer or "")
    return min(int(asked[1]), WAIT_S_MAX) if asked else 0


def digest(route: str, body: object) -> str:
    """The same for the same request, however its JSON was written."""
    made = hashlib.sha256(route.encode())
    made.update(b"\x00")
    made.update(_canonical.encode(body))
    return made.hexdigest()[:DIGEST_CHARACTERS]


async def publish(
    write: Write, events: Sequence[ConversationEvent], check: Check | None = None
) -> list[Receipt]:
    """Receipts of the events in their order; those of a first attempt where there was one.

    `check` must hold before anything new is published.
    """
    first = await earlier(write, events)
    for event in events:
        conflict = reused(event, first)
        if conflict is not None:
            raise conflict
    return await publish_rest(write, events, first, check)


async def earlier(write: Write, events: Sequence[ConversationEvent]) -> Mapping[str, Applied]:
    """Those of the events that were applied already; only events a client named are looked up."""
    named = [event.event_id for event in events if event.request]
    return await write.retries.first(write.tenant, named) if named else {}


def reused(event: ConversationEvent, first: Mapping[str, Applied]) -> ConflictError | None:
    """The refusal of an event whose name was given to something else before."""
    found = first.get(event.event_id)
    if found is None or found.request == event.request:
        return None
    return ConflictError(
        "this `Idempotency-Key` or `message_id` came with another request before: "
        "send the same again, or choose a new one",
        code="IDEMPOTENCY_KEY_REUSED",
        event_id=event.event_id,
    )


async def publish_rest(
    write: Write,
    events: Sequence[ConversationEvent],
    first: Mapping[str, Applied],
    check: Check | None = None,
) -> list[Receipt]:
    """Publish what is not among `first`, all in one batch; receipts of all, in order."""
    rest = [event for event in events if event.event_id not in first]
    if not rest:
        return [first[event.event_id].receipt for event in events]
    if check is not None:
        await check()
    keyed = [(log_key(event.tenant, event.conversation_id), event) for event in rest]
    receipts = await write.world.log.publish_all(TOPIC, keyed)
    await write.retries.note(rest, receipts)
    if not first:
        return receipts
    known = {name: applied.receipt for name, applied in first.items()}
    known.update((receipt.event_id, receipt) for receipt in receipts)
    return [known[event.event_id] for event in events]


class Written(ASGIResponse):
    """202 with a JSON body; the framework's own response looks at its headers one by one."""

    __slots__ = ("_raw_headers",)

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.body = body
        self._raw_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        del scope, receive
        start: Any = {"type": "http.response.start", "status": 202, "headers": self._raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


async def answered(
    write: Write, answer: Accepted | BatchAccepted, written: Mapping[str, Receipt]
) -> ASGIResponse:
    """202 with that body, once the read side shows what was written or the client's time is up."""
    body = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if write.wait_s and await readable(write, written):
        headers.append((b"preference-applied", b"wait=%d" % write.wait_s))
    return Written(body, headers)


async def readable(write: Write, written: Mapping[str, Receipt]) -> bool:
    """Whether the read side shows each conversation's last event.

    It is waited for no longer than the client asked.
    """
    try:
        async with asyncio.timeout(write.wait_s):
            for conversation_id, last in written.items():
                while not await _shown(write, conversation_id, last):  # noqa: ASYNC110 - another process moves it
                    await asyncio.sleep(POLL_S)
    except (TimeoutError, UnavailableError):
        return False  # the write is acknowledged all the same
    return True


async def _shown(write: Write, conversation_id: str, last: Receipt) -> bool:
    mark = await write.world.events.watermark(TOPIC, last.partition)
    if mark is None or mark.offset <= last.offset:
        return False
    state = await write.world.conversations.get(write.tenant, conversation_id)
    return state is not None and state.last_offset >= last.offset
