"""Facts of the workers that need no server."""

import msgspec
import pytest

from helix.adapters.clickhouse import EVENTS_COLUMNS
from helix.budgets import LAG_RECORDS_MAX
from helix.domain.positions import Position, Stored
from helix.events import Message, MessageAdded, encode
from runtime import __main__ as program
from runtime.http import answer
from runtime.loop import CatchingUp
from runtime.meters import Meters, Readiness
from runtime.sinks import Record
from runtime.workers.conversations import to_row


def test_workers_are_ready_when_every_pipeline_is() -> None:
    readiness = Readiness(("one", "two"))
    readiness.ready("one")

    status, _, body = answer("/readyz", Meters(), readiness)

    assert (status, body) == (503, b"two: not assigned yet\n")
    readiness.ready("two")
    assert answer("/readyz", Meters(), readiness)[:1] == (200,)


def test_a_blocked_pipeline_is_named_with_its_reason() -> None:
    readiness = Readiness(("one",))
    readiness.blocked("one", "`postgres` is unavailable")

    assert answer("/readyz?x", Meters(), readiness)[2] == b"one: `postgres` is unavailable\n"


def test_a_pipeline_is_counted_on_from_the_first_time_it_was_near_the_end() -> None:
    catching_up = CatchingUp()

    assert "5 records behind" in catching_up.blocker([5, None])
    assert f"{LAG_RECORDS_MAX + 1} records behind" in catching_up.blocker([LAG_RECORDS_MAX, 1])
    assert catching_up.blocker([LAG_RECORDS_MAX, 0]) == ""
    assert catching_up.blocker([LAG_RECORDS_MAX, 1]) == ""


def test_a_worker_without_a_share_of_the_log_is_ready() -> None:
    assert CatchingUp().blocker([]) == ""


def test_figures_are_in_the_form_prometheus_reads() -> None:
    meters = Meters()
    meters.lag_records.labels("p", "3").set(7)

    _, _, body = answer("/metrics", meters, Readiness(()))

    assert b'helix_pipeline_lag_records{partition="3",pipeline="p"} 7.0' in body


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/nothing", 404)])
def test_other_paths_answer(path: str, status: int) -> None:
    assert answer(path, Meters(), Readiness(()))[0] == status


def test_a_row_of_the_warm_copy_carries_the_event_as_it_came() -> None:
    message = Message(message_id="m", role="user", content='a "quoted"\nline')
    event = MessageAdded(
        event_id="e",
        tenant="t",
        occurred_at=1,
        ingested_at=2,
        conversation_id="c",
        message=message,
    )
    stored = Stored(position=Position("epoch", 3, 42), event=event)

    headed = bytes([0x90 + len(EVENTS_COLUMNS)]) + to_row(Record(stored, encode(event)))
    row = dict(zip(EVENTS_COLUMNS, msgspec.msgpack.decode(headed), strict=True))

    assert row.pop("value").encode() == encode(event)
    assert row == {
        "tenant": "t",
        "conversation_id": "c",
        "epoch": "epoch",
        "partition": 3,
        "offset": 42,
        "event_id": "e",
        "type": "conversation.message.added",
        "ingested_us": 2,
    }


def test_a_pipeline_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(["no-such-pipeline"])

    assert "conversation-states" in capsys.readouterr().err
