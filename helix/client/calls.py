"""Every call of the API as a value: what is sent, and what its answer means."""

import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from helix.client.wire import (
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    Accepted,
    BatchAccepted,
    Completion,
    CompressionHistory,
    ConversationDetails,
    ConversationsPage,
    ConversationStats,
    Expanded,
    ExpandRequest,
    HealthReport,
    MessagesPage,
    NewConversation,
    NewEvent,
    NewMessage,
    NewText,
    Refused,
    Replay,
    ReplayRequest,
    Strategy,
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
    query: dict[str, int | str] = {}
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


def edit_message(
    conversation_id: str, message_id: str, content: str, *, wait_s: int = 0
) -> Call[Accepted]:
    """Replace a message's text."""
    path = _message(conversation_id, message_id)
    body = msgspec.json.encode(NewText(content=content))
    return Call(method="PATCH", path=path, answer=Accepted, body=body, wait_s=wait_s)


def delete_message(conversation_id: str, message_id: str, *, wait_s: int = 0) -> Call[Accepted]:
    """Take a message back."""
    path = _message(conversation_id, message_id)
    return Call(method="DELETE", path=path, answer=Accepted, wait_s=wait_s)


def publish(events: Sequence[NewEvent], *, wait_s: int = 0) -> Call[BatchAccepted]:
    """Publish events of any conversations at once."""
    return _post("/v1/events/batch", events, BatchAccepted, wait_s=wait_s)


def conversation(conversation_id: str) -> Call[ConversationDetails]:
    """What is known of a conversation."""
    path = f"/v1/conversations/{_segment(conversation_id)}"
    return Call(method="GET", path=path, answer=ConversationDetails)


def complete(conversation_id: str, outcome: Outcome, *, wait_s: int = 0) -> Call[Accepted]:
    """End a conversation."""
    path = f"/v1/conversations/{_segment(conversation_id)}/complete"
    return _post(path, Completion(outcome=outcome), Accepted, wait_s=wait_s)


def conversations(
    *, user_id: str = "", q: str = "", page: int = 1, limit: int = PAGE_ROWS_DEFAULT
) -> Call[ConversationsPage]:
    """One page of the conversations: of that user, with that in the title."""
    query: dict[str, int | str] = {"user_id": user_id, "q": q, "page": page, "limit": limit}
    given = {name: value for name, value in query.items() if value != ""}
    return Call(method="GET", path="/v1/conversations", answer=ConversationsPage, query=given)


def messages(conversation_id: str, *, page: int) -> Call[MessagesPage]:
    """One page of a conversation's messages."""
    path = f"/v1/conversations/{_segment(conversation_id)}/messages"
    query: dict[str, int | str] = {"page": page, "limit": PAGE_ROWS_MAX}
    return Call(method="GET", path=path, answer=MessagesPage, query=query)


def replay(
    conversation_id: str,
    *,
    max_tokens: int | None = None,
    since: datetime | None = None,
    strategy: Strategy | None = None,
    query: str = "",
    resume: bool = False,
) -> Call[Replay]:
    """Replay a conversation: complete, or what fits within the bound."""
    request = ReplayRequest(
        conversation_id=conversation_id,
        max_tokens=max_tokens,
        since=since,
        compression_strategy=strategy,
        query=query,
        resume_from_snapshot=resume,
    )
    return replay_as(request)


def replay_as(request: ReplayRequest) -> Call[Replay]:
    """Replay a conversation exactly as the request says."""
    return _post("/v1/context/replay", request, Replay)


def expand(conversation_id: str, message_ids: Sequence[str]) -> Call[Expanded]:
    """Fetch messages by their ids: those a compression dropped, say."""
    request = ExpandRequest(conversation_id=conversation_id, message_ids=list(message_ids))
    return _post("/v1/context/expand", request, Expanded)


def compressions(conversation_id: str) -> Call[CompressionHistory]:
    """How a conversation was compressed lately."""
    path = f"/v1/context/compression/{_segment(conversation_id)}"
    return Call(method="GET", path=path, answer=CompressionHistory)


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


def trusted(ca: str) -> ssl.SSLContext | bool:
    """Whom to trust, as `verify` of httpx: the authority in that file, else the well-known ones."""
    try:
        return ssl.create_default_context(cafile=ca) if ca else True
    except OSError as error:
        raise InvalidError(
            f"`HELIX_CA` names `{ca}`, which holds no authority's certificate ({error}):"
            " give the path of one in PEM"
        ) from error


def untrusted(error: httpx.TransportError) -> bool:
    """Whether the server is not who it should be; asking again would not change that."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def unreachable(url: str, error: httpx.TransportError) -> UnavailableError:
    """The error for a control plane that does not answer at all, or is not trusted."""
    reason = str(error) or type(error).__name__
    if untrusted(error):
        return UnavailableError(
            SERVICE,
            f"`{url}` shows a certificate that is not trusted: {reason}: set `HELIX_CA` to the path"
            " of the authority that signed it",
        )
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


def _message(conversation_id: str, message_id: str) -> str:
    return f"/v1/conversations/{_segment(conversation_id)}/messages/{_segment(message_id)}"


def _segment(conversation_id: str) -> str:
    return quote(conversation_id, safe="")
