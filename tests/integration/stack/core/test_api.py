"""The API of a real stack: written, replayed, and honest when a store is gone."""

import httpx
import pytest

from helix.client.rest import Client
from helix.client.wire import BatchedMessage, NewMessage
from helix.errors import UnavailableError
from tests.integration.running import Running
from tests.waiting import until
from validation.meetings import Meeting, ingest, read, same

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

BACK_S_MAX = 120


@pytest.fixture(scope="session")
def meeting() -> Meeting:
    return read()


def test_a_meeting_comes_back_word_for_word(api: Client, meeting: Meeting) -> None:
    found = ingest(api, meeting, user_id="u")
    replay = api.replay(found.conversation_id)

    assert same(meeting, replay) == []
    assert replay.exact_up_to.offset > found.last.offset
    assert not replay.degraded


def test_after_a_wait_pages_and_figures_agree_with_the_replay(
    api: Client, meeting: Meeting
) -> None:
    found = ingest(api, meeting, user_id="u")
    replay = api.replay(found.conversation_id)
    stats = api.stats(found.conversation_id)

    assert list(api.messages(found.conversation_id)) == replay.messages
    assert stats.message_count == len(meeting.turns)
    assert stats.total_tokens == replay.total_tokens
    assert stats.outcome == "successful"


def test_a_write_is_replayed_at_once_whether_stored_or_not(api: Client) -> None:
    for number in range(20):
        api.add_messages("at-once", [NewMessage(role="user", content=str(number))])

        assert api.replay("at-once").messages[-1].content == str(number)


def test_the_same_key_twice_is_one_message(stack: Running, api: Client) -> None:
    headers = {"Authorization": f"Bearer {stack.api_key}", "Idempotency-Key": "only-once"}
    url = f"{stack.url}/v1/conversations/keyed/messages"
    first, again = (
        httpx.post(url, json={"role": "user", "content": "x"}, headers=headers) for _ in range(2)
    )
    other = httpx.post(url, json={"role": "user", "content": "y"}, headers=headers)

    assert again.json() == first.json()
    assert other.status_code == 409
    assert len(api.replay("keyed").messages) == 1


def test_edits_and_deletions_show_everywhere(api: Client) -> None:
    lines = [NewMessage(role="user", content=f"{n}", message_id=f"m{n}") for n in range(3)]
    api.add_messages("changed", lines)
    api.edit_message("changed", "m1", "one")
    api.delete_message("changed", "m2", wait_s=10)

    texts = [message.content for message in api.messages("changed")]
    assert texts == ["0", "one"]
    assert [message.content for message in api.replay("changed").messages] == texts
    assert api.conversation("changed").message_count == 2


def test_a_batch_is_read_back_by_conversation_and_by_event(stack: Running, api: Client) -> None:
    batch = [
        BatchedMessage(
            conversation_id=f"batch-{n % 3}", message=NewMessage(role="user", content=f"{n}")
        )
        for n in range(300)
    ]
    done = api.publish(batch, wait_s=10)

    assert done.accepted == 300
    for first in range(3):
        texts = [message.content for message in api.messages(f"batch-{first}")]
        assert texts == [f"{n}" for n in range(first, 300, 3)]
    url = f"{stack.url}/v1/events/{done.events[-1].event_id}"
    found = httpx.get(url, headers={"Authorization": f"Bearer {stack.api_key}"}).json()
    assert found["event"]["message"]["content"] == "299"


def test_every_answer_to_a_key_says_what_is_left_of_its_minute(stack: Running) -> None:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    one, two = (httpx.get(f"{stack.url}/v1/conversations", headers=headers) for _ in range(2))

    assert int(one.headers["X-RateLimit-Remaining"]) < int(one.headers["X-RateLimit-Limit"])
    assert two.headers["X-RateLimit-Remaining"] != one.headers["X-RateLimit-Remaining"]


def test_without_the_warm_copy_the_replay_is_the_same_and_marked(
    stack: Running, api: Client, meeting: Meeting
) -> None:
    found = ingest(api, meeting, user_id="u")
    whole = api.replay(found.conversation_id)

    stack.kill("clickhouse")
    replay = api.replay(found.conversation_id)

    assert replay.messages == whole.messages
    assert replay.degraded
    until(
        lambda: not api.replay(found.conversation_id).degraded,
        s_max=BACK_S_MAX,
        what="ClickHouse is back",
    )


def test_a_write_while_the_log_is_gone_is_refused_and_later_accepted(
    stack: Running, api: Client
) -> None:
    stack.kill("kafka")

    def accepted() -> bool:
        try:
            api.add_messages("outage", [NewMessage(role="user", content="x", message_id="m")])
        except UnavailableError:
            return False
        return True

    until(accepted, s_max=BACK_S_MAX, what="Kafka takes writes again")
    assert len(api.replay("outage").messages) >= 1


def test_the_programs_answer_what_operators_ask(stack: Running) -> None:
    assert httpx.get(f"{stack.url}/readyz").text == "ready"
    token = stack.lookup("control-plane-metrics")
    bearer = {"Authorization": f"Bearer {token}"}
    figures = httpx.get(f"{stack.url}/metrics", headers=bearer).text
    assert "helix_http_requests_total" in figures
    assert httpx.get(f"{stack.url}/metrics").status_code == 401
    assert httpx.get(f"{stack.url}/v1/topology").status_code == 401
