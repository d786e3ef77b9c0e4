"""Laws of conversations: however records are delivered, the same state and the same replay."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from helix.domain.conversations import Conversation, fold, messages, replay, within
from helix.domain.ids import event_id, log_key
from helix.domain.positions import Stored
from helix.events import ConversationEvent, Message, decode, encode
from tests import strategies

few_ids = st.sampled_from(["a", "b", "c", "d"])


def folded(log: Iterable[Stored], state: Conversation | None = None) -> Conversation | None:
    for stored in log:
        state = fold(state, stored)
    return state


@given(strategies.logs(), st.data())
def test_records_delivered_again_change_nothing(log: list[Stored], data: st.DataObject) -> None:
    again = data.draw(st.integers(0, len(log)))
    back = data.draw(st.integers(0, again))

    assert folded([*log[:again], *log[back:]]) == folded(log)


@given(strategies.logs(), st.integers(0, 12))
def test_folding_in_two_batches_is_folding_in_one(log: list[Stored], cut: int) -> None:
    assert folded(log[cut:], folded(log[:cut])) == folded(log)


@given(strategies.logs(ids=few_ids))
def test_the_state_counts_what_a_replay_shows(log: list[Stored]) -> None:
    state = folded(log)
    shown = messages(log)

    assert (state.message_count if state else 0) == len(shown)
    assert (state.tokens if state else 0) == sum(message.tokens for message in shown)


@given(strategies.logs(ids=few_ids))
def test_a_replay_has_each_event_once_and_in_order(log: list[Stored]) -> None:
    shown = list(replay(log))

    ids = [stored.event.event_id for stored in shown]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {stored.event.event_id for stored in log}
    assert [s.position.offset for s in shown] == sorted(s.position.offset for s in shown)


@given(st.lists(strategies.messages, max_size=20), st.integers(0, 500))
def test_a_budget_is_never_exceeded_and_never_wasted(
    history: list[Message], tokens_max: int
) -> None:
    kept = within(history, tokens_max)

    spent = sum(message.tokens for message in kept)
    assert spent <= tokens_max
    assert kept == history[len(history) - len(kept) :]
    if len(kept) < len(history):
        assert spent + history[-len(kept) - 1].tokens > tokens_max


@given(strategies.events())
def test_what_is_encoded_decodes_to_the_same(event: ConversationEvent) -> None:
    assert decode(encode(event)) == event


@given(st.lists(st.text(alphabet="a/%:1", max_size=4), min_size=4, max_size=4))
def test_two_pairs_never_share_a_key_or_an_id(parts: list[str]) -> None:
    a, b, c, d = parts

    assert (log_key(a, b) == log_key(c, d)) == ((a, b) == (c, d))
    assert (event_id(a, b, c) == event_id(a, b, d)) == (c == d)
    assert (event_id(a, b, "k") == event_id(c, d, "k")) == ((a, b) == (c, d))
