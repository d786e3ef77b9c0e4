"""Writing over a world in memory: retries, edits, deletions, batches, lists and figures."""

import inspect
import json
import re
from typing import Any

import pytest

from controlplane import auth
from controlplane.app import ROUTES
from helix.adapters.tokens import count
from helix.events import MessageAdded, MessageDeleted, MessageEdited
from tests.unit.api import AUTH, HELLO, Service, refused

MESSAGES = "/v1/conversations/c1/messages"
BATCH = "/v1/events/batch"


def events(service: Service) -> list[Any]:
    return [stored.event for _, stored in service.log.all()]


def said(conversation_id: str = "c1", **message: object) -> dict[str, object]:
    text = {"role": "user", "content": "x", **message}
    kind = "conversation.message.added"
    return {"type": kind, "conversation_id": conversation_id, "message": text}


def texts(service: Service) -> list[str]:
    found = service.get(MESSAGES).json()["messages"]
    return [message["content"] for message in found]


def lines(service: Service, body: bytes, **headers: str) -> Any:
    kind = {"Content-Type": "application/x-ndjson"}
    return service.client.post(BATCH, content=body, headers={**AUTH, **kind, **headers})


def test_a_retry_gets_the_first_receipts_and_publishes_nothing(service: Service) -> None:
    key = {"Idempotency-Key": "once"}
    first = service.post(MESSAGES, [HELLO, {"role": "user", "content": "2"}], **key)
    again = service.post(MESSAGES, [HELLO, {"role": "user", "content": "2"}], **key)

    assert again.status_code == 202
    assert again.json() == first.json()
    assert len(events(service)) == 2


def test_a_retry_is_found_in_the_store_when_the_cache_is_away(service: Service) -> None:
    first = service.post(MESSAGES, HELLO)
    service.cache.away = True
    again = service.post(MESSAGES, HELLO)

    assert again.json() == first.json()
    assert len(events(service)) == 1


def test_a_retry_nobody_can_look_up_is_published_under_the_same_id(service: Service) -> None:
    first = service.post(MESSAGES, HELLO)
    service.cache.away = service.states.away = True
    again = service.post(MESSAGES, HELLO)

    assert again.json()["event_id"] == first.json()["event_id"]
    assert len(events(service)) == 2
    assert texts(service) == ["hello there"]


def test_a_retry_publishes_only_what_is_missing_and_keeps_the_order(service: Service) -> None:
    one, two = HELLO, {"role": "user", "content": "2", "message_id": "m2"}
    alone = service.post(MESSAGES, two).json()
    both = service.post(MESSAGES, [one, two]).json()

    assert [receipt["offset"] for receipt in both["events"]] == [1, alone["offset"]]
    assert len(events(service)) == 2


def test_a_key_with_another_body_is_a_conflict(service: Service) -> None:
    key = {"Idempotency-Key": "once"}
    service.post(MESSAGES, HELLO, **key)

    other = service.post(MESSAGES, {**HELLO, "content": "else"}, **key)

    refused(other, 409, "IDEMPOTENCY_KEY_REUSED")
    assert len(events(service)) == 1


def test_the_order_of_fields_makes_no_other_request(service: Service) -> None:
    key = {"Idempotency-Key": "once", "Content-Type": "application/json"}
    bodies = [
        b'{"role":"user","content":"x","metadata":{"a":1,"b":2}}',
        b'{"metadata":{"b":2,"a":1}, "content":"x", "role":"user", "name":""}',
    ]
    answers = [
        service.client.post(MESSAGES, content=body, headers={**AUTH, **key}) for body in bodies
    ]

    assert answers[0].json() == answers[1].json()


def test_a_message_id_with_another_text_is_a_conflict(service: Service) -> None:
    service.post(MESSAGES, HELLO)

    refused(service.post(MESSAGES, {**HELLO, "content": "else"}), 409, "IDEMPOTENCY_KEY_REUSED")


def test_another_tenant_may_use_the_same_key(service: Service) -> None:
    key = {"Idempotency-Key": "once"}
    service.post(MESSAGES, HELLO, **key)

    other = service.post(
        MESSAGES, {**HELLO, "content": "else"}, **key, Authorization="Bearer other"
    )

    assert other.status_code == 202


def test_tokens_are_always_counted_here_and_the_clients_are_kept_beside(service: Service) -> None:
    service.post(MESSAGES, {**HELLO, "tokens": 999})

    (event,) = events(service)
    assert isinstance(event, MessageAdded)
    assert event.message.tokens == count("hello there")
    assert event.message.tokens_stated == 999


def test_an_edit_shows_from_now_on_and_the_log_keeps_both(service: Service) -> None:
    service.post(MESSAGES, [HELLO, {"role": "user", "content": "bye"}])
    response = service.client.patch(f"{MESSAGES}/m1", json={"content": "hallo"}, headers=AUTH)

    assert response.status_code == 202
    assert texts(service) == ["hallo", "bye"]
    assert isinstance(events(service)[-1], MessageEdited)
    assert events(service)[-1].tokens == count("hallo")


def test_a_deleted_message_is_left_out_and_the_log_keeps_it(service: Service) -> None:
    service.post(MESSAGES, [HELLO, {"role": "user", "content": "bye"}])
    response = service.client.delete(f"{MESSAGES}/m1", headers=AUTH)

    assert response.status_code == 202
    assert texts(service) == ["bye"]
    assert isinstance(events(service)[-1], MessageDeleted)


def test_a_deletion_that_is_retried_is_answered_as_the_first_time(service: Service) -> None:
    service.post(MESSAGES, HELLO)
    headers = {**AUTH, "Idempotency-Key": "gone"}
    first = service.client.delete(f"{MESSAGES}/m1", headers=headers)
    again = service.client.delete(f"{MESSAGES}/m1", headers=headers)

    assert again.json() == first.json()
    refused(service.client.delete(f"{MESSAGES}/m1", headers=AUTH), 404, "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_does_not_exist_cannot_be_changed(service: Service, method: str) -> None:
    body = {"content": "x"} if method == "PATCH" else None
    nowhere = service.client.request(method, f"{MESSAGES}/m1", headers=AUTH, json=body)
    service.post(MESSAGES, HELLO)
    nothing = service.client.request(method, f"{MESSAGES}/m2", headers=AUTH, json=body)

    refused(nowhere, 404, "CONVERSATION_NOT_FOUND")
    refused(nothing, 404, "MESSAGE_NOT_FOUND")
    assert len(events(service)) == 1


def test_conversations_are_listed_by_user_and_title_with_links(service: Service) -> None:
    for number in range(5):
        body = {
            "user_id": f"u{number % 2}",
            "title": f"Plan {number}",
            "conversation_id": f"c{number}",
        }
        service.post("/v1/conversations", body)

    response = service.get("/v1/conversations?user_id=u0&q=plan&limit=2")

    found = response.json()
    assert [row["conversation_id"] for row in found["conversations"]] == ["c4", "c2"]
    assert found["total"] == 3
    assert response.headers["X-Total-Count"] == "3"
    assert 'page=2&limit=2&user_id=u0&q=plan>; rel="next"' in response.headers["Link"]


def test_counts_of_a_changed_conversation_come_from_its_replay(service: Service) -> None:
    service.post(
        "/v1/conversations", {"user_id": "u", "conversation_id": "c1", "metadata": {"a": 1}}
    )
    service.post(MESSAGES, [HELLO, {"role": "user", "content": "bye"}])
    before = service.get("/v1/conversations/c1").json()
    service.client.delete(f"{MESSAGES}/m1", headers=AUTH)
    after = service.get("/v1/conversations/c1").json()

    assert (before["message_count"], after["message_count"]) == (2, 1)
    assert after["total_tokens"] == count("bye")
    assert after["metadata"] == {"a": 1}
    (row,) = service.get("/v1/conversations").json()["conversations"]
    assert row["message_count"] is None


def test_an_event_is_read_by_its_id_and_only_by_its_tenant(service: Service) -> None:
    event_id = service.post(MESSAGES, HELLO).json()["event_id"]

    found = service.get(f"/v1/events/{event_id}").json()

    assert found["event"]["type"] == "conversation.message.added"
    assert found["event"]["message"]["content"] == "hello there"
    assert found["position"]["offset"] == 0
    refused(service.get("/v1/events/nothing"), 404, "EVENT_NOT_FOUND")
    stranger = service.get(f"/v1/events/{event_id}", Authorization="Bearer other")
    refused(stranger, 404, "EVENT_NOT_FOUND")


def test_trends_count_what_came_in(service: Service) -> None:
    service.post("/v1/conversations", {"user_id": "u", "conversation_id": "c1"})
    service.post(MESSAGES, [HELLO, {"role": "user", "content": "bye"}])

    for granularity in ("hourly", "daily"):
        body = service.get(f"/v1/analytics/conversations/trends?granularity={granularity}").json()

        (row,) = body["stats"]
        assert (row["conversation_count"], row["message_count"]) == (1, 2)
        assert row["total_tokens"] == count("hello there") + count("bye")
        assert row["avg_messages_per_conv"] == 2.0


@pytest.mark.parametrize("query", ["days=0", "days=31", "granularity=weekly"])
def test_a_bad_trend_is_refused_by_field(service: Service, query: str) -> None:
    response = service.get(f"/v1/analytics/conversations/trends?{query}")

    assert refused(response, 400, "INVALID_REQUEST")["details"]["field"] == query.partition("=")[0]


def test_figures_of_compressions_that_never_were_are_empty(service: Service) -> None:
    body = service.get("/v1/analytics/compression/stats").json()

    assert body == {"total_compressions": 0, "strategies": {}, "avg_compression_time_ms": None}


def test_a_batch_goes_to_its_conversations_in_order(service: Service) -> None:
    batch = [
        {"type": "conversation.created", "conversation_id": "c1", "user_id": "u"},
        said("c1", content="1"),
        said("c2", content="other"),
        said("c1", content="2", message_id="m2"),
        {
            "type": "conversation.message.edited",
            "conversation_id": "c1",
            "message_id": "m2",
            "content": "two",
        },
        {"type": "conversation.completed", "conversation_id": "c1", "outcome": "successful"},
    ]
    response = service.post(BATCH, batch)

    assert response.status_code == 202
    body = response.json()
    assert (body["accepted"], body["rejected"]) == (6, 0)
    assert [verdict["index"] for verdict in body["events"]] == list(range(6))
    assert texts(service) == ["1", "two"]
    assert service.get("/v1/conversations/c1").json()["outcome"] == "successful"


def test_lines_of_json_are_a_batch_too(service: Service) -> None:
    body = b"\n".join(json.dumps(said(content=str(n))).encode() for n in range(3)) + b"\n"

    assert lines(service, body).json()["accepted"] == 3
    assert texts(service) == ["0", "1", "2"]


@pytest.mark.parametrize("form", ["list", "lines"])
def test_each_event_is_judged_on_its_own(service: Service, form: str) -> None:
    batch: list[object] = [
        said(content="good"),
        said(content=5),
        {"type": "debate.started", "conversation_id": "c1"},
        said(content="a\x00b"),
        said(metadata={"a": "\x00"}),
        {**said(), "tenant": "globex"},
        said(content="also good", message_id="m"),
        said(content="again", message_id="m"),
        "text",
    ]
    if form == "list":
        response = service.post(BATCH, batch)
    else:
        response = lines(service, b"\n".join(json.dumps(event).encode() for event in batch))

    body = response.json()
    assert response.status_code == 202
    assert [verdict["accepted"] for verdict in body["events"]] == [
        True, False, False, False, False, False, True, False, False,
    ]  # fmt: skip
    errors = [verdict["error"] for verdict in body["events"] if not verdict["accepted"]]
    assert {error["code"] for error in errors} == {"INVALID_REQUEST"}
    assert [error.get("field") for error in errors] == [
        "message.content", "type", "message.content", "message.metadata", "tenant",
        "message.message_id", "body",
    ]  # fmt: skip
    assert texts(service) == ["good", "also good"]


def test_a_batch_of_which_nothing_is_accepted_is_refused_with_every_reason(
    service: Service,
) -> None:
    error = refused(service.post(BATCH, [said(content=5), {}]), 400, "NO_EVENT_ACCEPTED")

    assert error["details"]["field"] == "[0].message.content"
    assert [reason["index"] for reason in error["details"]["events"]] == [0, 1]


def test_a_batch_that_is_retried_is_published_once(service: Service) -> None:
    batch = [said("c1", content="1"), said("c2", content="2")]
    key = {"Idempotency-Key": "once"}
    first = service.post(BATCH, batch, **key)
    again = service.post(BATCH, batch, **key)

    assert again.json() == first.json()
    assert len(events(service)) == 2


def test_a_message_id_names_the_same_event_in_a_batch_and_alone(service: Service) -> None:
    alone = service.post(MESSAGES, HELLO).json()
    batch = service.post(BATCH, [said(**HELLO), said(**{**HELLO, "content": "else"})])

    same, other = batch.json()["events"]
    assert same["offset"] == alone["offset"]
    assert other["error"]["code"] == "INVALID_REQUEST"
    reused = service.post(BATCH, [said(**{**HELLO, "content": "else"}), said()]).json()
    assert reused["events"][0]["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    "body", [b"", b"[", b"{}", b"[]", b"null", b"\xff", b"[" + b"{}," * 1000 + b"{}]"]
)
def test_a_body_that_is_no_batch_is_refused(service: Service, body: bytes) -> None:
    headers = {**AUTH, "Content-Type": "application/json"}

    response = service.client.post(BATCH, content=body, headers=headers)

    assert refused(response, 400, "INVALID_REQUEST")["details"]["field"] == "body"


def test_a_batch_while_the_log_is_away_is_unavailable(service: Service) -> None:
    service.log.away = True

    refused(service.post(BATCH, [said()]), 503, "SERVICE_UNAVAILABLE")


def test_a_wait_for_a_batch_is_for_all_its_conversations(service: Service) -> None:
    shown = service.post(BATCH, [said("c1"), said("c2")], Prefer="wait=2")
    service.warm.lag = 1
    hidden = service.post(BATCH, [said("c1"), said("c2")], Prefer="wait=1")

    assert shown.headers["Preference-Applied"] == "wait=2"
    assert "Preference-Applied" not in hidden.headers


def test_the_short_way_leaves_out_nothing_its_routes_ask_for() -> None:
    direct = [handler for handler in ROUTES if auth.DIRECT in handler.opt]

    assert direct
    for handler in direct:
        given = {*re.findall(r"{(\w+):str}", "".join(handler.paths)), "data", "request"}
        assert set(inspect.signature(handler.fn).parameters) == given
        assert not handler.guards
        assert handler.before_request is handler.after_request is None
