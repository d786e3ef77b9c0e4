"""`python -m validation.benchmarks.targets NAME FD`: one of the compared servers, on core 0.

The listening socket is its parent's, handed over: nobody else can answer on it.
"""

import asyncio
import hashlib
import os
import socket
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol

import fastapi
import msgspec
import pydantic
import uvicorn
import uvloop
from aiokafka import AIOKafkaProducer
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import controlplane.app
from controlplane.__main__ import log_as_json
from controlplane.health import Monitor
from helix.adapters import fakes, kafka
from helix.adapters.tokens import count
from helix.client.wire import Accepted, Acknowledged, NewMessage
from helix.domain.ids import log_key
from helix.events import Message, MessageAdded
from helix.ports import Credential, EventLog, Ids, World
from helix.settings import Http, Settings, from_env
from helix.topology.catalog import CATALOG
from validation.benchmarks.load import KEY, SERVER_CORE, TENANT, TOPIC_NAME
from validation.benchmarks.logs import NullLog, OnTopic

TOPIC = "helixagent.conversations"
REQUESTS_PER_MIN_MAX = 10**9  # the limit is kept and never reached
BACKLOG = 1024

App = Callable[..., Any]


def clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def ids() -> str:
    """A new unique id."""
    return str(uuid.uuid4())  # noqa: TID251 - this process is a composition root


def world_over(log: EventLog) -> World:
    """A world in memory with one key, over that log."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    credential = Credential("k-bench", TENANT, frozenset({"read", "write"}))
    made = fakes.world({digest: credential})
    return replace(made, log=log, clock=clock, ids=ids)


def ours(log: EventLog) -> App:
    """The control plane, whole."""
    settings = Settings(http=Http(requests_per_min_max=REQUESTS_PER_MIN_MAX))
    return controlplane.app.create(world_over(log), settings, CATALOG, Monitor([], clock))


class Unmeasured:
    """In the place of the control plane's telemetry: a request id, no figures, no log lines."""

    def __init__(self, app: App, registry: object, ids: Ids) -> None:
        del registry
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request."""
        if scope["type"] == "http":
            scope["state"]["request_id"] = self._ids()
        await self._app(scope, receive, send)


def unmeasured(log: EventLog) -> App:
    """The control plane without its figures."""
    controlplane.app.Telemetry = Unmeasured  # pyright: ignore[reportAttributeAccessIssue] - the stand-in
    return ours(log)


class Bare:
    """Decode, check, count, publish, answer: what the request needs and no framework around it."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._decoder = msgspec.json.Decoder(NewMessage)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request."""
        if scope["type"] != "http":
            return
        conversation_id = scope["path"].split("/")[3]
        event = self._event(conversation_id, await _body(receive))
        key = log_key(TENANT, conversation_id)
        (receipt,) = await self._log.publish(TOPIC, key, [event])
        place = Acknowledged(
            event_id=receipt.event_id,
            topic=receipt.topic,
            partition=receipt.partition,
            offset=receipt.offset,
        )
        accepted = Accepted(
            conversation_id=conversation_id,
            event_id=receipt.event_id,
            topic=receipt.topic,
            partition=receipt.partition,
            offset=receipt.offset,
            events=[place],
        )
        await _answered(send, msgspec.json.encode(accepted))

    def _event(self, conversation_id: str, body: bytes) -> MessageAdded:
        given = self._decoder.decode(body)
        event_id, now = ids(), clock()
        return MessageAdded(
            event_id=event_id,
            tenant=TENANT,
            occurred_at=now,
            ingested_at=now,
            conversation_id=conversation_id,
            message=Message(**_said(given, event_id, now)),
        )


async def _body(receive: Any) -> bytes:
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answered(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


Label = Annotated[str, pydantic.Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class TwinMessage(pydantic.BaseModel):
    """`NewMessage`, as pydantic has it."""

    model_config = pydantic.ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, pydantic.Field(max_length=1024 * 1024, pattern=r"^[^\x00]*$")]
    message_id: Label | None = None
    name: Label = ""
    model: Label = ""
    tokens: int | None = None
    created_at: pydantic.AwareDatetime | None = None
    metadata: dict[str, Any] = {}


class TwinSaid(pydantic.BaseModel):
    """The message of an event, as pydantic has it."""

    message_id: str
    role: str
    content: str
    name: str
    model: str
    tokens: int
    created_at: int
    metadata: dict[str, Any]


class TwinEvent(pydantic.BaseModel):
    """`MessageAdded`, as pydantic has it."""

    type: str = "conversation.message.added"
    event_id: str
    tenant: str
    occurred_at: int
    ingested_at: int
    conversation_id: str
    message: TwinSaid


class TwinPlace(pydantic.BaseModel):
    """`Acknowledged`, as pydantic has it."""

    event_id: str
    topic: str
    partition: int
    offset: int


class TwinAccepted(TwinPlace):
    """`Accepted`, as pydantic has it."""

    conversation_id: str
    events: list[TwinPlace]


class TwinLog(Protocol):
    """Where the twin's events go."""

    async def publish(self, event: TwinEvent) -> TwinPlace:
        """Return the place of the event once it is acknowledged."""
        ...


class NullTwin:
    """Encodes and acknowledges at once, as `NullLog` does."""

    def __init__(self) -> None:
        self._offset = 0

    async def publish(self, event: TwinEvent) -> TwinPlace:
        """The place of the event."""
        event.model_dump_json().encode()
        self._offset += 1
        return TwinPlace(event_id=event.event_id, topic=TOPIC, partition=0, offset=self._offset)


class AioTwin:
    """The broker's topic by aiokafka: acknowledged by all replicas, never doubled by retries."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def publish(self, event: TwinEvent) -> TwinPlace:
        """Return the place of the event once all replicas have it."""
        key = log_key(event.tenant, event.conversation_id).encode()
        value = event.model_dump_json().encode()
        placed = await self._producer.send_and_wait(self._topic, value, key)
        return TwinPlace(
            event_id=event.event_id,
            topic=placed.topic,
            partition=placed.partition,
            offset=placed.offset,
        )


_bearer = HTTPBearer()


def twin(log: "TwinLog") -> App:
    """The same route in FastAPI with pydantic, as its manual has it; no figures, no limits."""
    app = fastapi.FastAPI()
    keys = {hashlib.sha256(KEY.encode()).hexdigest(): TENANT}

    async def tenant(
        given: Annotated[HTTPAuthorizationCredentials, fastapi.Depends(_bearer)],
    ) -> str:
        found = keys.get(hashlib.sha256(given.credentials.encode()).hexdigest())
        if found is None:
            raise fastapi.HTTPException(401)
        return found

    async def add(
        conversation_id: Annotated[str, fastapi.Path(min_length=1, max_length=255)],
        given: TwinMessage,
        owner: Annotated[str, fastapi.Depends(tenant)],
    ) -> TwinAccepted:
        place = await log.publish(_twin_event(conversation_id, given, owner))
        return TwinAccepted(**place.model_dump(), conversation_id=conversation_id, events=[place])

    app.post("/v1/conversations/{conversation_id}/messages", status_code=202)(add)
    return app


def _twin_event(conversation_id: str, given: TwinMessage, owner: str) -> TwinEvent:
    event_id, now = ids(), clock()
    return TwinEvent(
        event_id=event_id,
        tenant=owner,
        occurred_at=now,
        ingested_at=now,
        conversation_id=conversation_id,
        message=TwinSaid(**_said(given, event_id, now)),
    )


def _said(given: NewMessage | TwinMessage, event_id: str, now: int) -> dict[str, Any]:
    """The message of an event, whichever library checks it."""
    return {
        "message_id": given.message_id or event_id,
        "role": given.role,
        "content": given.content,
        "name": given.name,
        "model": given.model,
        "tokens": count(given.content),
        "created_at": now,
        "metadata": given.metadata,
    }


@asynccontextmanager
async def null_log() -> AsyncGenerator[EventLog]:
    """A log that keeps nothing."""
    yield NullLog()


@asynccontextmanager
async def real_log(settings: Settings, topic: str) -> AsyncGenerator[EventLog]:
    """The broker's topic of that name."""
    log = kafka.Log(settings.kafka)
    try:
        yield OnTopic(log, topic)
    finally:
        log.close()


@asynccontextmanager
async def aiokafka_log(settings: Settings, topic: str) -> AsyncGenerator[TwinLog]:
    """Yield the broker's topic as aiokafka has it, with the settings of our own producer."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=settings.kafka.linger_ms,
    )
    await producer.start()
    try:
        yield AioTwin(producer, topic)
    finally:
        await producer.stop()


@asynccontextmanager
async def app_of(name: str, settings: Settings, topic: str) -> AsyncGenerator[App]:
    """Yield the server of that name: over the topic, or over nothing where none is named."""
    if name == "twin":
        yield twin(NullTwin())
    elif name == "aiokafka":
        async with aiokafka_log(settings, topic) as log:
            yield twin(log)
    else:
        async with real_log(settings, topic) if topic else null_log() as log:
            yield OURS[name](log)


OURS: dict[str, Callable[[EventLog], App]] = {"ours": ours, "unmeasured": unmeasured, "bare": Bare}


async def serve(
    opened: AbstractAsyncContextManager[App],
    listening: socket.socket,
) -> None:
    """Answer until told to stop."""
    count("")  # the vocabulary is read before the first request needs it
    async with opened as app:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve(sockets=[listening])


def main(name: str, descriptor: int) -> None:
    """Serve on core 0; the topic is named in the environment where the log is the real one."""
    os.sched_setaffinity(0, {SERVER_CORE})
    log_as_json()
    env = os.environ  # noqa: TID251 - the composition root of this process
    topic = env.get(TOPIC_NAME, "")
    opened = app_of(name, from_env(env) if topic else Settings(), topic)
    listening = socket.socket(fileno=descriptor)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(opened, listening))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
