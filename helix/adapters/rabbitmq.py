"""Queues of batch work in RabbitMQ, through its management interface."""

import contextlib
import urllib.parse
from collections.abc import Generator, Iterable

import httpx

from helix.adapters import trust
from helix.errors import TopologyError, UnavailableError
from helix.settings import Rabbitmq
from helix.topology.model import Queue

SERVICE = "rabbitmq"
ANSWER_S_MAX = 10.0
CREATED = 201
BAD_REQUEST = 400
VHOST = urllib.parse.quote("/", safe="")
DECLARATION = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "quorum"}}


@contextlib.contextmanager
def asked(settings: Rabbitmq) -> Generator[httpx.Client]:
    """A client of the management interface; a server that is away becomes `UnavailableError`."""
    try:
        with httpx.Client(
            base_url=f"{trust.scheme(settings.ca)}://{settings.host}:{settings.management_port}",
            auth=(settings.user, settings.password.reveal()),
            timeout=ANSWER_S_MAX,
            verify=trust.verified(settings.ca),
        ) as client:
            yield client
    except httpx.HTTPError as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error


def ensure(settings: Rabbitmq, queues: Iterable[Queue]) -> list[str]:
    """What was changed so that every queue is there, durable and replicated."""
    made: list[str] = []
    with asked(settings) as client:
        for queue in queues:
            answer = client.put(f"/api/queues/{VHOST}/{queue.name}", json=DECLARATION)
            if answer.status_code == BAD_REQUEST:
                raise TopologyError(
                    f"queue `{queue.name}` exists with other properties: drain and delete it"
                )
            answer.raise_for_status()
            if answer.status_code == CREATED:
                made.append(f"created {queue.name}")
    return made
