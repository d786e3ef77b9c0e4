"""Laws of conversations: however records are delivered, the same state and the same replay."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from helix.domain import snapshots
from helix.domain.conversations import Conversation, Snapshot, fold, messages, replay, within
from helix.domain.ids import event_id, log_key
from helix.domain.positions import Position, Stored
from helix.events import ConversationCreated, ConversationEvent, Message, decode, encode
from tests import strategies

few_ids = st.sampled_from(["a", "b", "c", "d"])


def created(at: int) -> ConversationCreated:
    return ConversationCreated(
        event_id="the first",
        tenant="t",
        occurred_at=at,
        ingested_at=at,
        conversation_id="c",
        user_id="u",
    )


def take(before: Snapshot | None, events: list[Stored]) -> Snapshot:
    last = events[-1].position
    upto = Position(last.epoch, last.partition, last.offset + 1)
    return snapshots.taken(before, events, upto=upto, made_at=1, compress=list)


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


@given(strategies.logs(ids=few_ids), st.integers(0, 12))
def test_folding_a_replay_in_two_batches_is_folding_it_in_one(log: list[Stored], cut: int) -> None:
    once = list(replay(log))

    assert folded(once[cut:], folded(once[:cut])) == folded(once)


@given(strategies.logs(ids=few_ids))
def test_the_state_counts_what_a_replay_shows_until_something_is_changed(log: list[Stored]) -> None:
    state = folded(replay(log))
    shown = messages(log)

    assert (state.event_count if state else 0) == len(list(replay(log)))
    if state is not None and not state.changes:
        assert state.message_count == len(shown)
        assert state.tokens == sum(message.tokens for message in shown)


@given(strategies.logs(), st.data())
def test_an_event_that_comes_again_later_changes_no_message(
    log: list[Stored], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(log), max_size=4)) if log else []

    assert messages([*log, *again]) == messages(log)


@given(strategies.logs(), st.integers(0, 12))
def test_a_snapshot_of_a_snapshot_and_the_rest_is_one_of_all(log: list[Stored], cut: int) -> None:
    once = list(replay(log))
    parts = once[:cut], [stored for stored in once[cut:] if not snapshots.reaches_back([stored])]
    whole = [*parts[0], *parts[1]]

    taken: Snapshot | None = None
    for part in parts:
        taken = take(taken, part) if part else taken

    assert taken == (take(None, whole) if whole else None)


@given(strategies.logs(), st.integers(0, 10**15))
def test_a_snapshot_is_active_when_the_state_was(log: list[Stored], at: int) -> None:
    began = Stored(position=Position("e", 0, 0), event=created(at))
    once = list(replay([began, *log]))
    state = folded(once)

    assert state is not None
    assert take(None, once).active_at == state.last_at


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
