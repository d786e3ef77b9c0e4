"""Replays of a real stack: complete up to the position they name, whatever goes on beside them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from helix.client.rest import Client
from helix.client.wire import NewMessage, Replay
from helix.errors import InvalidError, MissingError
from tests.integration.running import Running
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

MESSAGES = 10_000
BATCH = 250
READABLE_S_MAX = 30
WAIT_S = 10
SNAPSHOT_S_MAX = 30


def written(client: Client, conversation: str, numbers: range) -> dict[str, int]:
    """Write those turns in batches; the offset of each by its text."""
    offsets: dict[str, int] = {}
    for start in range(numbers.start, numbers.stop, BATCH):
        texts = [f"turn {number}" for number in range(start, min(start + BATCH, numbers.stop))]
        turns = [NewMessage(role="user", content=text) for text in texts]
        accepted = client.add_messages(conversation, turns)
        offsets |= {text: event.offset for text, event in zip(texts, accepted.events, strict=True)}
    return offsets


def texts(replay: Replay) -> list[str]:
    return [message.content for message in replay.messages]


def test_every_replay_is_exact_while_ten_thousand_messages_are_written(
    stack: Running, api: Client
) -> None:
    replays: list[Replay] = []
    api.add_messages("growing", [NewMessage(role="user", content="the first")])
    with ThreadPoolExecutor(1) as writer, Client(stack.url, stack.api_key) as other:
        writing = writer.submit(written, other, "growing", range(MESSAGES))
        while not writing.done():
            replays.append(api.replay("growing"))
        offsets = writing.result()
    replays.append(api.replay("growing"))

    said = sorted(offsets, key=offsets.__getitem__)
    for replay in replays:
        exact = [text for text in said if offsets[text] < replay.exact_up_to.offset]
        assert texts(replay) == ["the first", *exact]
    assert texts(replays[-1]) == ["the first", *(f"turn {number}" for number in range(MESSAGES))]


def test_a_resume_is_the_snapshot_and_every_later_message(api: Client) -> None:
    written(api, "resumed", range(600))
    until(
        lambda: api.replay("resumed", resume=True).resumed_from is not None,
        s_max=SNAPSHOT_S_MAX,
        what="a snapshot of 600 messages",
    )
    written(api, "resumed", range(600, 610))
    resumed = api.replay("resumed", resume=True)

    assert texts(resumed)[-10:] == [f"turn {number}" for number in range(600, 610)]
    assert set(texts(resumed)) <= set(texts(api.replay("resumed")))
    assert resumed.stats.total_messages == 610


def test_an_unknown_conversation_is_not_found(api: Client) -> None:
    with pytest.raises(MissingError, match="never-said"):
        api.replay("never-said")


@pytest.mark.parametrize("strategy", ["window", "entity", "full", "hybrid"])
def test_a_budget_is_kept_and_what_was_dropped_can_be_fetched(api: Client, strategy: str) -> None:
    name = f"bounded-{strategy}"
    written(api, name, range(200))
    bounded = api.replay(name, max_tokens=100, strategy=strategy)  # pyright: ignore[reportArgumentType] - of the four
    whole = api.replay(name)
    kept = {message.metadata.message_id for message in bounded.messages}
    dropped = [m.metadata.message_id for m in whole.messages if m.metadata.message_id not in kept]

    assert 0 < bounded.total_tokens <= 100
    assert texts(bounded)[-2:] == ["turn 198", "turn 199"]
    assert [m.metadata.message_id for m in api.expand(name, dropped).messages] == dropped


def test_a_budget_below_its_pins_is_refused_with_the_least_that_works(api: Client) -> None:
    written(api, "pinned", range(4))
    with pytest.raises(InvalidError) as refused:
        api.replay("pinned", max_tokens=1, strategy="hybrid")
    least = refused.value.details["minimum"]

    assert refused.value.details["code"] == "BUDGET_TOO_SMALL"
    assert isinstance(least, int)
    assert api.replay("pinned", max_tokens=least, strategy="hybrid").total_tokens == least


def test_every_compression_is_on_record(api: Client) -> None:
    written(api, "recorded", range(200))
    api.complete("recorded", "successful", wait_s=WAIT_S)
    api.replay("recorded", max_tokens=100, strategy="hybrid")
    until(
        lambda: len(api.compressions("recorded").compressions) == 1,
        s_max=READABLE_S_MAX,
        what="the record of one compression",
    )
    past = api.compressions("recorded").compressions[0]

    assert (past.strategy, past.original_messages) == ("hybrid", 200)
    assert past.compressed_tokens <= 100
