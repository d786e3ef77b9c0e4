"""Events: many at once, and one by its id."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse

from controlplane.auth import DIRECT, JSON, Scope, requires
from controlplane.batches import Batch, Batched, published
from controlplane.bodies import NDJSON
from controlplane.edge import Writing, answered, writing
from controlplane.errors import READ_STATUSES, WRITE_STATUSES, accepting, deadline, refusals
from controlplane.replay import TOPIC
from controlplane.routes.conversations import PathId
from helix.client.wire import BatchAccepted, StoredEvent
from helix.errors import MissingError
from helix.ports import Credential, World

ANSWER_S_MAX = 10.0

Asked = Request[Credential, str, State]


@post(
    "/v1/events/batch",
    status_code=202,
    dto=Batched,
    return_dto=None,
    opt=requires(Scope.WRITE, body=(*JSON, NDJSON)) | {DIRECT: True},
    responses=accepting(BatchAccepted) | refusals(*WRITE_STATUSES),
    operation_class=Writing,
    summary="Publish up to 1,000 events of any conversations",
)
async def publish(data: JSONBody[Batch], request: Asked) -> ASGIResponse:
    """A verdict on each event; 400 where none is accepted. Lines of JSON are taken as well."""
    write = writing(request)
    async with deadline("the log's acknowledgement", ANSWER_S_MAX):
        done = await published(write, data)
    return await answered(write, done.answer, done.last)


@get(
    "/v1/events/{event_id:str}",
    opt=requires(Scope.READ),
    responses=refusals(*READ_STATUSES),
    summary="Read an event as the log holds it",
)
async def event(event_id: PathId, request: Asked, world: NamedDependency[World]) -> StoredEvent:
    """The event and its position, from the warm copy."""
    async with deadline("the event", ANSWER_S_MAX):
        found = await world.events.event(request.user.tenant, event_id)
    if found is None:
        raise MissingError(
            f"no event `{event_id}`: check the id; one just written shows in a moment",
            code="EVENT_NOT_FOUND",
            event_id=event_id,
        )
    told: dict[str, Any] = msgspec.to_builtins(found.event)
    return StoredEvent(topic=TOPIC, position=found.position, event=told)


ROUTES: tuple[HTTPRouteHandler, ...] = (publish, event)
