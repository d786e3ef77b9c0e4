"""Snapshots: taken of what is due, of all that is known, whatever is wrong with one of them."""

import threading
from dataclasses import dataclass, field

import msgspec
import pytest

from helix.adapters.postgres import Due
from helix.domain.conversations import Snapshot, messages, stats
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError, UnavailableError
from helix.events import ConversationEvent, Message, MessageAdded, MessageDeleted
from runtime.meters import Meters
from runtime.snapshots import CONVERSATIONS_MAX, TOKENS_MAX, Snapshots, compressed

NOW = 1_700_000_000_000_000


def added(number: int, conversation: str = "c") -> MessageAdded:
    return MessageAdded(
        event_id=f"{conversation}{number}",
        tenant="t",
        occurred_at=1,
        ingested_at=number,
        conversation_id=conversation,
        message=Message(message_id=f"m{number}", role="user", content="hi", tokens=1),
    )


def deleted(number: int) -> MessageDeleted:
    return MessageDeleted(
        event_id=f"d{number}",
        tenant="t",
        occurred_at=1,
        ingested_at=NOW,
        conversation_id="c",
        message_id=f"m{number}",
    )


@dataclass
class Stores:
    """A log of each conversation, and the snapshots that were kept."""

    logs: dict[str, list[ConversationEvent]] = field(default_factory=dict)
    kept: dict[str, Snapshot] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    whole: bool = True
    fails: dict[str, Exception] = field(default_factory=dict)

    def due(self, *, idle_since: int, limit: int) -> list[Due]:
        assert (idle_since, limit) == (NOW - 60_000_000, CONVERSATIONS_MAX)
        return [
            Due(
                tenant="t",
                conversation_id=name,
                last_at=1,
                event_count=len(log),
                epoch="e",
                partition=3,
                next=len(log),
                whole=self.whole,
            )
            for name, log in self.logs.items()
        ]

    def get(self, tenant: str, conversation_id: str) -> Snapshot | None:
        assert tenant == "t"
        return self.kept.get(conversation_id)

    def save(self, snapshot: Snapshot) -> None:
        self.kept[snapshot.conversation_id] = snapshot

    def passed(self, due: Due) -> None:
        self.skipped.append(due.conversation_id)

    def forget_names(self, *, days: int, limit: int) -> None:
        assert (days, limit) == (7, 2_000)

    def warm(
        self, tenant: str, conversation_id: str, *, before: Position, first: Position | None
    ) -> list[Stored]:
        assert tenant == "t"
        if conversation_id in self.fails:
            raise self.fails[conversation_id]
        start = first.offset if first else 0
        found = [
            Stored(Position("e", 3, offset), event)
            for offset, event in enumerate(self.logs[conversation_id])
        ][start : before.offset]
        self.read.append(len(found))
        return found

    def look(self) -> int:
        worker = Snapshots(
            self, self.warm, clock=lambda: NOW, stop=threading.Event(), meters=Meters()
        )
        return worker.look()


def test_a_snapshot_holds_everything_below_its_position() -> None:
    stores = Stores({"c": [added(number) for number in range(5)]})

    assert stores.look() == 1
    found = stores.kept["c"]
    assert (found.upto, found.event_count, found.active_at) == (Position("e", 3, 5), 5, 4)
    assert (found.stats.message_count, found.made_at) == (5, NOW)
    assert [message.message_id for message in found.context] == ["m0", "m1", "m2", "m3", "m4"]


def test_the_next_snapshot_reads_only_what_is_new() -> None:
    stores = Stores({"c": [added(number) for number in range(5)]})
    stores.look()
    stores.logs["c"] += [added(5), added(6)]

    stores.look()

    assert stores.read == [5, 2]
    assert (stores.kept["c"].event_count, stores.kept["c"].stats.message_count) == (7, 7)


def test_a_change_of_what_was_compressed_away_reads_all_again() -> None:
    stores = Stores({"c": [added(number) for number in range(5)]})
    stores.look()
    stores.logs["c"].append(deleted(2))

    stores.look()

    events = [Stored(Position("e", 3, at), event) for at, event in enumerate(stores.logs["c"])]
    assert stores.read == [5, 1, 6]
    assert stores.kept["c"].stats == stats(messages(events))
    assert stores.kept["c"].event_count == 6


def test_a_broken_conversation_holds_up_no_other() -> None:
    stores = Stores(
        {"broken": [added(1, "broken")], "fine": [added(1, "fine")]},
        fails={"broken": InvalidError("undecodable event")},
    )

    assert stores.look() == 1
    assert (list(stores.kept), stores.skipped) == (["fine"], ["broken"])


def test_a_store_that_is_away_skips_nothing() -> None:
    stores = Stores({"c": [added(1)]}, fails={"c": UnavailableError("clickhouse")})

    with pytest.raises(UnavailableError):
        stores.look()
    assert stores.skipped == []


@pytest.mark.parametrize(("whole", "skipped"), [(True, ["c"]), (False, [])])
def test_a_conversation_without_new_events_is_waited_for_only_while_some_are_to_come(
    whole: bool,
    skipped: list[str],
) -> None:
    stores = Stores({"c": [added(1)]})
    stores.look()
    stores.whole = whole

    assert stores.look() == 0
    assert stores.skipped == skipped


def test_a_snapshot_stays_within_its_bound() -> None:
    history = [
        msgspec.structs.replace(added(number).message, content=f"turn {number}", tokens=100)
        for number in range(100)
    ]

    kept = compressed(history)

    assert 0 < sum(message.tokens for message in kept) <= TOKENS_MAX
    assert kept[-1] == history[-1]


def test_a_snapshot_keeps_what_is_pinned_even_beyond_its_bound() -> None:
    rule = Message(message_id="rule", role="system", content="be brief", tokens=TOKENS_MAX + 1)
    said = [added(number).message for number in range(9)]

    assert rule in compressed([rule, *said])
