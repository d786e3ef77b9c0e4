"""The client and the demo, against the application itself."""

import asyncio
import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from controlplane.instants import instant
from helix.client import calls
from helix.client.rest import AsyncClient, Client
from helix.client.wire import (
    BatchedEnd,
    BatchedMessage,
    Evidence,
    HealthReport,
    NewConversation,
    NewMessage,
    Status,
)
from helix.errors import ConflictError, InvalidError, MissingError, UnavailableError
from tests.served import KEY, application
from validation.access import client as access
from validation.demo import demo
from validation.meetings import ingest, read, same
from validation.status import show

LINE = NewMessage(role="user", content="hello", message_id="m1")


@pytest.fixture
def api() -> Iterator[Client]:
    """A client whose requests reach the application without a socket."""
    with (
        application() as handle,
        Client("http://testserver", KEY, transport=httpx.MockTransport(handle)) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAUSE_S_MAX", 0.0)


def answering(
    *answers: httpx.Response | Exception,
) -> tuple[Callable[[httpx.Request], httpx.Response], list[httpx.Request]]:
    """A server that gives those answers in turn, and the requests it saw."""
    left, seen = list(answers), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, seen


def over(handle: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://nowhere", KEY, transport=httpx.MockTransport(handle))


def refused(status: int, **details: object) -> httpx.Response:
    error = {"code": "X", "message": "no", "details": details, "timestamp": "2024-01-01T00:00:00Z"}
    return httpx.Response(status, content=json.dumps({"error": error}))


def accepted() -> httpx.Response:
    place = {"event_id": "e", "topic": "t", "partition": 0, "offset": 1}
    body = {"conversation_id": "c1", **place, "events": [place]}
    return httpx.Response(202, content=json.dumps(body))


def test_a_conversation_goes_in_and_comes_back(api: Client) -> None:
    begun = api.create_conversation(NewConversation(user_id="u"))
    api.add_messages(begun.conversation_id, [LINE], wait_s=1)
    api.complete(begun.conversation_id, "successful")

    assert [m.content for m in api.replay(begun.conversation_id).messages] == ["hello"]
    assert api.stats(begun.conversation_id).outcome == "successful"
    assert api.health().status == "healthy"


def test_messages_iterates_over_every_page(api: Client) -> None:
    lines = [NewMessage(role="user", content=str(n)) for n in range(205)]
    api.add_messages("c1", lines)

    assert [m.content for m in api.messages("c1")] == [str(n) for n in range(205)]


def test_an_awkward_id_reaches_its_conversation(api: Client) -> None:
    api.add_messages("what? 100% #1 é", [LINE])

    assert len(list(api.messages("what? 100% #1 é"))) == 1


def test_an_unknown_conversation_raises_missing(api: Client) -> None:
    with pytest.raises(MissingError, match="nobody"):
        api.replay("nobody")


def test_a_retry_carries_the_same_key() -> None:
    handle, seen = answering(refused(503), refused(429), httpx.ConnectError("no"), accepted())

    with over(handle) as client:
        client.add_messages("c1", [LINE])

    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1
    assert len(seen) == 4


def test_retries_end() -> None:
    handle, seen = answering(*[refused(503, service="kafka")] * 9)

    with (
        Client("http://x", KEY, transport=httpx.MockTransport(handle)) as client,
        pytest.raises(UnavailableError) as caught,
    ):
        client.stats("c1")

    assert caught.value.service == "kafka"
    assert len(seen) == calls.RETRIES_MAX


def test_a_control_plane_that_never_answers_is_named() -> None:
    handle, _ = answering(*[httpx.ConnectError("refused")] * 9)

    with (
        Client("http://nowhere", KEY, transport=httpx.MockTransport(handle)) as client,
        pytest.raises(UnavailableError, match="http://nowhere"),
    ):
        client.stats("c1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidError),
        (401, InvalidError),
        (403, InvalidError),
        (404, MissingError),
        (409, ConflictError),
        (413, InvalidError),
        (500, UnavailableError),
        (504, UnavailableError),
    ],
)
def test_each_refusal_is_one_of_the_five_errors(status: int, kind: type[Exception]) -> None:
    handle, _ = answering(refused(status, field="x"))

    with (
        Client("http://x", KEY, transport=httpx.MockTransport(handle)) as client,
        pytest.raises(kind),
    ):
        client.stats("c1")


def test_an_answer_of_somebody_else_is_refused() -> None:
    handle, _ = answering(httpx.Response(200, content=b"<html>"))

    with (
        Client("http://x", KEY, transport=httpx.MockTransport(handle)) as client,
        pytest.raises(UnavailableError, match="check the client's address"),
    ):
        client.stats("c1")


def test_a_health_report_is_read_even_when_it_says_unavailable() -> None:
    report = {"status": "unavailable", "running": True, "components": {}, "services": []}
    body = json.dumps({**report, "timestamp": "2024-01-01T00:00:00Z"})
    handle, _ = answering(httpx.Response(503, content=body))

    with over(handle) as client:
        assert client.health().status == "unavailable"


def test_the_awaited_client_retries_alike() -> None:
    handle, seen = answering(refused(503), httpx.ConnectError("no"), accepted())

    async def run() -> str:
        transport = httpx.MockTransport(handle)
        async with AsyncClient("http://x", KEY, transport=transport) as client:
            return (await client.add_messages("c1", [LINE])).event_id

    assert asyncio.run(run()) == "e"
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1


def test_the_sample_meeting_comes_back_word_for_word(api: Client) -> None:
    meeting = read()
    found = ingest(api, meeting, user_id="u")

    assert len(meeting.turns) > 100
    assert same(meeting, api.replay(found.conversation_id)) == []


def test_the_demo_passes_twice_and_shows_first_lines(api: Client) -> None:
    out = StringIO()

    assert demo(api, Console(file=out, width=200))
    assert demo(api, Console(file=out, width=200))
    assert "exactly as said" in out.getvalue()
    assert "Project Manager: So welcome" in out.getvalue()


def test_a_changed_turn_is_named(api: Client, tmp_path: Path) -> None:
    meeting = read()
    found = ingest(api, meeting, user_id="u")
    text = json.dumps({"meeting_transcripts": [{"speaker": "A", "content": "never said"}]})
    (tmp_path / "other.json").write_text(text)

    differences = same(read(tmp_path / "other.json"), api.replay(found.conversation_id))

    assert differences[0] == f"1 turns went in, {len(meeting.turns)} came back"
    assert "never said" in differences[1]


@pytest.mark.parametrize(
    ("status", "code"), [("healthy", 0), ("disabled", 0), ("degraded", 1), ("unavailable", 1)]
)
def test_status_fails_when_a_service_is_amiss(status: Status, code: int) -> None:
    row = Evidence(service="neo4j", status=status, detail="because", lag_records={"a": 2.0})
    report = HealthReport(
        status="healthy", running=True, components={}, services=[row], timestamp=instant(0)
    )
    out = StringIO()

    assert show(report, Console(file=out, width=120)) == code
    assert "because" in out.getvalue()


def test_without_an_address_the_next_step_is_named() -> None:
    with pytest.raises(InvalidError, match=r"HELIX_API_KEY.*make -s env"):
        access({"HELIX_URL": "http://x"})


def test_messages_are_edited_taken_back_and_published_at_once(api: Client) -> None:
    said = BatchedMessage(conversation_id="c1", message=LINE)
    batch = api.publish([said, BatchedEnd(conversation_id="c1", outcome="error")])
    api.edit_message("c1", "m1", "hallo")
    edited = [message.content for message in api.messages("c1")]
    api.delete_message("c1", "m1")

    assert batch.accepted == 2
    assert edited == ["hallo"]
    assert list(api.messages("c1")) == []
    assert api.conversation("c1").message_count == 0
    assert api.conversation("c1").outcome == "error"
