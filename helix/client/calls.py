"""Every call of the API as a value: what is sent, and what its answer means."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from helix.client.wire import (
    PAGE_ROWS_MAX,
    Accepted,
    Completion,
    ConversationStats,
    HealthReport,
    MessagesPage,
    NewConversation,
    NewMessage,
    Refused,
    Replay,
    ReplayRequest,
)
from helix.errors import ConflictError, HelixError, InvalidError, MissingError, UnavailableError
from helix.events import Outcome

RETRIES_MAX = 5
PAUSE_S_MIN = 0.2
PAUSE_S_MAX = 5.0
RETRIED = frozenset({429, 503})
SERVICE = "control-plane"

A = TypeVar("A")


class Call(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """One request, and the type of its answer."""

    method: str
    path: str
    answer: type[A]
    body: bytes = b""
    query: dict[str, int] = {}
    wait_s: int = 0
    fine: frozenset[int] = frozenset({200, 202})

    def headers(self, key: str) -> dict[str, str]:
        """What goes with it: the same key at every attempt makes a retried write safe."""
        if self.method == "GET":
            return {}
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return headers | ({"Prefer": f"wait={self.wait_s}"} if self.wait_s else {})

    def read(self, response: httpx.Response) -> A:
        """The answer; one of our errors where it is a refusal."""
        if response.status_code not in self.fine:
            raise refusal(response)
        try:
            return msgspec.json.decode(response.content, type=self.answer)
        except msgspec.DecodeError as error:
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                raise refusal(response) from error
            raise UnavailableError(
                SERVICE, f"`{self.path}` gave no answer of ours: check the client's address"
            ) from error


def create_conversation(conversation: NewConversation, *, wait_s: int = 0) -> Call[Accepted]:
    """Begin a conversation."""
    return _post("/v1/conversations", conversation, Accepted, wait_s=wait_s)


def add_messages(
    conversation_id: str, messages: Sequence[NewMessage], *, wait_s: int = 0
) -> Call[Accepted]:
    """Add messages in that order."""
    path = f"/v1/conversations/{_segment(conversation_id)}/messages"
    return _post(path, messages, Accepted, wait_s=wait_s)


def complete(conversation_id: str, outcome: Outcome, *, wait_s: int = 0) -> Call[Accepted]:
    """End a conversation."""
    path = f"/v1/conversations/{_segment(conversation_id)}/complete"
    return _post(path, Completion(outcome=outcome), Accepted, wait_s=wait_s)


def messages(conversation_id: str, *, page: int) -> Call[MessagesPage]:
    """One page of a conversation's messages."""
    path = f"/v1/conversations/{_segment(conversation_id)}/messages"
    query = {"page": page, "limit": PAGE_ROWS_MAX}
    return Call(method="GET", path=path, answer=MessagesPage, query=query)


def replay(
    conversation_id: str, *, max_tokens: int | None = None, since: datetime | None = None
) -> Call[Replay]:
    """Replay a conversation: complete, or the newest within the bound."""
    request = ReplayRequest(conversation_id=conversation_id, max_tokens=max_tokens, since=since)
    return _post("/v1/context/replay", request, Replay)


def stats(conversation_id: str) -> Call[ConversationStats]:
    """A conversation's figures."""
    path = f"/v1/context/stats/{_segment(conversation_id)}"
    return Call(method="GET", path=path, answer=ConversationStats)


def health() -> Call[HealthReport]:
    """Evidence for every service; a platform that is unavailable still says why."""
    fine = frozenset({200, 503})
    return Call(method="GET", path="/v1/bigdata/health", answer=HealthReport, fine=fine)


def again(call: Call[Any], response: httpx.Response) -> bool:
    """Whether the same call may do better in a moment."""
    return response.status_code in RETRIED and response.status_code not in call.fine


def pause_s(attempt: int, headers: Mapping[str, str]) -> float:
    """How long to wait before that attempt: twice as long each time, or as the server asks."""
    asked = headers.get("retry-after", "")
    wanted = float(asked) if asked.isdecimal() else PAUSE_S_MIN * 2 ** (attempt - 1)
    return min(wanted, PAUSE_S_MAX)


def unreachable(url: str, error: httpx.TransportError) -> UnavailableError:
    """The error for a control plane that does not answer at all."""
    reason = str(error) or type(error).__name__
    return UnavailableError(SERVICE, f"`{url}` does not answer: {reason}: run `make status`")


def refusal(response: httpx.Response) -> HelixError:
    """The error that says to our caller what the server said to us."""
    status = response.status_code
    try:
        error = msgspec.json.decode(response.content, type=Refused).error
        message, details = error.message, {**error.details, "code": error.code}
    except msgspec.DecodeError:
        message, details = f"answered {status}", {}
    if status == HTTPStatus.NOT_FOUND:
        return MissingError(message, **details)
    if status == HTTPStatus.CONFLICT:
        return ConflictError(message, **details)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        service = str(details.pop("service", SERVICE))
        return UnavailableError(service, message, **details)
    return InvalidError(message, **details)


def _post(path: str, body: object, answer: type[A], *, wait_s: int = 0) -> Call[A]:
    encoded = msgspec.json.encode(body)
    return Call(method="POST", path=path, answer=answer, body=encoded, wait_s=wait_s)


def _segment(conversation_id: str) -> str:
    return quote(conversation_id, safe="")
